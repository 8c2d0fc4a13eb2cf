"""Reads the log again: verify, state at a point, archives."""
