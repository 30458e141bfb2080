"""From raw frames to events: Faust workers around the engines of `core`.

Shells only: they read raw topics, feed engines and publish what comes back. What a frame means
is decided in `core`.
"""
