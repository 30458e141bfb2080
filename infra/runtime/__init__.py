"""Settings, logs, metrics, health and signals of one process.

It must not know about books or exchanges, nor which shell runs on top of it.
"""
