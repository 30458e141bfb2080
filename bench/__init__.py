"""Benchmarks: one program per public unit of work; `python -m bench` runs them all.

Not part of the package. Nothing here is imported by the application.
"""
