"""Flows: what is counted, put together and told again of user events, as a pure fold of the log."""
