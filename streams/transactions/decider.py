"""Transactions: one aggregate a transaction; it changes several scopes of shared state, all or none (two-phase commit),
if locks and parts of pools are still held, and begins tasks with it.

    agent --Begin, Commit--> transaction --PrepareChanges--> scopes    each validates, holds its keys, and votes
                             transaction <--RecordVote------ scopes    all yes: committed; a no, or too late: aborted
                             transaction --CommitPrepared--> scopes    or AbortPrepared: what was decided is told
                             transaction <--Acknowledge----- scopes    ended

Rules:
- The outcome is an event before anybody is told. It never changes.
- It is committed if every scope has voted yes before its time is over by the log's clock; else it is aborted.
- Presumed abort: a transaction that is not known was aborted. So one that was committed is remembered until every
  scope has acknowledged it, and then for as long as who began it said.
- A lock or a pool takes part as a scope does: it says yes if a grant of it is current, and then what was granted goes
  to nobody new until it is told the outcome (`accord.streams.pins`). After a commit that is when all scopes have done
  it, not before: who is granted it next sees what was committed under it.
- Tasks are begun by the decision to commit, under ids that came with them, so a repeat begins none; else never.
- Nobody stays in doubt: who has not acknowledged is told again, at growing intervals; and a scope whose transaction's
  time is over asks (`accord.streams.state.prepared`).
- Commands between transactions and scopes come at least once and in any order; a vote or an acknowledgement that comes
  again, or too late, changes nothing. Who votes yes after the abortion is told of it.
- Who began it, and the members that it names, enlist changes while it is open, each scope once; who began it alone
  commits it or rolls it back. After that nothing is enlisted, and it is committed once.
- A repair does what a worker does of itself when time passes, at once, and says so in an event; it changes no outcome.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Final

import msgspec
from accord.schemas.messages import Command, Event, limits, locks
from accord.schemas.messages.log import CommandRejected, Reason, Tick
from accord.schemas.messages.state import AbortPrepared, CommitPrepared, Conflict, PrepareChanges
from accord.schemas.messages.transactions import (
    AcknowledgementIgnored,
    AcknowledgeOutcome,
    AskOutcome,
    BeginTransaction,
    ChangesEnlisted,
    CommitTransaction,
    EnlistChanges,
    Guard,
    GuardsReleased,
    OutcomeAcknowledged,
    OutcomeTold,
    OutcomeToldAgain,
    OutcomeUndecided,
    Participant,
    PrepareAsked,
    ReadTransaction,
    RecordVote,
    RepairTransaction,
    RollBackTransaction,
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
from accord.streams.decider import At, Domain, Order
from accord.streams.transactions.bounds import GUARDS, LIMITS, STUCK, problem_of, problem_of_all, submit_task
from accord.streams.transactions.transaction import (
    ABORTED,
    COMMITTED,
    OPEN,
    PREPARING,
    STATE,
    UNKNOWN,
    YES,
    Transaction,
    evolve,
)

TIMEOUT: Final = "timeout"
ROLLED_BACK: Final = "rolled_back"

TOLD: Final = "told"
NOTHING: Final = "nothing"

Terms = BeginTransaction | EnlistChanges | CommitTransaction
"""What brings changes, guards and tasks."""


class TransactionDecider:
    """Version 1."""

    state_type = Transaction

    def decide(self, state: Transaction | None, command: Command, at: At) -> Sequence[Event]:
        problem = problem_of(command)
        if problem is not None:
            return [CommandRejected(Reason.INVALID, problem)]
        draft = Draft(state, at)
        draft.let_time_pass()
        if draft.transaction is None:
            _of_no_transaction(draft, command)
        else:
            _ANSWERS[type(command)](draft, draft.transaction, command)
        return draft.events

    def evolve(self, state: Transaction | None, event: Event) -> Transaction | None:
        return evolve(state, event)

    def deadline_ms(self, state: Transaction) -> int | None:
        return state.next_ms


class Draft:
    """A decision as it comes into being: its events, and the transaction after them."""

    def __init__(self, transaction: Transaction | None, at: At) -> None:
        self.transaction: Any = transaction
        self.at = at
        self.events: list[Event] = []

    def add(self, event: Event) -> None:
        self.events.append(event)
        self.transaction = evolve(self.transaction, event)

    def let_time_pass(self) -> None:
        """Aborts what is due, tells again whom it is due to, and forgets what ended long ago."""
        t = self.transaction
        due_ms = None if t is None else t.next_ms
        if due_ms is None or due_ms > self.at.now_ms:
            return
        if not t.is_decided:
            missing = [party.key for party in t.parties if not party.vote]
            who = f"; {len(missing)} have not voted, {missing[0]} first" if missing else ""
            self.abort(TIMEOUT, f"it was not decided within {t.timeout_ms} ms{who}")
        elif t.ended_ms is not None:
            self.add(TransactionForgotten(t.ended_ms))
        else:
            self.add(OutcomeToldAgain(t.status, t.to_tell(), t.times + 1, self.at.now_ms))

    def prepare(self, c: Terms) -> None:
        """All is known, with what comes last: asks the scopes and the guards."""
        t = self.transaction
        guards, tasks = (*t.guards, *c.guards), (*t.tasks, *c.tasks)
        self.add(PrepareAsked(t.agent, (*t.changes, *c.changes), t.due_ms, self.at.now_ms, guards, tasks))
        if self.transaction.is_ready:
            self.commit()  # nobody is to be asked: it begins tasks alone

    def commit(self) -> None:
        self._decide(COMMITTED, tasks=self.transaction.tasks)

    def abort(
        self,
        reason: str,
        description: str,
        refused_by: str = "",
        conflicts: tuple[Conflict, ...] = (),
        holder: str = "",
    ) -> None:
        self._decide(ABORTED, reason, description, refused_by, conflicts, holder)

    def _decide(
        self,
        outcome: str,
        reason: str = "",
        description: str = "",
        refused_by: str = "",
        conflicts: tuple[Conflict, ...] = (),
        holder: str = "",
        tasks: tuple[Submission, ...] = (),
    ) -> None:
        t = self.transaction
        tell = msgspec.structs.replace(t, status=outcome).to_tell()
        self.add(
            TransactionDecided(
                t.agent, outcome, reason, description, refused_by, conflicts, holder, tell, self.at.now_ms, tasks
            )
        )
        self.end_if_done()

    def end_if_done(self) -> None:
        """It has ended once nobody has to be told any more."""
        t = self.transaction
        if t.is_decided and t.ended_ms is None and not t.to_tell():
            self.add(TransactionEnded(t.agent, t.status, self.at.now_ms))


def _of_no_transaction(draft: Draft, command: Command) -> None:
    """To a transaction that there is not, or not any more: then nothing of it is done (presumed abort)."""
    match command:
        case BeginTransaction():
            _begin(draft, command)
        case RecordVote(domain, key, True) | AskOutcome(domain, key):
            draft.add(OutcomeTold(domain, key, ABORTED))
        case RecordVote(domain, key, False):
            draft.add(VoteIgnored(domain, key, False, UNKNOWN))
        case AcknowledgeOutcome(domain, key, outcome):
            draft.add(AcknowledgementIgnored(domain, key, outcome, UNKNOWN))
        case RepairTransaction():
            _repair(draft, None, command)
        case Tick():
            pass
        case _:
            _refuse(draft, command, UNKNOWN)


def _refuse(draft: Draft, command: Any, reason: str) -> None:
    draft.add(TransactionRefused(command.agent, type(command).__name__, reason))


# -- what agents ask


def _begin(draft: Draft, c: BeginTransaction) -> None:
    is_empty = not (c.changes or c.guards or c.tasks)
    if c.commit and is_empty:
        _refuse(draft, c, "nothing")
        return
    draft.add(TransactionBegun(c.agent, c.members, c.timeout_ms, c.keep_ms, draft.at.now_ms))
    if c.commit:
        draft.prepare(c)
    elif not is_empty:
        draft.add(ChangesEnlisted(c.agent, c.changes, c.guards, c.tasks))


def _begin_again(draft: Draft, _: Transaction, c: BeginTransaction) -> None:
    _refuse(draft, c, "exists")


def _enlist(draft: Draft, t: Transaction, c: EnlistChanges) -> None:
    if c.agent not in (t.agent, *t.members):
        _refuse(draft, c, "not_member")
        return
    problem = _problem(t, c)
    if problem is not None:
        _refuse(draft, c, problem)
    else:
        draft.add(ChangesEnlisted(c.agent, c.changes, c.guards, c.tasks))


def _commit(draft: Draft, t: Transaction, c: CommitTransaction) -> None:
    problem = "not_owner" if c.agent != t.agent else _problem(t, c)
    if problem is None and not any((t.changes, c.changes, t.guards, c.guards, t.tasks, c.tasks)):
        problem = "nothing"
    if problem is not None:
        _refuse(draft, c, problem)
    else:
        draft.prepare(c)


def _problem(t: Transaction, c: Terms) -> str | None:
    """Why these cannot be enlisted."""
    if t.status != OPEN:
        return t.status
    changes, guards, tasks = (*t.changes, *c.changes), (*t.guards, *c.guards), (*t.tasks, *c.tasks)
    if (
        _names_twice([of.scope for of in changes])
        or _names_twice([(guard.domain, guard.key) for guard in guards])
        or _names_twice([one.task for one in tasks])
    ):
        return "enlisted"
    return None if problem_of_all(changes, guards, tasks) is None else "too_much"


def _names_twice(names: Sequence[Hashable]) -> bool:
    return len(set(names)) < len(names)


def _roll_back(draft: Draft, t: Transaction, c: RollBackTransaction) -> None:
    if c.agent != t.agent:
        _refuse(draft, c, "not_owner")
    elif t.is_decided:
        _refuse(draft, c, t.status)
    else:
        draft.abort(ROLLED_BACK, c.reason)


def _read(draft: Draft, t: Transaction, c: ReadTransaction) -> None:
    draft.add(
        TransactionRead(
            c.agent, t.agent, t.status, t.reason, t.description, t.parties, t.begun_ms, t.due_ms, t.decided_ms,
            t.ended_ms,
        )
    )  # fmt: skip


# -- what participants say


def _vote(draft: Draft, t: Transaction, c: RecordVote) -> None:
    party = t.party(c.domain, c.key)
    if t.status == PREPARING and party is not None and not party.vote:
        draft.add(VoteRecorded(c.domain, c.key, c.yes, c.reason, c.description, draft.at.now_ms))
        if not c.yes:
            draft.abort(c.reason, c.description, c.key, c.conflicts, c.holder)
        elif draft.transaction.is_ready:
            draft.commit()
    elif c.yes and (party is None or t.status == ABORTED):
        draft.add(OutcomeTold(c.domain, c.key, ABORTED))
    elif c.yes and party is not None and party.outcome and party.domain in GUARDS:
        # It was asked again after its end, and is pinned once more.
        draft.add(OutcomeTold(c.domain, c.key, t.status))
    else:
        draft.add(VoteIgnored(c.domain, c.key, c.yes, t.status))


def _acknowledge(draft: Draft, t: Transaction, c: AcknowledgeOutcome) -> None:
    party = t.party(c.domain, c.key)
    if not t.is_decided or party is None or party.outcome:
        draft.add(AcknowledgementIgnored(c.domain, c.key, c.outcome, t.status))
        return
    draft.add(OutcomeAcknowledged(c.domain, c.key, c.outcome, draft.at.now_ms))
    tell = draft.transaction.to_tell()
    if t.status == COMMITTED and c.domain not in GUARDS and tell and all(one.domain in GUARDS for one in tell):
        draft.add(GuardsReleased(tell, draft.at.now_ms))
    draft.end_if_done()


def _ask(draft: Draft, t: Transaction, c: AskOutcome) -> None:
    outcome = _outcome_for(t, Participant(c.domain, c.key))
    if outcome is None:
        draft.add(OutcomeUndecided(c.domain, c.key, t.status))
    else:
        draft.add(OutcomeTold(c.domain, c.key, outcome))


def _outcome_for(t: Transaction | None, who: Participant) -> str | None:
    """What a participant is to be told; None: nothing yet."""
    party = None if t is None else t.party(who.domain, who.key)
    if t is None or party is None:
        return ABORTED
    waits_its_turn = not party.outcome and party.vote == YES and who not in t.to_tell()
    return t.status if t.is_decided and not waits_its_turn else None


def _repair(draft: Draft, t: Transaction | None, c: RepairTransaction) -> None:
    """What was due has been done before: a transaction whose time is over is aborted by now."""
    aborted = any(isinstance(event, TransactionDecided) for event in draft.events)
    tell: tuple[Participant, ...] = ()
    outcome = UNKNOWN if t is None else t.status
    if c.participant is not None:
        due = _outcome_for(t, c.participant)
        if due is not None:
            outcome, tell = due, (c.participant,)
    elif t is not None and t.is_decided and not aborted:
        tell = t.to_tell()
    done = ABORTED if aborted and c.found == STUCK else TOLD if tell else NOTHING
    draft.add(TransactionRepaired(c.agent, c.found, done, outcome, tell, draft.at.now_ms))


def _tick(_: Draft, __: Transaction, ___: Tick) -> None:
    pass


_ANSWERS: Final[Mapping[type[Command], Callable[[Draft, Transaction, Any], None]]] = {
    BeginTransaction: _begin_again,
    EnlistChanges: _enlist,
    CommitTransaction: _commit,
    RollBackTransaction: _roll_back,
    ReadTransaction: _read,
    RecordVote: _vote,
    AcknowledgeOutcome: _acknowledge,
    AskOutcome: _ask,
    RepairTransaction: _repair,
    Tick: _tick,
}


# -- what follows elsewhere


def _prepare(key: str, e: PrepareAsked) -> list[Order]:
    return [
        Order(
            STATE,
            of.scope,
            PrepareChanges(e.agent, key, of.isolation, of.snapshot, of.reads, of.ranges, of.writes, e.due_ms),
        )
        for of in e.changes
    ] + [Order(guard.domain, guard.key, _pin(key, guard, e)) for guard in e.guards]


def _pin(key: str, guard: Guard, e: PrepareAsked) -> Command:
    if guard.domain == LIMITS:
        assert guard.request is not None, "it is asked for"
        return limits.PinLease(e.agent, key, guard.token, guard.request, e.due_ms)
    return locks.PinLease(e.agent, key, guard.token, guard.request, e.due_ms)


def _decided(key: str, e: TransactionDecided) -> list[Order]:
    begun = [Order("tasks", one.task, submit_task(one)) for one in e.tasks]
    return [*[_outcome(key, participant, e.outcome) for participant in e.tell], *begun]


def _tell(key: str, e: OutcomeToldAgain | TransactionRepaired) -> list[Order]:
    return [_outcome(key, participant, e.outcome) for participant in e.tell]


def _release(key: str, e: GuardsReleased) -> list[Order]:
    return [_outcome(key, participant, COMMITTED) for participant in e.tell]


def _tell_one(key: str, e: OutcomeTold) -> list[Order]:
    return [_outcome(key, Participant(e.domain, e.key), e.outcome)]


def _outcome(key: str, participant: Participant, outcome: str) -> Order:
    return Order(participant.domain, participant.key, _told(participant.domain, key, outcome))


def _told(domain: str, key: str, outcome: str) -> Command:
    if domain in GUARDS:
        return limits.UnpinLease(key, outcome) if domain == LIMITS else locks.UnpinLease(key, outcome)
    return CommitPrepared(key) if outcome == COMMITTED else AbortPrepared(key)


DOMAIN: Final = Domain(
    "transactions",
    {1: TransactionDecider()},
    reactions={
        PrepareAsked: _prepare,
        TransactionDecided: _decided,
        GuardsReleased: _release,
        OutcomeTold: _tell_one,
        OutcomeToldAgain: _tell,
        TransactionRepaired: _tell,
    },
)
"""Transactions, by id."""
