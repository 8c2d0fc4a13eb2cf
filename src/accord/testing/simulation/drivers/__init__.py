"""Programs of agents at the level of commands, one file a domain: what the simulator is exercised with."""

from __future__ import annotations

from typing import Final, NamedTuple

from accord.testing.simulation.cluster import Program
from accord.testing.simulation.drivers import (
    auctions,
    conflicts,
    hierarchy,
    limits,
    llm,
    locks,
    proposals,
    sagas,
    signals,
    state,
    tasks,
    triggers,
)


class Driver(NamedTuple):
    """The domain that it needs, and its agents: a name and a program each."""

    domain: str
    agents: tuple[tuple[str, Program], ...]


DRIVERS: Final[dict[str, Driver]] = {
    "locks": Driver("locks", tuple((f"holder-{n}", locks.holder) for n in range(3))),
    "limits": Driver("limits", tuple((f"user-{n}", limits.user) for n in range(3))),
    "tasks": Driver(
        "tasks",
        (("submitter-0", tasks.submitter), ("member-0", tasks.member), ("member-1", tasks.member)),
    ),
    "proposals": Driver("proposals", tuple((f"voter-{n}", proposals.voter) for n in range(2))),
    "auctions": Driver("auctions", tuple((f"announcer-{n}", auctions.announcer) for n in range(2))),
    "state": Driver("state", tuple((f"payer-{n}", state.payer) for n in range(3))),
    "sagas": Driver("sagas", tuple((f"runner-{n}", sagas.runner) for n in range(2))),
    "llm": Driver("llm", tuple((f"asker-{n}", llm.asker) for n in range(3))),
    "hierarchy": Driver(
        "hierarchy",
        (("hand-0", hierarchy.hand), ("hand-1", hierarchy.hand), ("superior-0", hierarchy.superior)),
    ),
    "conflicts": Driver(
        "conflicts",
        (("intender-0", conflicts.intender), ("intender-1", conflicts.intender), ("judge-0", conflicts.judge)),
    ),
    "triggers": Driver(
        "triggers", (("watcher-0", triggers.watcher), ("shop-0", triggers.shop), ("shop-1", triggers.shop))
    ),
    "signals": Driver("signals", tuple((f"emitter-{n}", signals.emitter) for n in range(3))),
}
