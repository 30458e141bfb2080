"""What every process needs to run: settings, logs, metrics, local servers and the command line.

It must not know about books or exchanges' protocols.
"""
