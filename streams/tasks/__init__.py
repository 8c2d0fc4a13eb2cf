"""The tasks domain: graphs of steps and what becomes of them, as pure rules."""
