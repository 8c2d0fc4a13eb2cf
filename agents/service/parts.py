"""Which agents a process runs: one by its name, or the group that it belongs to.

One process may run all or a single one; the log gives each step to whoever is able and has a free slot.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from accord.agents.agent import Agent
from accord.agents.service.asking import Asker
from accord.agents.service.content import ContentAgents
from accord.agents.service.research import FIELDS, ResearchAgents, aggregator

from accord.errors import BadInput
from accord.settings import Settings

GROUPS: Final = {
    "content": ("researcher", "writer", "editor", "publisher"),
    "research": tuple(FIELDS),
    "aggregator": ("aggregator",),
}


def agents_of(parts: Iterable[str], asker: Asker, settings: Settings) -> list[Agent]:
    """The agents that some names stand for, each once. Raises BadInput: a name is none."""
    known = {
        **ContentAgents(asker, settings.agents).agents(),
        **ResearchAgents(asker, settings.agents).agents(),
        "aggregator": aggregator(),
    }
    wanted: dict[str, Agent] = {}
    for part in parts:
        if part not in known and part not in GROUPS:
            raise BadInput(
                f"{part!r} is no agent of the service.",
                remedy=f"There are the groups {', '.join(GROUPS)}, and {', '.join(known)}.",
            )
        wanted |= {name: known[name] for name in GROUPS.get(part, (part,))}
    return list(wanted.values())
