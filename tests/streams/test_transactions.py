"""The transactions decider, branch by branch."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from accord.schemas.codec import events_codec
from accord.schemas.messages import limits, transactions
from accord.schemas.messages.locks import LockReleased, PinLease, ReleaseLock, UnpinLease
from accord.schemas.messages.log import CommandRejected, Tick
from accord.schemas.messages.state import (
    AbortPrepared,
    CommitPrepared,
    Conflict,
    PrepareChanges,
    SeenKey,
    SeenRange,
    Write,
)
from accord.schemas.messages.tasks import Step, SubmitTask
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
    Party,
    PrepareAsked,
    ReadTransaction,
    RecordVote,
    RepairTransaction,
    RollBackTransaction,
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
from accord.schemas.topics import DECISION_BYTES_MAX
from accord.streams.decider import At
from accord.streams.state.bounds import READS_MAX, TIMEOUT_MS_MAX, WRITES_MAX
from accord.streams.transactions.bounds import (
    BYTES_MAX,
    GUARDS_MAX,
    MEMBERS_MAX,
    SCOPES_MAX,
    TASKS_BYTES_MAX,
    TELL_MS,
    TELL_MS_MAX,
    TELLS_MAX,
)
from accord.streams.transactions.decider import _ANSWERS, DOMAIN, TransactionDecider
from accord.streams.transactions.transaction import _CHANGES

from tests.streams.spec import Specification

decider = TransactionDecider()
given = Specification(decider)
T0 = 1_000
DUE = T0 + 30_000
KEEP = 5_000


def part(scope: str, *writes: Write, reads: tuple[SeenKey, ...] = ()) -> ScopeChanges:
    return ScopeChanges(scope, "serializable", None, reads, (), writes or (Write("k", "put", "1"),))


A, B, C = part("a"), part("b"), part("c")


def begin(*changes: ScopeChanges, commit: bool = True, **terms: Any) -> BeginTransaction:
    known = {"agent": "ada", "members": ("bob",), "changes": changes, "commit": commit, "timeout_ms": 30_000,
             "keep_ms": KEEP}  # fmt: skip
    return BeginTransaction(**(known | terms))


def vote(scope: str, *, yes: bool = True) -> RecordVote:
    if yes:
        return RecordVote("state", scope, True, "", "", (), "")
    return RecordVote("state", scope, False, "held", "why", (Conflict("k", False, 1, 2),), "u")


def voted(scope: str, *, yes: bool = True, at: int = T0) -> VoteRecorded:
    return VoteRecorded("state", scope, yes, "" if yes else "held", "" if yes else "why", at)


def acked(scope: str, outcome: str = "committed", at: int = T0) -> OutcomeAcknowledged:
    return OutcomeAcknowledged("state", scope, outcome, at)


def ack(scope: str, outcome: str = "committed") -> AcknowledgeOutcome:
    return AcknowledgeOutcome("state", scope, outcome)


def to(*scopes: str) -> tuple[Participant, ...]:
    return tuple([Participant("state", scope) for scope in scopes])


def decided(outcome: str, *tell: str, at: int = T0, **terms: Any) -> TransactionDecided:
    known = {"agent": "ada", "outcome": outcome, "reason": "", "description": "", "refused_by": "", "conflicts": (),
             "holder": "", "tell": to(*tell), "decided_ms": at, "tasks": ()}  # fmt: skip
    return TransactionDecided(**(known | terms))


BEGUN = TransactionBegun("ada", ("bob",), 30_000, KEEP, T0)
OPEN = (BEGUN, ChangesEnlisted("ada", (A,)))
ASKED = (BEGUN, PrepareAsked("ada", (A, B), DUE, T0))
REFUSED = decided("aborted", "a", reason="held", description="why", refused_by="b",
                  conflicts=(Conflict("k", False, 1, 2),), holder="u")  # fmt: skip
COMMITTED = (*ASKED, voted("a"), voted("b"), decided("committed", "a", "b"))
ABORTED = (*ASKED, voted("a"), voted("b", yes=False), REFUSED)
ENDED = (*COMMITTED, acked("a"), acked("b"), TransactionEnded("ada", "committed", T0))


def refused(command: Any, reason: str, agent: str = "ada") -> TransactionRefused:
    return TransactionRefused(agent, command.__name__, reason)


# -- from its beginning to its end


def test_it_is_committed_once_all_have_said_yes_and_ends_once_all_have_done_it() -> None:
    asked = given().when(begin(A, B), T0).then(*ASKED)
    one = asked.when(vote("b"), T0).then(voted("b"))
    both = one.when(vote("a"), T0).then(voted("a"), decided("committed", "a", "b"))
    half = both.when(ack("b"), T0 + 1).then(acked("b", at=T0 + 1))
    half.when(ack("a"), T0 + 2).then(acked("a", at=T0 + 2), TransactionEnded("ada", "committed", T0 + 2))


def test_a_no_aborts_it_at_once_and_the_others_are_told() -> None:
    aborted = given(*ASKED, voted("a")).when(vote("b", yes=False), T0).then(voted("b", yes=False), REFUSED)
    aborted.when(ack("a", "aborted"), T0).then(acked("a", "aborted"), TransactionEnded("ada", "aborted", T0))
    one = given(BEGUN, PrepareAsked("ada", (A,), DUE, T0)).when(vote("a", yes=False), T0)
    assert one._events[-1] == TransactionEnded("ada", "aborted", T0), "nobody is left to be told"


@pytest.mark.parametrize("command", [Tick(), vote("b"), AskOutcome("state", "b")])
def test_it_is_aborted_when_its_time_is_over(command: Any) -> None:
    late = given(*ASKED, voted("a"))
    assert decider.deadline_ms(late.state) == DUE
    events = late.when(command, DUE)._events
    text = "it was not decided within 30000 ms; 1 have not voted, b first"
    assert events[0] == decided("aborted", "a", "b", at=DUE, reason="timeout", description=text)
    assert events[1:] == ([] if command == Tick() else [OutcomeTold("state", "b", "aborted")])
    late.when(vote("b"), DUE - 1).then(voted("b", at=DUE - 1), decided("committed", "a", "b", at=DUE - 1))


def test_what_was_never_sent_is_aborted_without_telling_anybody() -> None:
    text = "it was not decided within 30000 ms"
    given(*OPEN).when(Tick(), DUE).then(
        decided("aborted", at=DUE, reason="timeout", description=text), TransactionEnded("ada", "aborted", DUE)
    )


# -- enlisting


def test_members_enlist_while_it_is_open_each_scope_once() -> None:
    given().when(begin(commit=False), T0).then(BEGUN)
    opened = given().when(begin(A, commit=False), T0).then(*OPEN)
    more = opened.when(EnlistChanges("bob", (B,)), T0).then(ChangesEnlisted("bob", (B,)))
    more.when(EnlistChanges("ada", (B,)), T0).then(refused(EnlistChanges, "enlisted"))
    more.when(EnlistChanges("eve", (C,)), T0).then(refused(EnlistChanges, "not_member", "eve"))
    more.when(CommitTransaction("ada", (C,)), T0).then(PrepareAsked("ada", (A, B, C), DUE, T0))
    more.when(CommitTransaction("ada", ()), T0).then(PrepareAsked("ada", (A, B), DUE, T0))
    more.when(CommitTransaction("ada", (A,)), T0).then(refused(CommitTransaction, "enlisted"))
    more.when(CommitTransaction("bob", ()), T0).then(refused(CommitTransaction, "not_owner", "bob"))


def test_after_the_prepare_nothing_is_enlisted_and_it_is_committed_once() -> None:
    for history, status in ((ASKED, "preparing"), (COMMITTED, "committed"), (ABORTED, "aborted")):
        given(*history).when(EnlistChanges("bob", (C,)), T0).then(refused(EnlistChanges, status, "bob"))
        given(*history).when(CommitTransaction("ada", ()), T0).then(refused(CommitTransaction, status))
        given(*history).when(begin(A), T0).then(refused(BeginTransaction, "exists"))


def test_a_transaction_without_changes_is_not_committed() -> None:
    given().when(begin(), T0).then(refused(BeginTransaction, "nothing"))
    given(BEGUN).when(CommitTransaction("ada", ()), T0).then(refused(CommitTransaction, "nothing"))


def test_together_the_parts_have_bounds_too() -> None:
    large = [part(f"s{n}", *[Write(f"k{m}", "put", "x" * 60_000) for m in range(8)]) for n in range(2)]
    opened = given(BEGUN, ChangesEnlisted("ada", (large[0],)))
    opened.when(EnlistChanges("ada", (large[1],)), T0).then(refused(EnlistChanges, "too_much"))


def test_who_began_it_rolls_it_back_before_it_is_decided() -> None:
    command = RollBackTransaction("ada", "changed her mind")
    terms = {"reason": "rolled_back", "description": "changed her mind"}
    given(*OPEN).when(command, T0).then(decided("aborted", **terms), TransactionEnded("ada", "aborted", T0))
    given(*ASKED).when(command, T0).then(decided("aborted", "a", "b", **terms))
    given(*ASKED).when(RollBackTransaction("bob", ""), T0).then(refused(RollBackTransaction, "not_owner", "bob"))
    given(*COMMITTED).when(command, T0).then(refused(RollBackTransaction, "committed"))


# -- what comes again, or too late


def test_votes_and_acknowledgements_that_come_again_change_nothing() -> None:
    given(*ASKED, voted("a")).when(vote("a"), T0).then(VoteIgnored("state", "a", True, "preparing"))
    given(*ASKED, voted("a")).when(vote("a", yes=False), T0).then(VoteIgnored("state", "a", False, "preparing"))
    given(*COMMITTED).when(vote("a"), T0).then(VoteIgnored("state", "a", True, "committed"))
    given(*COMMITTED, acked("a")).when(ack("a"), T0).then(
        AcknowledgementIgnored("state", "a", "committed", "committed")
    )
    given(*ASKED).when(ack("a"), T0).then(AcknowledgementIgnored("state", "a", "committed", "preparing"))
    given(*COMMITTED).when(ack("z"), T0).then(AcknowledgementIgnored("state", "z", "committed", "committed"))


def test_who_says_yes_after_the_abortion_is_told_of_it() -> None:
    given(*ABORTED).when(vote("a"), T0).then(OutcomeTold("state", "a", "aborted"))
    given(*ABORTED).when(vote("a", yes=False), T0).then(VoteIgnored("state", "a", False, "aborted"))
    given(*COMMITTED).when(vote("z"), T0).then(OutcomeTold("state", "z", "aborted"))


def test_a_transaction_that_is_not_known_was_aborted() -> None:
    given().when(vote("a"), T0).then(OutcomeTold("state", "a", "aborted"))
    given().when(AskOutcome("state", "a"), T0).then(OutcomeTold("state", "a", "aborted"))
    given().when(vote("a", yes=False), T0).then(VoteIgnored("state", "a", False, "unknown"))
    given().when(ack("a"), T0).then(AcknowledgementIgnored("state", "a", "committed", "unknown"))
    given().when(Tick(), T0).then_nothing()
    for command in (EnlistChanges("ada", (A,)), CommitTransaction("ada", ()), RollBackTransaction("ada", ""),
                    ReadTransaction("ada")):  # fmt: skip
        given().when(command, T0).then(refused(type(command), "unknown"))


# -- nobody stays in doubt


def test_who_asks_is_told() -> None:
    given(*ASKED).when(AskOutcome("state", "a"), T0).then(OutcomeUndecided("state", "a", "preparing"))
    given(*COMMITTED).when(AskOutcome("state", "a"), T0).then(OutcomeTold("state", "a", "committed"))
    given(*ABORTED).when(AskOutcome("state", "a"), T0).then(OutcomeTold("state", "a", "aborted"))
    given(*COMMITTED).when(AskOutcome("state", "z"), T0).then(OutcomeTold("state", "z", "aborted"))


def test_who_has_not_acknowledged_is_told_again_ever_more_rarely() -> None:
    half = given(*COMMITTED, acked("a"))
    due_ms, waits = decider.deadline_ms(half.state), []
    assert due_ms == T0 + TELL_MS
    half.when(Tick(), due_ms - 1).then_nothing()
    for times in range(1, 7):
        assert due_ms is not None
        half = half.when(Tick(), due_ms).then(OutcomeToldAgain("committed", to("b"), times, due_ms))
        next_ms = decider.deadline_ms(half.state)
        assert next_ms is not None
        waits.append(next_ms - due_ms)
        due_ms = next_ms
    assert waits == [10_000, 20_000, 40_000, TELL_MS_MAX, TELL_MS_MAX, TELL_MS_MAX]
    last = given(*COMMITTED, acked("a"), OutcomeToldAgain("committed", to("b"), TELLS_MAX, T0))
    assert decider.deadline_ms(last.state) is None, "then it has to ask; it is not forgotten"
    last.when(AskOutcome("state", "b"), 10**12).then(OutcomeTold("state", "b", "committed"))


def test_it_is_remembered_until_all_have_done_it_and_then_for_as_long_as_was_said() -> None:
    assert decider.deadline_ms(given(*ENDED).state) == T0 + KEEP
    given(*ENDED).when(AskOutcome("state", "a"), T0 + KEEP - 1).then(OutcomeTold("state", "a", "committed"))
    gone = given(*ENDED).when(Tick(), T0 + KEEP).then(TransactionForgotten(T0))
    assert gone.state is None
    given(*ENDED).when(begin(A, B), T0 + KEEP)


def test_it_says_how_it_stands() -> None:
    parties = (Party("state", "a", "yes", "aborted"), Party("state", "b", "no", ""))
    given(*ABORTED, acked("a", "aborted")).when(ReadTransaction("eve"), T0).then(
        TransactionRead("eve", "ada", "aborted", "held", "why", parties, T0, DUE, T0, None)
    )


# -- locks that must be held, and tasks that begin with it

ROOM = Guard("locks", "room", 7, None)
STEPS = (Step("one", (), "write", 0, 1_000, 1_000, None, False, None),)
TASK = Submission("task-1", "ada", "report", "default", "{}", STEPS, 60_000, "")
GUARDED = (BEGUN, PrepareAsked("ada", (A, B), DUE, T0, (ROOM,), (TASK,)))
LOCK = (Participant("locks", "room"),)


def lock_voted() -> VoteRecorded:
    return VoteRecorded("locks", "room", True, "", "", T0)


def test_a_lock_votes_and_is_told_of_a_commit_only_when_all_scopes_have_done_it() -> None:
    asked = given().when(begin(A, B, guards=(ROOM,), tasks=(TASK,)), T0).then(*GUARDED)
    two = asked.when(RecordVote("locks", "room", True, "", "", (), ""), T0).then(lock_voted())
    three = two.when(vote("a"), T0).then(voted("a"))
    done = three.when(vote("b"), T0).then(voted("b"), decided("committed", "a", "b", tasks=(TASK,)))
    done.when(AskOutcome("locks", "room"), T0).then(OutcomeUndecided("locks", "room", "committed"))
    half = done.when(ack("a"), T0).then(acked("a"))
    both = half.when(ack("b"), T0).then(acked("b"), GuardsReleased(LOCK, T0))
    both.when(AskOutcome("locks", "room"), T0).then(OutcomeTold("locks", "room", "committed"))
    both.when(Tick(), T0 + TELL_MS).then(OutcomeToldAgain("committed", LOCK, 1, T0 + TELL_MS))
    acked_by_lock = OutcomeAcknowledged("locks", "room", "committed", T0)
    ended = both.when(AcknowledgeOutcome("locks", "room", "committed"), T0).then(
        acked_by_lock, TransactionEnded("ada", "committed", T0)
    )
    again = RecordVote("locks", "room", True, "", "", (), "")
    ended.when(again, T0).then(OutcomeTold("locks", "room", "committed"))
    done.when(again, T0).then(VoteIgnored("locks", "room", True, "committed"))


def test_a_lock_that_is_held_no_more_aborts_it_and_an_abortion_is_told_to_all_at_once() -> None:
    no = RecordVote("locks", "room", False, "not_holder", "why", (), "")
    given(*GUARDED, voted("a")).when(no, T0).then(
        VoteRecorded("locks", "room", False, "not_holder", "why", T0),
        decided("aborted", "a", "b", reason="not_holder", description="why", refused_by="room"),
    )
    aborted = given(*GUARDED, lock_voted()).when(vote("b", yes=False), T0)
    assert aborted._events[-1].tell == (*to("a"), *LOCK), "and no task begins"  # type: ignore[attr-defined]
    assert aborted._events[-1].tasks == ()  # type: ignore[attr-defined]


def test_without_scopes_the_locks_are_told_at_once_and_tasks_alone_need_nobody() -> None:
    asked = given().when(begin(guards=(ROOM,)), T0).then(BEGUN, PrepareAsked("ada", (), DUE, T0, (ROOM,)))
    told = decided("committed", tell=LOCK)
    asked.when(RecordVote("locks", "room", True, "", "", (), ""), T0).then(lock_voted(), told)
    given().when(begin(tasks=(TASK,)), T0).then(
        BEGUN, PrepareAsked("ada", (), DUE, T0, (), (TASK,)), decided("committed", tasks=(TASK,)),
        TransactionEnded("ada", "committed", T0),
    )  # fmt: skip


def test_locks_and_tasks_are_enlisted_once_and_kept_until_it_is_committed() -> None:
    opened = given(BEGUN).when(EnlistChanges("bob", (), (ROOM,), (msgspec.structs.replace(TASK, agent="bob"),)), T0)
    more = opened.then(*opened._events)
    assert isinstance(opened._events[0], ChangesEnlisted)
    more.when(EnlistChanges("ada", (), (ROOM,)), T0).then(refused(EnlistChanges, "enlisted"))
    more.when(EnlistChanges("ada", (), (), (TASK,)), T0).then(refused(EnlistChanges, "enlisted"))
    asked = more.when(CommitTransaction("ada", (A,)), T0)._events[0]
    assert isinstance(asked, PrepareAsked) and (asked.guards, len(asked.tasks)) == ((ROOM,), 1)


def test_locks_and_tasks_are_told_by_commands() -> None:
    orders = DOMAIN.reactions[PrepareAsked]("t", GUARDED[1])
    assert orders[2:] == [("locks", "room", PinLease("ada", "t", 7, None, DUE))]
    begun = ("tasks", "task-1", SubmitTask("ada", "report", "default", "{}", TASK.steps, 60_000, ""))
    told = DOMAIN.reactions[TransactionDecided]("t", decided("committed", "a", tasks=(TASK,)))
    assert told == [("state", "a", CommitPrepared("t")), begun]
    assert DOMAIN.reactions[GuardsReleased]("t", GuardsReleased(LOCK, T0)) == [
        ("locks", "room", UnpinLease("t", "committed"))
    ]
    one = OutcomeTold("locks", "room", "aborted")
    assert DOMAIN.reactions[OutcomeTold]("t", one) == [("locks", "room", UnpinLease("t", "aborted"))]


GPUS = Guard("limits", "gpus", 8, "r-1")
POOL = (Participant("limits", "gpus"),)


def test_a_pool_guards_it_as_a_lock_does_and_both_are_told_last() -> None:
    both = PrepareAsked("ada", (A,), DUE, T0, (ROOM, GPUS))
    orders = DOMAIN.reactions[PrepareAsked]("t", both)
    assert orders[2:] == [("limits", "gpus", limits.PinLease("ada", "t", 8, "r-1", DUE))]
    of_pool = VoteRecorded("limits", "gpus", True, "", "", T0)
    committed = decided("committed", "a")
    done = given(BEGUN, both, lock_voted(), of_pool, voted("a"), committed)
    done.when(AskOutcome("limits", "gpus"), T0).then(OutcomeUndecided("limits", "gpus", "committed"))
    released = done.when(ack("a"), T0).then(acked("a"), GuardsReleased((*LOCK, *POOL), T0))
    assert DOMAIN.reactions[GuardsReleased]("t", GuardsReleased((*LOCK, *POOL), T0)) == [
        ("locks", "room", UnpinLease("t", "committed")), ("limits", "gpus", limits.UnpinLease("t", "committed")),
    ]  # fmt: skip
    one = released.when(AcknowledgeOutcome("limits", "gpus", "committed"), T0).then(
        OutcomeAcknowledged("limits", "gpus", "committed", T0)
    )
    last = one.when(AcknowledgeOutcome("locks", "room", "committed"), T0).then(
        OutcomeAcknowledged("locks", "room", "committed", T0), TransactionEnded("ada", "committed", T0)
    )
    again = RecordVote("limits", "gpus", True, "", "", (), "")
    last.when(again, T0).then(OutcomeTold("limits", "gpus", "committed"))


def test_a_lock_and_a_pool_of_one_name_are_two() -> None:
    of_pool = Guard("limits", "room", 8, "r-1")
    opened = given(BEGUN).when(EnlistChanges("bob", (), (ROOM,)), T0)
    more = opened.then(ChangesEnlisted("bob", (), (ROOM,)))
    more.when(EnlistChanges("ada", (), (of_pool,)), T0).then(ChangesEnlisted("ada", (), (of_pool,)))
    more.when(EnlistChanges("ada", (), (ROOM,)), T0).then(refused(EnlistChanges, "enlisted"))


# -- repairs


def repaired(found: str, done: str, outcome: str, *tell: Participant, at: int = T0) -> TransactionRepaired:
    return TransactionRepaired("eve", found, done, outcome, tell, at)


def test_a_repair_does_at_once_what_is_due_and_changes_no_outcome() -> None:
    stuck = RepairTransaction("eve", "stuck", None)
    given(*ASKED).when(stuck, T0).then(repaired("stuck", "nothing", "preparing"))
    late = given(*ASKED, voted("a")).when(stuck, DUE)
    assert isinstance(late._events[0], TransactionDecided) and late._events[0].outcome == "aborted"
    assert late._events[1] == repaired("stuck", "aborted", "aborted", at=DUE)
    half = given(*COMMITTED, acked("a"), OutcomeToldAgain("committed", to("b"), TELLS_MAX, T0))
    told = half.when(stuck, T0 + 9).then(repaired("stuck", "told", "committed", *to("b"), at=T0 + 9))
    assert decider.deadline_ms(told.state) == T0 + 9 + TELL_MS, "it is told again at intervals that begin anew"
    given(*ENDED).when(stuck, T0).then(repaired("stuck", "nothing", "committed"))
    given().when(stuck, T0).then(repaired("stuck", "nothing", "unknown"))


def test_who_is_in_doubt_is_told_by_a_repair_as_if_it_had_asked() -> None:
    doubt = RepairTransaction("eve", "in_doubt", Participant("state", "a"))
    given().when(doubt, T0).then(repaired("in_doubt", "told", "aborted", *to("a")))
    given(*COMMITTED).when(doubt, T0).then(repaired("in_doubt", "told", "committed", *to("a")))
    given(*ENDED).when(doubt, T0).then(repaired("in_doubt", "told", "committed", *to("a")))
    given(*ASKED).when(doubt, T0).then(repaired("in_doubt", "nothing", "preparing"))
    lock = RepairTransaction("eve", "in_doubt", LOCK[0])
    committed = (*GUARDED, lock_voted(), voted("a"), voted("b"), decided("committed", "a", "b", tasks=(TASK,)))
    given(*committed).when(lock, T0).then(repaired("in_doubt", "nothing", "committed"))
    order = ("state", "a", AbortPrepared("t"))
    reaction = DOMAIN.reactions[TransactionRepaired]
    assert reaction("t", repaired("in_doubt", "told", "aborted", *to("a"))) == [order]
    assert reaction("t", repaired("in_doubt", "nothing", "preparing")) == []


# -- what follows elsewhere


def test_scopes_are_asked_and_told_by_commands() -> None:
    orders = DOMAIN.reactions[PrepareAsked]("t", ASKED[1])
    writes = (Write("k", "put", "1"),)
    wanted = PrepareChanges("ada", "t", "serializable", None, (), (), writes, DUE)
    assert orders == [("state", "a", wanted), ("state", "b", wanted)]
    told = DOMAIN.reactions[TransactionDecided]("t", decided("committed", "a", "b"))
    assert told == [("state", "a", CommitPrepared("t")), ("state", "b", CommitPrepared("t"))]
    assert DOMAIN.reactions[TransactionDecided]("t", REFUSED) == [("state", "a", AbortPrepared("t"))]
    again = OutcomeToldAgain("committed", to("b"), 1, T0)
    assert DOMAIN.reactions[OutcomeToldAgain]("t", again) == [("state", "b", CommitPrepared("t"))]
    one = OutcomeTold("state", "b", "aborted")
    assert DOMAIN.reactions[OutcomeTold]("t", one) == [("state", "b", AbortPrepared("t"))]


# -- bounds


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        (begin(A, A), "changes: a scope is named twice"),
        (begin(part("")), "the name of a scope has 1 to 255 bytes"),
        (begin(part("a", Write("k", "swap", "1"))),
         "a: operation='swap': one of put, delete, increment, add, discard is needed"),
        (begin(*[part(f"s{n}") for n in range(SCOPES_MAX + 1)]),
         f"a transaction has at most {SCOPES_MAX} scopes, this one {SCOPES_MAX + 1}"),
        (begin(A, members=("x",) * (MEMBERS_MAX + 1)), f"a transaction has at most {MEMBERS_MAX} members"),
        (begin(A, members=("",)), "the name of a member has 1 to 255 bytes"),
        (begin(A, timeout_ms=0), f"timeout_ms=0: 1 to {TIMEOUT_MS_MAX} are possible"),
        (begin(A, agent="x" * 256), "agent has more than 255 bytes"),
        (RecordVote("state", "a", False, "r", "x" * 1_025, (), ""),
         "a vote has 1024 bytes of description and 20 conflicts at most"),
        (begin(A, guards=(ROOM, ROOM)), "guards: a lock or a pool is named twice"),
        (begin(A, guards=(Guard("locks", "", 7, None),)), "the name of a lock or a pool has 1 to 255 bytes"),
        (begin(A, guards=(Guard("tasks", "room", 7, None),)), "guards: domain='tasks': locks or limits is needed"),
        (begin(A, guards=(Guard("limits", "gpus", 7, None),)), "gpus: a part of a pool is named by token and request"),
        (begin(A, guards=(Guard("locks", "room", -1, None),)),
         f"room: a token is 0 to {2**62}, a request has at most 255 bytes"),
        (begin(guards=tuple([Guard("locks", f"l{n}", 7, None) for n in range(GUARDS_MAX + 1)])),
         f"a transaction has at most {GUARDS_MAX} guards, this one {GUARDS_MAX + 1}"),
        (begin(A, tasks=(TASK, TASK)), "tasks: an id is named twice"),
        (begin(A, tasks=(msgspec.structs.replace(TASK, task=""),)), "the id of a task has 1 to 255 bytes"),
        (begin(A, agent="eve", tasks=(TASK,)),
         "the task task-1 is submitted by 'ada', its command comes from 'eve'"),
        (begin(A, tasks=(msgspec.structs.replace(TASK, steps=()),)),
         "the task task-1: 0 steps: 1 to 10000 are possible"),
        (begin(tasks=tuple([msgspec.structs.replace(TASK, task=f"t{n}", input="x" * 200_000) for n in range(2)])),
         f"the tasks of a transaction have at most {TASKS_BYTES_MAX} bytes, these 402192"),
        (RepairTransaction("eve", "mixed", None),
         "found='mixed': stuck, or in_doubt with a participant, can be repaired"),
        (RepairTransaction("eve", "stuck", LOCK[0]),
         "found='stuck': stuck, or in_doubt with a participant, can be repaired"),
        (ack("a", "done"), "outcome='done': one of committed, aborted, unknown is needed"),
    ],
)  # fmt: skip
def test_what_is_out_of_bounds_is_rejected(command: Any, problem: str) -> None:
    given().when(command, T0).then(CommandRejected("invalid", problem))


def test_the_largest_transaction_fits_a_decision() -> None:
    reads = tuple([SeenKey(f"{n:0255}", 1) for n in range(READS_MAX)])
    ranges = tuple([SeenRange(f"{n:0240}", 1, True) for n in range(READS_MAX // 3)])
    writes = tuple([Write(f"{n:0255}", "put", "1" * 60) for n in range(WRITES_MAX)])
    largest = ScopeChanges("a", "serializable", None, reads, ranges, writes)
    events = decider.decide(None, begin(largest), At(T0, 1, "r"))
    assert isinstance(events[-1], PrepareAsked)
    assert BYTES_MAX * 0.9 < len(events_codec("transactions").encode(events)) < DECISION_BYTES_MAX


def test_commands_and_events_of_other_domains_are_bugs() -> None:
    with pytest.raises(TypeError, match="the transactions domain has no command ReleaseLock"):
        given().when(ReleaseLock("ada", 1), T0)
    with pytest.raises(TypeError, match="the transactions domain has no event LockReleased"):
        given(LockReleased("ada", None, 1))
    assert set(_ANSWERS) == {*transactions.COMMANDS, Tick} and set(_CHANGES) == set(transactions.EVENTS)
