"""Engines of durable workflows that `python -m benchmarks workflows` compares."""
