"""Patterns of events, and functions that are called when one occurs.

    from accord.triggers import absence, on, sequence

    @on(sequence("ordered", absence("paid")).by("order_id").within_ms(60_000))
    def remind(event_data):
        print(event_data["key"], "has not paid")

See docs/triggers.md.
"""

from accord.agents.triggers.triggers import on
from accord.streams.triggers.pattern import Rule, absence, all_of, any_of, count, event, sequence

__all__ = ["Rule", "absence", "all_of", "any_of", "count", "event", "on", "sequence"]
