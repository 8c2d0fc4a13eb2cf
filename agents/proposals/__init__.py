"""Proposals for programs: making them, voting on them, having a model vote."""
