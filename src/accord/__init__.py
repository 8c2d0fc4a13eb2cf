"""accord: many LLM agents, one log, no double bookings."""

__version__ = "0.1.0"
