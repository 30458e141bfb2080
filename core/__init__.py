"""The pure core: protocols, books, statistics, rows and blocks.

It computes on bytes, facts and `now` that others hand it. It must not do I/O, read a clock, draw
random numbers, look at the environment or log.
"""
