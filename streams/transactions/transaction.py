"""A transaction: who takes part, how each of them has voted, and what events make of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from accord.schemas.messages import Event
from accord.schemas.messages.transactions import (
    AcknowledgementIgnored,
    ChangesEnlisted,
    Guard,
    GuardsReleased,
    OutcomeAcknowledged,
    OutcomeTold,
    OutcomeToldAgain,
    OutcomeUndecided,
    Participant,
    Party,
    PrepareAsked,
    ScopeChanges,
    Submission,
    TransactionBegun,
    TransactionDecided,
    TransactionEnded,
    TransactionForgotten,
    TransactionRead,
    TransactionRefused,
    TransactionRepaired,
    VoteIgnored,
    VoteRecorded,
)
from accord.streams.transactions.bounds import GUARDS, TELL_MS, TELL_MS_MAX, TELLS_MAX

OPEN: Final = "open"
PREPARING: Final = "preparing"
COMMITTED: Final = "committed"
ABORTED: Final = "aborted"
STATUSES: Final = (OPEN, PREPARING, COMMITTED, ABORTED)
UNKNOWN: Final = "unknown"

YES: Final = "yes"
NO: Final = "no"
STATE: Final = "state"

_replace: Final = msgspec.structs.replace


class Transaction(msgspec.Struct, frozen=True):
    """A transaction. `changes` and `guards` are those enlisted, until they are sent to who takes part; `parties` who
    was asked then. `tasks` are begun when it is committed.

    `told_ms` is when its outcome was told last, `times` how often it was told again.
    """

    agent: str
    members: tuple[str, ...]
    timeout_ms: int
    keep_ms: int
    begun_ms: int
    status: str = OPEN
    changes: tuple[ScopeChanges, ...] = ()
    parties: tuple[Party, ...] = ()
    reason: str = ""
    description: str = ""
    decided_ms: int | None = None
    ended_ms: int | None = None
    told_ms: int = 0
    times: int = 0
    guards: tuple[Guard, ...] = ()
    tasks: tuple[Submission, ...] = ()

    @property
    def due_ms(self) -> int:
        """When it is aborted, unless it is decided."""
        return self.begun_ms + self.timeout_ms

    @property
    def is_decided(self) -> bool:
        return self.status in (COMMITTED, ABORTED)

    @property
    def is_ready(self) -> bool:
        """Whether every participant has said yes."""
        return all(party.vote == YES for party in self.parties)

    @property
    def next_ms(self) -> int | None:
        """When something happens of itself: it is aborted, its participants are told again, or it is forgotten."""
        if not self.is_decided:
            return self.due_ms
        if self.ended_ms is not None:
            return self.ended_ms + self.keep_ms
        return self.told_ms + min(TELL_MS << min(self.times, 16), TELL_MS_MAX) if self.times < TELLS_MAX else None

    def party(self, domain: str, key: str) -> Party | None:
        return next((party for party in self.parties if (party.domain, party.key) == (domain, key)), None)

    def to_tell(self) -> tuple[Participant, ...]:
        """Who may have prepared something and has not acknowledged the outcome; of a commit its guards only after all
        others: who is granted one next sees what was committed."""
        left = [party for party in self.parties if party.vote != NO and not party.outcome]
        if self.status == COMMITTED:
            left = [party for party in left if party.domain not in GUARDS] or left
        return tuple([Participant(party.domain, party.key) for party in left])


def evolve(state: Transaction | None, event: Event) -> Transaction | None:
    """The transaction after an event."""
    change = _CHANGES.get(type(event))
    if change is None:
        raise TypeError(f"the transactions domain has no event {type(event).__name__}")
    return change(state, event)


def _begun(_: Transaction | None, e: TransactionBegun) -> Transaction:
    return Transaction(e.agent, e.members, e.timeout_ms, e.keep_ms, e.begun_ms)


def _enlisted(t: Transaction, e: ChangesEnlisted) -> Transaction:
    return _replace(
        t, changes=(*t.changes, *e.changes), guards=(*t.guards, *e.guards), tasks=(*t.tasks, *e.tasks)
    )  # fmt: skip


def _asked(t: Transaction, e: PrepareAsked) -> Transaction:
    parties = [Party(STATE, of.scope, "", "") for of in e.changes]
    parties += [Party(guard.domain, guard.key, "", "") for guard in e.guards]
    return _replace(t, status=PREPARING, changes=(), guards=(), parties=tuple(parties), tasks=e.tasks)


def _voted(t: Transaction, e: VoteRecorded) -> Transaction:
    return _replace(t, parties=_with(t, e.domain, e.key, vote=YES if e.yes else NO))


def _decided(t: Transaction, e: TransactionDecided) -> Transaction:
    return _replace(
        t, status=e.outcome, reason=e.reason, description=e.description, decided_ms=e.decided_ms,
        told_ms=e.decided_ms, changes=(), guards=(), tasks=(),
    )  # fmt: skip


def _acknowledged(t: Transaction, e: OutcomeAcknowledged) -> Transaction:
    return _replace(t, parties=_with(t, e.domain, e.key, outcome=e.outcome))


def _with(t: Transaction, domain: str, key: str, **terms: str) -> tuple[Party, ...]:
    return tuple([_replace(one, **terms) if (one.domain, one.key) == (domain, key) else one for one in t.parties])


def _told_again(t: Transaction, e: OutcomeToldAgain) -> Transaction:
    return _replace(t, told_ms=e.told_ms, times=e.times)


def _repaired(t: Transaction | None, e: TransactionRepaired) -> Transaction | None:
    """Those who were told are told again at intervals that begin anew."""
    return t if t is None or not (t.is_decided and e.tell) else _replace(t, told_ms=e.repaired_ms, times=0)


def _ended(t: Transaction, e: TransactionEnded) -> Transaction:
    return _replace(t, ended_ms=e.ended_ms)


def _forgotten(_: Transaction, __: TransactionForgotten) -> None:
    return None


def _unchanged(t: Transaction | None, _: Event) -> Transaction | None:
    return t


_CHANGES: Final[Mapping[type[Event], Callable[[Any, Any], Transaction | None]]] = {
    TransactionBegun: _begun,
    ChangesEnlisted: _enlisted,
    PrepareAsked: _asked,
    VoteRecorded: _voted,
    VoteIgnored: _unchanged,
    TransactionDecided: _decided,
    OutcomeAcknowledged: _acknowledged,
    AcknowledgementIgnored: _unchanged,
    OutcomeTold: _unchanged,
    OutcomeToldAgain: _told_again,
    OutcomeUndecided: _unchanged,
    TransactionEnded: _ended,
    TransactionRefused: _unchanged,
    TransactionRead: _unchanged,
    TransactionForgotten: _forgotten,
    GuardsReleased: _unchanged,
    TransactionRepaired: _repaired,
}
