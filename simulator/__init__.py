"""Venues that speak the real protocols, with a known truth.

A simulator stands where an exchange stands: sockets and REST in front, a matching engine behind,
its true books and trades on disk. It imports nothing of the pipeline that it tests.
"""
