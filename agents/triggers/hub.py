"""Triggers, as methods of the hub."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from accord.agents.hub import Hub
from accord.agents.signals.handlers import F
from accord.agents.triggers import triggers
from accord.streams.triggers.pattern import Node, Rule


class TriggersHub(Hub):
    """What a hub offers of triggers."""

    def on(self, rule: Rule | Node, *, name: str | None = None, retries: int = 3) -> Callable[[F], F]:
        """`accord.on` for this hub alone."""
        return triggers.on_hub(self, rule, name=name, retries=retries)

    async def declare_trigger(self, name: str, rule: Rule | Node) -> int:
        """Declares a trigger without a function, and returns when it finds what is emitted from now on.

        Each match is told by an event `matched:NAME`, to whoever has a `when` for it, and to other triggers. A trigger
        that is declared so already stays as it is. Another rule replaces it: what had begun by the older one is given
        up with the next signal of that key; until then an absence that it waits for may be found.

        Args:
            name: of the trigger: 1 to 100 bytes, without `|`.
            rule: a pattern of `accord.triggers`, with `.by(...)` and `.within_ms(...)`.

        Returns:
            Its version: 1, and one more with each change.

        Raises:
            BadInput: the name or the rule cannot be right.
            Overloaded: 16 triggers watch one of the events already.
            Degraded, Unavailable, KafkaUnreachable: nobody decides, or no broker answers.
        """
        self.ensure_open("declare_trigger()")
        triggers.check_name(name)
        text = triggers.definition_of(rule)
        return await asyncio.to_thread(triggers.make_active, self, name, text)

    async def drop_trigger(self, name: str) -> bool:
        """Ends a trigger: no signal counts any more. An absence that it waits for may still be found.

        Returns:
            False: it had ended before.

        Raises:
            NotFound: there is none of this name.
            Degraded, KafkaUnreachable: nobody decides, or no broker answers.
        """
        self.ensure_open("drop_trigger()")
        return await asyncio.to_thread(triggers.end, self, name)
