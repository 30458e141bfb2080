"""From an exchange's socket to an acknowledged Kafka record.

This shell moves bytes: what to send and when a book is in doubt is decided in `core.connection`.
It must not know what a payload means, and it drops nothing without a frame that says so.
"""
