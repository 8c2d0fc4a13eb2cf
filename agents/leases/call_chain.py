"""What the call chain holds: the owner of a lock or a slot is the chain of calls, not the process or the agent.

Tasks started in a chain inherit what it holds: who waits for them would wait for itself.
"""

from __future__ import annotations

from contextvars import ContextVar
from itertools import count
from typing import TYPE_CHECKING

import uuid_utils

if TYPE_CHECKING:
    from accord.agents.leases.leases import Hold

_chain: ContextVar[tuple[Hold, ...]] = ContextVar("accord_held", default=())


def held_in_chain(key: str, domain: str = "locks") -> Hold | None:
    """What this call chain holds of a lock or pool, if anything."""
    return next((h for h in _chain.get() if h.key == key and h.terms.domain == domain and h.held), None)


def owner_of(key: str, domain: str) -> str:
    """The owner's name for a request of this call chain: `CHAIN/NUMBER`.

    Whoever holds the lock keeps the name, so asking again is seen. The chain is the same for all that it holds, so who
    waits for whom can be seen across locks; it is a UUID of version 7, so the younger chain has the greater one.
    """
    mine = held_in_chain(key, domain)
    if mine is not None:
        return mine.owner
    chain = next((hold.owner.partition("/")[0] for hold in _chain.get() if hold.held), None)
    return f"{chain or uuid_utils.uuid7()}/{next(_numbers)}"


_numbers = count(1)


def enter_chain(hold: Hold) -> None:
    """Notes what this call chain holds."""
    _chain.set((*[other for other in _chain.get() if other.held], hold))


def leave_chain(hold: Hold) -> None:
    """Notes that it does not any more; without effect in another call chain, or before the last one leaves."""
    if hold.depth == 1:
        _chain.set(tuple([other for other in _chain.get() if other is not hold and other.held]))
