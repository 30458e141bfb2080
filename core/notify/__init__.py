"""What is told to whom and when: incidents, silences, damping, and what receivers have had.

Pure: fed with alerts in the order of their topic, with receipts, and with `now`.
"""
