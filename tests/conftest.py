"""What holds for every test."""

import signal

# A shell that starts the tests in the background leaves SIGINT ignored, and whatever they start
# would inherit that: nothing would end with Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
