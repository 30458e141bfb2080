"""The campaign: faults injected on purpose, and how well the detectors found them.

    campaign → rehearsal → world → line, network → virtual        what happened, in virtual time
    live_campaign → live_faults → live → proxy                    likewise, in real time
    campaign → score → ledger, goals                              how it was judged

Scoring knows nothing of worlds: it takes a ledger and alerts, wherever they come from.
"""
