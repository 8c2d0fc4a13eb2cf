"""Trials of users' own coordination: agents on the real hub, in simulated processes, under faults, from seeds."""
