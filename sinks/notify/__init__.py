"""From the topic `alerts` to people: each incident told once to each receiver.

What is told when is decided in `core.notify`; here are Kafka, HTTP and the receivers' formats.
"""
