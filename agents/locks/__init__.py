"""Locks as agents use them: locks, conditions, barriers and the resource's check of tokens."""
