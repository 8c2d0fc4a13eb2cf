"""Triggers, as methods of the sync hub."""

from __future__ import annotations

from collections.abc import Callable

from accord.agents.signals.handlers import F
from accord.agents.sync import SyncHub
from accord.agents.triggers import triggers
from accord.streams.triggers.pattern import Node, Rule


class SyncTriggersHub(SyncHub):
    """What a sync hub offers of triggers."""

    def on(self, rule: Rule | Node, *, name: str | None = None, retries: int = 3) -> Callable[[F], F]:
        """`accord.on` for this hub alone."""
        return triggers.on_hub(self, rule, name=name, retries=retries)

    def declare_trigger(self, name: str, rule: Rule | Node) -> int:
        """Declares a trigger without a function; as `accord.Accord.declare_trigger`."""
        self.ensure_open("declare_trigger()")
        triggers.check_name(name)
        return triggers.make_active(self, name, triggers.definition_of(rule))

    def drop_trigger(self, name: str) -> bool:
        """Ends a trigger; as `accord.Accord.drop_trigger`."""
        self.ensure_open("drop_trigger()")
        return triggers.end(self, name)
