"""Later versions of the rules of locks, for runs in which not all workers have them.

Version N gives each lease N - 1 ms more than it was asked for: what the wrong version decided, `verify` would find.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from accord.schemas.messages import Command, Event
from accord.schemas.messages.locks import AcquireLock
from accord.streams.decider import At, Decider
from accord.streams.domains import DOMAINS

NAME = "locks"


class Longer:
    """Rules that differ from others in the leases that they grant.

    Args:
        rules: the others.
        more_ms: on top of what is asked for.
    """

    def __init__(self, rules: Decider[Any], more_ms: int) -> None:
        self._rules = rules
        self._more_ms = more_ms
        self.state_type = rules.state_type

    def decide(self, state: Any, command: Command, at: At) -> Sequence[Event]:
        if isinstance(command, AcquireLock):
            command = msgspec.structs.replace(command, lease_ms=command.lease_ms + self._more_ms)
        return self._rules.decide(state, command, at)

    def evolve(self, state: Any, event: Event) -> Any:
        return self._rules.evolve(state, event)

    def deadline_ms(self, state: Any) -> int | None:
        return self._rules.deadline_ms(state)


def have(newest: int) -> None:
    """From now on this process has the versions of the rules up to this one."""
    domain = DOMAINS[NAME]
    first = domain.versions[1]
    later = {version: Longer(first, version - 1) for version in range(2, newest + 1)}
    DOMAINS[NAME] = domain._replace(versions={1: first, **later})
