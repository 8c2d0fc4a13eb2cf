"""Optimistic first, then in turn: how changes of one scope that get into each other's way come to an end.

Whoever reads, decides and commits is alone most of the time, and needs no lock. Where many do so at once, one of them
gets through and the others have worked in vain, again and again. So who was in conflict within the last second queues
for the scope's lock before it reads: then they go one after the other, in order. So does who finds that others have
changed what it wrote itself not long ago: it was lucky, and would be so again while those who were not stand in line.
Nothing hangs on the lock but speed: what was read is looked at when it is committed, with or without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from accord.agents.connection.runtime import current
from accord.agents.locks.arguments import check_number

if TYPE_CHECKING:
    from accord.agents.hub import Hub

TURN_LEASE_MS: Final = 5_000
"""How long one who dies in its turn keeps the others waiting."""
TURN_WAIT_MS: Final = 60_000
"""How long to queue for a turn; then LockTimeout says who has it."""
CROWDED_S: Final = 1.0
"""How long after a conflict others are expected."""
OWN_S: Final = 10.0
"""How long a hub knows what it has written, to tell whether others write there, too."""
OWN_MAX: Final = 1_000
"""Keys that a hub knows so; beyond it all are forgotten."""
SCOPES_MAX: Final = 1_000
"""Of a hub, of which conflicts are remembered; beyond it none is, and who is in conflict works in vain once more."""
TRANSACTION_ATTEMPTS: Final = 5
UPDATE_ATTEMPTS: Final = 20
ATTEMPTS_MAX: Final = 1_000


def lock_name(scope: str) -> str:
    """The lock on which changes of a scope take turns."""
    return f"state/{scope}"


class Crowd:
    """Whether others change a scope right now, as far as this hub has noticed."""

    def __init__(self, hub: Hub, scope: str) -> None:
        self._until_s = _crowded.setdefault(hub, {})
        self._own = _own.setdefault(hub, {})
        self._monotonic = current().monotonic
        self._scope = scope

    @property
    def is_there(self) -> bool:
        return self._monotonic() < self._until_s.get(self._scope, 0.0)

    def met(self) -> None:
        """There was a conflict."""
        if len(self._until_s) >= SCOPES_MAX:
            self._until_s.clear()
        self._until_s[self._scope] = self._monotonic() + CROWDED_S

    def wrote(self, values: Mapping[str, str | None]) -> None:
        """This hub has changed keys; None: deleted."""
        if len(self._own) + len(values) > OWN_MAX:
            self._own.clear()
        now_s = self._monotonic()
        for key, text in values.items():
            self._own[self._scope, key] = text, now_s

    def saw(self, key: str, text: str | None) -> None:
        """This hub has read a key: others are there, if it is not what the hub has just written."""
        own = self._own.get((self._scope, key))
        if own is not None and own[0] != text and self._monotonic() - own[1] < OWN_S:
            self.met()


_crowded: Final[WeakKeyDictionary[Hub, dict[str, float]]] = WeakKeyDictionary()
_own: Final[WeakKeyDictionary[Hub, dict[tuple[str, str], tuple[str | None, float]]]] = WeakKeyDictionary()


def tries(attempts: int) -> list[bool]:
    """For each attempt, whether it is the last. Raises BadInput: not 1 to 1,000."""
    count = check_number("attempts", attempts, 1, ATTEMPTS_MAX)
    return [*[False] * (count - 1), True]
