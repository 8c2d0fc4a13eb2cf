"""Notices: whom a decision concerns, and what is sent to their inboxes.

A decision concerns who sent its command, if the command's id carries an address, and whoever its events say something
new to: who is granted what he queued for, whose lease ended, who stood at a barrier. All of it is read off the decision
itself, so notices can be derived again, by anybody who can read the log, and are the same.

A notice is the decision's record once more: its value, the headers that a client needs, and where the decision lies.
There is one for each partition of the inbox that has somebody whom it concerns; its key names them, so that the others
who read there need not look further.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from accord.schemas import headers as h
from accord.schemas.headers import Headers, LogRecord, Record
from accord.schemas.inbox import address_in, address_of, inbox_of
from accord.schemas.messages import (
    Event,
    auctions,
    conflicts,
    hierarchy,
    limits,
    llm,
    locks,
    log,
    proposals,
    roster,
    sagas,
    signals,
    state,
    tasks,
    transactions,
    triggers,
    waits,
)
from accord.schemas.position import Position
from accord.streams.chain import Decision, parse

from accord.errors import AccordError

TASKS_TOLD: Final = frozenset(
    {tasks.StepLost, tasks.StepTimedOut, tasks.TaskCompleted, tasks.TaskFailed, tasks.TaskCancelled}
)
ROSTER_TOLD: Final = frozenset({roster.AgentsAssigned, roster.MemberLost})
LLM_TOLD: Final = frozenset({llm.CallGranted, llm.LeaseEnded, llm.RequestWithdrawn, llm.CallRecorded})
PROPOSALS_TOLD: Final = frozenset({proposals.ProposalDecided, proposals.ProposalWithdrawn})
AUCTIONS_TOLD: Final = frozenset(
    {
        auctions.ScoresWanted,
        auctions.WorkAwarded,
        auctions.AwardLost,
        auctions.WorkCompleted,
        auctions.AuctionUnsold,
        auctions.AuctionCancelled,
    }
)
HIERARCHY_TOLD: Final = frozenset({hierarchy.DecisionMade, hierarchy.DecisionDefaulted, hierarchy.DecisionWithdrawn})
TRANSACTIONS_TOLD: Final = frozenset({transactions.TransactionDecided, transactions.TransactionEnded})
CONFLICTS_TOLD: Final = frozenset(
    {
        conflicts.ConflictEscalated,
        conflicts.ConflictResolved,
        conflicts.AppealDecided,
        conflicts.IntentionAllowed,
        conflicts.IntentionQueued,
        conflicts.IntentionFavoured,
        conflicts.IntentionEnded,
    }
)
SAGAS_TOLD: Final = frozenset(
    {
        sagas.SagaOffered,
        sagas.RunnerLost,
        sagas.StepStarted,
        sagas.StepTimedOut,
        sagas.CompensationBegun,
        sagas.SagaCompleted,
        sagas.SagaCompensated,
        sagas.SagaStuck,
    }
)
NOBODY_ELSE: Final = frozenset(
    {
        *log.EVENTS,
        *signals.EVENTS,
        *waits.EVENTS,
        *state.EVENTS,
        *(set(tasks.EVENTS) - TASKS_TOLD),
        *(set(roster.EVENTS) - ROSTER_TOLD),
        *(set(proposals.EVENTS) - PROPOSALS_TOLD),
        *(set(auctions.EVENTS) - AUCTIONS_TOLD),
        *(set(hierarchy.EVENTS) - HIERARCHY_TOLD),
        *(set(transactions.EVENTS) - TRANSACTIONS_TOLD),
        *(set(conflicts.EVENTS) - CONFLICTS_TOLD),
        *triggers.EVENTS,
        *(set(sagas.EVENTS) - SAGAS_TOLD),
        locks.LockQueued,
        locks.LeaseRenewed,
        locks.RenewalRefused,
        locks.ReleaseRefused,
        locks.ConditionAwaited,
        locks.ConditionRefused,
        locks.BarrierReached,
        locks.BarrierRefused,
        locks.StaleWriteRefused,
        locks.LeasePinned,
        locks.PinRefused,
        locks.PinRepeated,
        locks.LeaseUnpinned,
        locks.PinGone,
        locks.PinOutcomeWanted,
        limits.PoolConfigured,
        limits.CapacityQueued,
        limits.LeaseRenewed,
        limits.RenewalRefused,
        limits.ReleaseRefused,
        limits.PoolPaused,
        limits.PoolResumed,
        limits.StaleWriteRefused,
        limits.LeasePinned,
        limits.PinRefused,
        limits.PinRepeated,
        limits.LeaseUnpinned,
        limits.PinGone,
        limits.PinOutcomeWanted,
        *(set(llm.EVENTS) - LLM_TOLD),
    }
)
"""Events that say something new to who sent the command alone. Handlers of signals, and who watches a scope, read the
events topic."""


def _request(event: Any) -> Iterable[str | None]:
    return (address_in(event.request),)


def _requests(event: Any) -> Iterable[str | None]:
    return map(address_in, event.requests)


def _holder(event: Any) -> Iterable[str | None]:
    """Who held a lock alone is named by the token; if no request is told, the agent is his."""
    return (address_of(event.agent) if event.request is None else address_in(event.request),)


def _agent(event: Any) -> Iterable[str | None]:
    """The agent that it names, in whatever process; of a step that nobody ran it is empty."""
    return (address_of(event.agent),) if event.agent else ()


def _assigned(event: roster.AgentsAssigned) -> Iterable[str | None]:
    return map(address_of, {assignment.agent for assignment in event.assignments})


def _cancelled(event: tasks.TaskCancelled) -> Iterable[str | None]:
    return map(address_of, {event.submitter, *event.runners})


def _voters(event: proposals.ProposalDecided) -> Iterable[str | None]:
    return [address_of(ballot.voter) for ballot in event.ballots]


def _might_have_voted(event: proposals.ProposalWithdrawn) -> Iterable[str | None]:
    return map(address_of, event.voters)


def _awarded(event: auctions.WorkAwarded) -> Iterable[str | None]:
    return address_in(event.member), address_of(event.announcer)


def _member(event: auctions.AwardLost) -> Iterable[str | None]:
    return (address_in(event.member),)


def _completed(event: auctions.WorkCompleted) -> Iterable[str | None]:
    return address_of(event.announcer), *map(address_in, event.members)


def _ended(event: auctions.AuctionUnsold | auctions.AuctionCancelled) -> Iterable[str | None]:
    return address_of(event.agent), *map(address_in, event.members)


def _requester(event: hierarchy.DecisionMade) -> Iterable[str | None]:
    return (address_of(event.requester),)


def _parties(event: conflicts.ConflictEscalated) -> Iterable[str | None]:
    return [address_of(party.agent) for party in event.parties]


def _sides(event: conflicts.ConflictResolved) -> Iterable[str | None]:
    names = [event.agent, *(one.agent for one in event.winners), *(one.agent for one in event.losers)]
    return map(address_of, names)


def _appealed(event: conflicts.AppealDecided) -> Iterable[str | None]:
    return map(address_of, [event.winner.agent, *(one.agent for one in event.losers)])


def _runner(event: sagas.StepStarted) -> Iterable[str | None]:
    return (address_in(event.runner),)


def _beginner_too(event: sagas.SagaCompleted) -> Iterable[str | None]:
    return address_of(event.agent), address_in(event.runner)


SOMEBODY: Final[Mapping[type[Event], Callable[[Any], Iterable[str | None]]]] = {
    locks.LockGranted: _request,
    locks.LockDenied: _request,
    locks.RequestWithdrawn: _request,
    locks.DeadlockBroken: _request,
    locks.LockReleased: _holder,
    locks.LeaseExpired: _holder,
    locks.LeaseRevoked: _holder,
    locks.ConditionNotified: _requests,
    locks.ConditionTimedOut: _request,
    locks.BarrierPassed: _requests,
    locks.BarrierBroken: _requests,
    limits.CapacityGranted: _request,
    limits.CapacityDenied: _request,
    limits.RequestWithdrawn: _request,
    limits.DeadlockBroken: _request,
    limits.CapacityReleased: _request,
    limits.LeaseExpired: _request,
    llm.CallGranted: _request,
    llm.LeaseEnded: _request,
    llm.RequestWithdrawn: _request,
    llm.CallRecorded: _requests,
    tasks.StepLost: _agent,
    tasks.StepTimedOut: _agent,
    tasks.TaskCompleted: _agent,
    tasks.TaskFailed: _agent,
    tasks.TaskCancelled: _cancelled,
    roster.AgentsAssigned: _assigned,
    roster.MemberLost: _agent,
    proposals.ProposalDecided: _voters,
    proposals.ProposalWithdrawn: _might_have_voted,
    auctions.ScoresWanted: _agent,
    auctions.WorkAwarded: _awarded,
    auctions.AwardLost: _member,
    auctions.WorkCompleted: _completed,
    auctions.AuctionUnsold: _ended,
    auctions.AuctionCancelled: _ended,
    hierarchy.DecisionMade: _requester,
    hierarchy.DecisionDefaulted: _agent,
    hierarchy.DecisionWithdrawn: _agent,
    transactions.TransactionDecided: _agent,
    transactions.TransactionEnded: _agent,
    conflicts.ConflictEscalated: _parties,
    conflicts.ConflictResolved: _sides,
    conflicts.AppealDecided: _appealed,
    conflicts.IntentionAllowed: _agent,
    conflicts.IntentionQueued: _agent,
    conflicts.IntentionFavoured: _agent,
    conflicts.IntentionEnded: _agent,
    sagas.SagaOffered: _agent,
    sagas.RunnerLost: _runner,
    sagas.StepStarted: _runner,
    sagas.StepTimedOut: _runner,
    sagas.CompensationBegun: _runner,
    sagas.SagaCompleted: _beginner_too,
    sagas.SagaCompensated: _beginner_too,
    sagas.SagaStuck: _beginner_too,
}
"""Whose business an event is, whoever sent the command. What is in neither table has been forgotten."""


class Notice(NamedTuple):
    """A record for a partition of the inbox."""

    partition: int
    key: bytes
    value: bytes
    headers: Headers


def addresses(decision: Decision, events: Sequence[Event]) -> set[str]:
    """The addresses of those whom a decision concerns.

    Raises:
        TypeError: nobody has said whom one of its events concerns.
    """
    found: set[str | None] = {address_in(decision.command_id)}
    for event in events:
        concerned = SOMEBODY.get(type(event))
        if concerned is not None:
            found.update(concerned(event))
        elif type(event) not in NOBODY_ELSE:
            raise TypeError(f"whom does {type(event).__name__} concern? See {__name__}.")
    found.discard(None)
    return found  # type: ignore[return-value]


def notices(domain: str, partition: int, decision: Decision, events: Sequence[Event], inboxes: int) -> list[Notice]:
    """What to send of a decision.

    Args:
        domain, partition: where it lies.
        events: the decision's, decoded.
        inboxes: partitions of the inbox.
    """
    found = addresses(decision, events)
    if not found:
        return []
    cause, chain, rules = decision.written
    headers: Headers = [
        (h.AT, b"%s/%d@%d" % (domain.encode(), partition, decision.offset)),
        (h.KEY, decision.key),
        (h.TYPE, decision.type),
        (h.CLOCK, decision.clock),
        (h.CAUSE, cause),
        (h.CHAIN, chain),
        (h.RULES, rules),
    ]
    if decision.task:
        headers.append((h.TASK, decision.task))
    if decision.trace:
        headers.append((h.TRACE, decision.trace))
    if len(found) == 1:
        (address,) = found
        return [Notice(inbox_of(address, inboxes), address.encode(), decision.value, headers)]
    by_inbox: dict[int, list[str]] = {}
    for address in sorted(found):
        by_inbox.setdefault(inbox_of(address, inboxes), []).append(address)
    return [
        Notice(inbox, " ".join(addressees).encode(), decision.value, headers) for inbox, addressees in by_inbox.items()
    ]


def place_of(notice: Record) -> tuple[Position, int]:
    """Where the decision of a notice lies, and its number.

    Raises:
        ValueError: the record is no notice.
    """
    fields = dict(notice.headers)
    try:
        position, number = Position.parse(fields[h.AT].decode()), int(fields[h.CHAIN].partition(b" ")[0])
    except (AccordError, KeyError, AttributeError, ValueError) as error:
        raise ValueError(f"the record at offset {notice.offset} is no notice: {error!r}") from error
    return position, number


def decision_of(notice: Record, position: Position, root: bytes) -> Decision:
    """The decision of a notice, as it lies at `position`.

    Args:
        root: the genesis of the decision's partition.

    Raises:
        ValueError: the record is no notice.
    """
    key = dict(notice.headers).get(h.KEY)
    record = LogRecord(position.offset, notice.timestamp, notice.timestamp_type, key, notice.value, notice.headers)
    return parse(root, record)
