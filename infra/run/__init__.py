"""The whole pipeline on this machine: servers, simulator and stages, started and ended in order.

It supervises processes, watches what they do from outside, and compares what ClickHouse holds with
what the simulator knows to be true. It moves no market data itself.
"""
