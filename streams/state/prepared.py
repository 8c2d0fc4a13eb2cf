"""What a scope has prepared for transactions over several scopes: whom that keeps out, when it asks for the outcome.

Rules:
- What is prepared can be done, whatever comes: the keys that it writes and, under serializable isolation, those that it
  has read are held, and the room that it takes counts. So a commit that was decided is never refused by a scope.
- Nobody else may write a key that is held, nor commit having read one that will be written. Who tries is refused and
  told by whom; nobody waits, so there is no deadlock.
- Once the transaction's time is over, the scope asks for the outcome, and again at growing intervals, at most once a
  minute, for as long as it takes: it never decides for itself.
- What was done is remembered until the transaction's time is over. After that nothing is prepared for it. Both go by
  this partition's clock, so a command to prepare that comes again never does a thing twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from accord.schemas.messages import Event
from accord.schemas.messages.state import CommitChanges, OutcomeWanted, PrepareChanges, Write
from accord.streams.state.bounds import ASK_MS, ASK_MS_MAX, SERIALIZABLE
from accord.streams.state.scope import Prepared, Scope


class Holder(NamedTuple):
    """What is held, by which transaction and of which agent."""

    key: str
    transaction: str
    agent: str


def holder_of(scope: Scope, c: CommitChanges | PrepareChanges) -> Holder | None:
    """What stands in the way of a commit; None: nothing that is prepared."""
    if not scope.prepared:
        return None
    written = {write.key for write in c.writes}
    read = {seen.key for seen in c.reads} if c.isolation == SERIALIZABLE else set()
    prefixes = tuple([seen.prefix for seen in c.ranges]) if c.isolation == SERIALIZABLE else ()
    for prepared in scope.prepared:
        key = _in_the_way(prepared, written, read, prefixes)
        if key is not None:
            return Holder(key, prepared.transaction, prepared.agent)
    return None


def _in_the_way(prepared: Prepared, written: set[str], read: set[str], prefixes: tuple[str, ...]) -> str | None:
    """The first key in the way: of what is held in the order of the log, of what was written in the order of keys."""
    for key in prepared.held:
        if key in written or key in read or key.startswith(prefixes):
            return key
    for key in prepared.read:
        if key in written:
            return key
    if prepared.prefixes:
        return next((key for key in sorted(written) if key.startswith(prepared.prefixes)), None)
    return None


def prepared_of(scope: Scope, transaction: str) -> Prepared | None:
    return next((prepared for prepared in scope.prepared if prepared.transaction == transaction), None)


def was_committed(scope: Scope, transaction: str) -> bool:
    """Whether it was done here, as far as that is remembered."""
    return any(done.transaction == transaction for done in scope.done)


def holds_of(c: PrepareChanges) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """What is held for a transaction: keys that it writes, keys and prefixes that it has read."""
    held = _keys(c.writes)
    if c.isolation != SERIALIZABLE:
        return held, (), ()
    return held, tuple([seen.key for seen in c.reads]), tuple([seen.prefix for seen in c.ranges])


def _keys(writes: Iterable[Write]) -> tuple[str, ...]:
    return tuple([write.key for write in writes])


# -- when the outcome is asked for


def next_ask_ms(prepared: Prepared) -> int:
    """When the outcome is asked for next."""
    return prepared.asked_ms + min(ASK_MS << min(prepared.times, 16), ASK_MS_MAX)


def asks_due(scope: Scope, now_ms: int) -> Sequence[Event]:
    """The questions that are due, in the order of what was prepared."""
    return [
        OutcomeWanted(prepared.transaction, prepared.times + 1, now_ms)
        for prepared in scope.prepared
        if next_ask_ms(prepared) <= now_ms
    ]
