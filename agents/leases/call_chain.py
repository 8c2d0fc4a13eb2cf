"""What the call chain holds: the owner of a lock or a slot is the chain of calls, not the process or the agent.

Tasks started in a chain inherit what it holds: who waits for them would wait for itself. An owner is named as
`accord.streams.waits.owners` says: so who waits for whom can be seen across locks, and which chain is the younger.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count
from typing import TYPE_CHECKING, Final

from accord.agents.connection.runtime import ON_KAFKA, current
from accord.streams.locks.bounds import TEXT_BYTES_MAX

from accord.errors import BadInput

if TYPE_CHECKING:
    from accord.agents.leases.leases import Hold


class Owners:
    """Names for what is asked for inside a hold, or at the top of a chain; from any thread.

    Args:
        outer: the name of the hold, or of the chain.
    """

    def __init__(self, outer: str) -> None:
        self._outer = outer
        self._numbers = count(1)

    def next(self) -> str:
        return f"{self._outer}/{next(self._numbers)}"


_chain: ContextVar[tuple[Hold, ...]] = ContextVar("accord_held", default=())
_root: ContextVar[Owners | None] = ContextVar("accord_chain", default=None)

RUNS_MAX: Final = 20
"""How often `run` calls a function that is a deadlock's victim each time."""
NESTED_MAX: Final = (TEXT_BYTES_MAX - len(ON_KAFKA.new_id())) // len("/1")


def held_in_chain(key: str, domain: str = "locks") -> Hold | None:
    """What this call chain holds of a lock or pool, if anything."""
    return next((h for h in _chain.get() if h.key == key and h.terms.domain == domain and h.held), None)


def owner_of(key: str, domain: str) -> str:
    """The owner's name for a request of this call chain; whoever holds it keeps the name, so asking again is seen.

    Raises:
        BadInput: so many holds enclose each other that their names are too long, about `NESTED_MAX`.
    """
    mine = held_in_chain(key, domain)
    if mine is not None:
        return mine.owner
    enclosing = next((hold for hold in reversed(_chain.get()) if hold.held), None)
    names = enclosing.inner if enclosing else _root.get() or Owners(current().new_id())
    owner = names.next()
    if len(owner) > TEXT_BYTES_MAX:
        raise BadInput(
            f"{key}: this call chain holds too much already.",
            remedy=f"Give some back first; about {NESTED_MAX} may be held within each other.",
            key=key,
        )
    return owner


def runs() -> list[bool]:
    """For each time that `run` may call its function: whether it is the last. Who holds something already cannot begin
    again: whoever holds that has to."""
    return [True] if any(hold.held for hold in _chain.get()) else [*[False] * (RUNS_MAX - 1), True]


@contextmanager
def one_chain() -> Iterator[None]:
    """What is asked for inside is of one call chain, as old as this: who is run again keeps its age."""
    token = _root.set(_root.get() or Owners(current().new_id()))
    try:
        yield
    finally:
        _root.reset(token)


def enter_chain(hold: Hold) -> None:
    """Notes what this call chain holds."""
    _chain.set((*[other for other in _chain.get() if other.held], hold))


def leave_chain(hold: Hold) -> None:
    """Notes that it does not any more; without effect in another call chain, or before the last one leaves."""
    if hold.depth == 1:
        _chain.set(tuple([other for other in _chain.get() if other is not hold and other.held]))
