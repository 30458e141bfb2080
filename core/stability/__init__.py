"""How far a stream can be trusted, second by second: from measured windows to score and state.

    windows ← score, silence ← states ← health

Everything is computed from closed windows (`core.events.StreamSecond`) and remembers a bounded
amount that can be written down and taken up again, so that live, restarted and replayed agree bit
for bit. Nothing here sees a frame or a clock.
"""
