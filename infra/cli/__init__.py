"""The `streamgauge` command: one module for each subcommand, with a click command `command`.

Modules here read arguments and settings, call the part that does the work, and print. Work
itself does not belong here.
"""
