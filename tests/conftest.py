"""What holds for every test."""

import signal

from hypothesis import HealthCheck, settings

# The same examples each time, however slow the machine is: what a run finds is the work of the
# change that it runs on. `make fuzz` takes others.
settings.register_profile(
    "same",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "other",
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("same")

# A shell that starts the tests in the background leaves SIGINT ignored, and whatever they start
# would inherit that: nothing would end with Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
