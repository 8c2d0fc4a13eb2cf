"""What if: a log is cut at a consistent place, something is changed, and the rest is decided anew.

The recorded log is read and never written to. Nothing here calls a handler, a service or a model: what a fork asks a
model and no record answers goes through the one gate in `models`, which is shut unless the caller hands an open one in.
"""
