"""One publishes, others react, each on its own; what they bring is published, too, and others react to that.

    feed = event_driven(
        collector, {"collector": [analyzer, notifier, archiver], "analyzer": [notifier]}, name="feed"
    )
    await feed.run("kafka")             # here, until all have reacted
    feed.react(hub)                     # or whenever `feed.collector` is emitted, by whomever

What `NAME` has brought is the event `feed.NAME` with `{run, result}`: anybody can react to it by `@when` and needs no
place in the pattern. A slow one, or one that fails, keeps nobody waiting but those that react to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any

from accord.agents.patterns.flow import (
    MAX_RUNNING,
    RETRIES,
    TIMEOUT_MS,
    Flow,
    Part,
    Pattern,
    by_name,
    name_of,
    together,
    tried,
)
from accord.agents.patterns.publishing import PUBLISHER, publish
from accord.agents.signals.signals import Event
from accord.agents.tasks.graph import TEAM

from accord.errors import BadInput, Failure

if TYPE_CHECKING:
    from accord.agents.client import Accord


class EventDriven(Pattern):
    """Made by `event_driven`."""

    def __init__(self, source: Part, reactions: Mapping[str, Sequence[Part]], name: str) -> None:
        self.reactions = {source: by_name("event_driven", parts) for source, parts in reactions.items()}
        super().__init__(name, (source, *[part for parts in reactions.values() for part in parts], PUBLISHER))
        self.source = source
        try:
            TopologicalSorter(self.reactions).prepare()
        except CycleError as error:
            raise BadInput(f"event_driven({name!r}) goes in a circle: {' -> '.join(error.args[1][::-1])}.") from None
        known = {name_of(source), *[reacting for parts in self.reactions.values() for reacting in parts]}
        if set(self.reactions) - known:
            raise BadInput(f"event_driven({name!r}): {sorted(set(self.reactions) - known)} publish nothing.")

    async def flow(self, flow: Flow, input: Any) -> dict[str, Any]:
        source = name_of(self.source)
        result = await flow.do(self.source, input, place=source)
        reactions: dict[str, dict[str, Any]] = {}
        await self._published(flow, source, result, reactions)
        return {"result": result, "reactions": reactions}

    async def _published(self, flow: Flow, source: str, result: Any, told: dict[str, dict[str, Any]]) -> None:
        """Tells what somebody has brought, and waits for all that follows."""
        await publish(flow, f"{self.name}.{source}", {"result": result}, f"{source}.published")
        reacting = self.reactions.get(source, {})
        here = told.setdefault(source, dict.fromkeys(reacting)) if reacting else {}

        async def react(name: str, part: Part) -> None:
            here[name] = await tried(flow.do(part, result, place=f"{source}.{name}"))
            if not isinstance(here[name], Failure) and name in self.reactions:
                await self._published(flow.at(source), name, here[name], told)

        await together({name: react(name, part) for name, part in reacting.items()})

    def react(
        self, hub: Accord, *, timeout_ms: int = TIMEOUT_MS, retries: int = RETRIES, max_running: int = MAX_RUNNING,
        team: str = TEAM,
    ) -> None:  # fmt: skip
        """Has this process react, for as long as the hub is open. Of several that do, one reacts to an event.

        An event that is delivered again, after a crash, is the same run: nothing is done twice that was recorded.
        Arguments are those of `run`.
        """
        for source, parts in self.reactions.items():
            for name, part in parts.items():
                self._subscribe(hub, source, name, part, (timeout_ms, retries, max_running, team))

    def _subscribe(self, hub: Accord, source: str, name: str, part: Part, terms: tuple[int, int, int, str]) -> None:
        @hub.when(f"{self.name}.{source}", name=f"{self.name}.{source}.{name}")
        async def react(event_data: Mapping[str, Any], event: Event) -> None:
            key = str(event_data.get("run") or event.id)
            async with Flow(f"{self.name}.react()", self.agents, key, hub, *terms) as flow:
                result = await tried(flow.do(part, event_data.get("result"), place=f"{source}.{name}"))
                if not isinstance(result, Failure) and name in self.reactions:
                    await publish(flow.at(source), f"{self.name}.{name}", {"result": result}, f"{name}.published")


def event_driven(source: Part, reactions: Mapping[str, Sequence[Part]], *, name: str) -> EventDriven:
    """Reactions to events. The result is `{result, reactions}`: the source's result, and by who has published, what
    each has brought that reacts to it; a Failure in place of one.

    Args:
        source: is given the input, and publishes what it brings.
        reactions: by the name of who publishes, those that react; each is given what was published. One may react to
            several, and be reacted to.

    Raises:
        BadInput: they react in a circle, or to somebody who publishes nothing.
    """
    return EventDriven(source, reactions, name)
