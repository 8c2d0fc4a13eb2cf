"""A deterministic simulator: agents, workers and a log in one process, on virtual time, from one seed."""
