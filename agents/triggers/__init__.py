"""Triggers for programs: declaring patterns of signals, and functions that are called when one occurs."""
