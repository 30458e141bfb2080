#!/bin/sh
# The `streamgauge` command in its container; Python becomes process 1 and gets the signals itself.
exec /opt/venv/bin/python /opt/app/streamgauge.py "$@"
