"""From event topics to rows in ClickHouse, each fact exactly once.

Shells only: they read topics, insert blocks and commit offsets. What a block is, and where to go
on after a crash, is decided in `core.blocks`.
"""
