"""Benchmarks: `python -m benchmarks`. Each takes its baseline in the same run; docs/benchmarks.md says what they mean.

Rules that hold here: a ratio is formed within one run and the median taken over runs, so that a busy machine slows
both sides; whatever is timed was answered correctly, or the benchmark fails; stdout carries JSON lines alone.
"""
