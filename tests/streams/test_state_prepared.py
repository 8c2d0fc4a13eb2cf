"""What a scope prepares for transactions over several scopes, branch by branch."""

from __future__ import annotations

from typing import Any

import pytest
from accord.schemas.codec import events_codec
from accord.schemas.messages.log import Tick
from accord.schemas.messages.state import (
    AbortPrepared,
    Change,
    ChangesCommitted,
    ChangesPrepared,
    CommitHeld,
    CommitPrepared,
    Conflict,
    OutcomeKnown,
    OutcomeWanted,
    PrepareChanges,
    PreparedAborted,
    PreparedCommitted,
    PrepareRefused,
    PrepareRepeated,
    SeenKey,
    SeenRange,
    Write,
)
from accord.schemas.messages.transactions import AcknowledgeOutcome, AskOutcome, RecordVote
from accord.schemas.topics import DECISION_BYTES_MAX
from accord.streams.decider import dump, restore
from accord.streams.state.bounds import (
    ASK_MS,
    ASK_MS_MAX,
    CHANGES_BYTES_MAX,
    DONE_MAX,
    KEYS_MAX,
    PREPARED_BYTES_MAX,
    PREPARED_MAX,
    VALUE_BYTES_MAX,
    WRITES_MAX,
)
from accord.streams.state.decider import DOMAIN, StateDecider
from accord.streams.state.keymap import Item, KeyMap
from accord.streams.state.scope import Done, Prepared, Scope
from msgspec.structs import replace

from tests.streams.spec import Given, Specification
from tests.streams.test_state import AB, T0, commit, committed, put, set_to

decider = StateDecider()
given = Specification(decider)
DUE = T0 + 30_000


def prepare(*writes: Write, **terms: Any) -> PrepareChanges:
    known: dict[str, Any] = {
        "agent": "bob", "transaction": "t", "isolation": "serializable", "snapshot": None, "reads": (), "ranges": (),
        "writes": writes, "due_ms": DUE,
    }  # fmt: skip
    return PrepareChanges(**(known | terms))


def prepared(*changes: Change, **terms: Any) -> ChangesPrepared:
    known: dict[str, Any] = {
        "agent": "bob", "transaction": "t", "isolation": "serializable", "changes": changes,
        "held": tuple([change.key for change in changes]), "read": (), "prefixes": (), "due_ms": DUE,
        "prepared_ms": T0,
    }  # fmt: skip
    return ChangesPrepared(**(known | terms))


def refused(reason: str, description: str, *conflicts: Conflict, holder: str = "", of: str = "t") -> PrepareRefused:
    return PrepareRefused("bob", of, reason, description, conflicts, holder)


A3 = prepared(set_to("a", "3", 1))
"""`a` is going to be 3."""
DONE = PreparedCommitted("bob", "t", 2, DUE, T0)
A_IS_3 = ChangesCommitted("bob", "serializable", 2, (set_to("a", "3", 1),), "", "")


# -- prepare, then the outcome


def test_what_is_prepared_is_unseen_until_it_is_committed() -> None:
    held = given(*AB).when(prepare(put("a", "3")), T0).then(A3)
    assert (held.state.version, held.state.keys.get("a").value) == (1, "1")
    done = held.when(CommitPrepared("t"), T0).then(A_IS_3, DONE)
    assert (done.state.version, done.state.keys.get("a").value, done.state.prepared) == (2, "3", ())
    done.when(commit(put("a", "4")), T0).then(committed(3, set_to("a", "4", 2)))


def test_what_is_aborted_leaves_nothing() -> None:
    held = given(*AB).when(prepare(put("a", "3")), T0).then(A3)
    free = held.when(AbortPrepared("t"), T0).then(PreparedAborted("bob", "t"))
    assert dump(free.state) == dump(given(*AB).state)
    new = given().when(prepare(put("a", "3")), T0).then(prepared(set_to("a", "3")))
    assert new.when(AbortPrepared("t"), T0).then(PreparedAborted("bob", "t")).state is None


def test_a_prepare_is_validated_as_a_commit_is() -> None:
    stale = prepare(put("b"), reads=(SeenKey("a", 7),))
    given(*AB).when(stale, T0).then(
        refused("conflict", "1 changed since they were read", Conflict("a", False, 7, 1))
    )  # fmt: skip
    given(*AB).when(prepare(Write("a", "add", '["x"]')), T0).then(
        refused("wrong_type", "a is no set: its value is no JSON array of texts")
    )
    given(*AB).when(prepare(put("a"), isolation="snapshot", snapshot=0), T0).then(
        refused("conflict", "1 changed since they were read", Conflict("a", False, 0, 1))
    )


def test_who_only_read_takes_part_and_changes_no_version() -> None:
    read = prepare(reads=(SeenKey("a", 1),))
    held = given(*AB).when(read, T0).then(prepared(read=("a",)))
    held.when(CommitPrepared("t"), T0).then(PreparedCommitted("bob", "t", 1, DUE, T0))
    given(*AB).when(commit(reads=(SeenKey("a", 1),)), T0).then(committed(1))


def test_after_the_time_of_the_transaction_nothing_is_prepared() -> None:
    given(*AB).when(prepare(put("a")), DUE - 1).then(prepared(set_to("a", "1", 1), prepared_ms=DUE - 1))
    given(*AB).when(prepare(put("a")), DUE).then(refused("late", "the transaction's time is over"))


# -- what is held


HELD = CommitHeld("ada", "a", "t", "bob")


@pytest.mark.parametrize(
    "other",
    [
        commit(put("a")),
        commit(put("a"), isolation="read_committed"),
        commit(put("b"), reads=(SeenKey("a", 1),)),
        commit(put("b"), ranges=(SeenRange("", 1, False),)),
    ],
)
def test_a_key_that_is_going_to_be_written_is_neither_written_nor_read_by_others(other: Any) -> None:
    given(*AB, A3).when(other, T0).then(HELD)


@pytest.mark.parametrize(
    "other",
    [
        commit(put("b", "5")),
        commit(put("b", "5"), reads=(SeenKey("b", 1),), ranges=(SeenRange("b", 1, True),)),
        commit(put("b", "5"), isolation="snapshot", snapshot=1, reads=(SeenKey("a", 1),)),
    ],
)
def test_others_do_what_touches_nothing_that_is_held(other: Any) -> None:
    given(*AB, A3).when(other, T0).then(committed(2, set_to("b", "5", 1), isolation=other.isolation))


def test_what_was_read_is_not_written_by_others_but_read() -> None:
    read = prepare(put("x"), reads=(SeenKey("a", 1),), ranges=(SeenRange("room/", 1, False),))
    held = given(*AB).when(read, T0).then(prepared(set_to("x", "1"), read=("a",), prefixes=("room/",)))
    held.when(commit(put("a")), T0).then(HELD)
    held.when(commit(put("b"), put("room/2"), put("room/1")), T0).then(CommitHeld("ada", "room/1", "t", "bob"))
    held.when(commit(put("b", "5"), reads=(SeenKey("a", 1),)), T0).then(committed(2, set_to("b", "5", 1)))
    given(*AB).when(prepare(put("x"), isolation="snapshot", snapshot=1, reads=(SeenKey("a", 1),)), T0).then(
        prepared(set_to("x", "1"), isolation="snapshot")
    )


def test_another_transaction_is_refused_what_is_held_and_told_by_whom() -> None:
    text = "a is held by transaction t of bob, which is being committed"
    given(*AB, A3).when(prepare(put("a", "9"), transaction="u"), T0).then(refused("held", text, holder="t", of="u"))
    given(*AB, A3).when(prepare(put("b", "9"), transaction="u"), T0).then(
        prepared(set_to("b", "9", 1), transaction="u")
    )


# -- what comes again, or in another order


def test_a_prepare_that_comes_again_prepares_nothing_twice() -> None:
    given(*AB, A3).when(prepare(put("a", "3")), T0).then(PrepareRepeated("t", "prepared"))
    done = given(*AB, A3, A_IS_3, DONE)
    done.when(prepare(put("a", "3")), DUE - 1).then(PrepareRepeated("t", "committed"))
    forgotten = Given(decider, replace(done.state, done=()))
    forgotten.when(prepare(put("a", "3")), DUE).then(refused("late", "the transaction's time is over"))


def test_an_outcome_that_comes_again_changes_nothing() -> None:
    done = given(*AB, A3, A_IS_3, DONE)
    done.when(CommitPrepared("t"), T0).then(OutcomeKnown("t", "committed", "committed"))
    done.when(AbortPrepared("t"), T0).then(OutcomeKnown("t", "aborted", "committed"))
    given(*AB).when(AbortPrepared("t"), T0).then(OutcomeKnown("t", "aborted", "aborted"))
    given(*AB).when(CommitPrepared("t"), T0).then(OutcomeKnown("t", "committed", "unknown"))


def test_what_was_done_is_forgotten_once_nothing_can_be_prepared_for_it_any_more() -> None:
    done = given(*AB, A3, A_IS_3, DONE)
    assert done.state.done == (Done("t", DUE),)
    other = prepare(put("b"), transaction="u", due_ms=DUE + 5)
    made = prepared(set_to("b", "1", 1), transaction="u", due_ms=DUE + 5, prepared_ms=DUE)
    later = done.when(other, DUE).then(made)
    assert later.state.done == ()


# -- the outcome is asked for


def test_once_its_time_is_over_the_outcome_is_asked_for_ever_more_rarely() -> None:
    held = given(*AB, A3)
    due_ms, waits = decider.deadline_ms(held.state), []
    held.when(Tick(), DUE + ASK_MS - 1).then_nothing()
    for times in range(1, 9):
        assert due_ms is not None
        held = held.when(Tick(), due_ms).then(OutcomeWanted("t", times, due_ms))
        next_ms = decider.deadline_ms(held.state)
        assert next_ms is not None
        waits.append(next_ms - due_ms)
        due_ms = next_ms
    assert waits == [2_000, 4_000, 8_000, 16_000, 32_000, ASK_MS_MAX, ASK_MS_MAX, ASK_MS_MAX]
    assert (
        decider.deadline_ms(held.when(CommitPrepared("t"), due_ms - 1).then(A_IS_3, done_at(due_ms - 1)).state) is None
    )


def done_at(now_ms: int) -> PreparedCommitted:
    return PreparedCommitted("bob", "t", 2, DUE, now_ms)


def test_what_is_due_is_asked_before_a_command_is_answered() -> None:
    at = DUE + ASK_MS
    given(*AB, A3).when(commit(put("b")), at).then(OutcomeWanted("t", 1, at), committed(2, set_to("b", "1", 1)))


# -- bounds


def test_room_for_what_is_prepared_is_kept() -> None:
    scope = Scope(5, KeyMap.of([Item(f"k{n}", "1", 1) for n in range(KEYS_MAX - 1)]))
    full = (
        Given(decider, scope)
        .when(prepare(put("new"), put("k1", "22")), T0)
        .then(prepared(set_to("new", "1"), set_to("k1", "22", 1)))
    )
    text = f"the scope would have {KEYS_MAX + 1} keys; at most {KEYS_MAX} are possible"
    full.when(prepare(put("newer"), transaction="u"), T0).then(refused("full", text, of="u"))
    gone = given().when(prepare(put("a"), put("b")), T0).then(prepared(set_to("a", "1"), set_to("b", "1")))
    gone.when(commit(put("c")), T0).then(committed(1, set_to("c", "1")))


def test_a_scope_is_prepared_for_so_many_and_remembers_so_many() -> None:
    def waiting(n: int, value: str = "1") -> Prepared:
        return Prepared(f"t{n}", "bob", "serializable", (set_to(f"k{n}", value),), (f"k{n}",), (), (), DUE, DUE)

    many = Scope(prepared=tuple([waiting(n) for n in range(PREPARED_MAX)]))
    text = f"{PREPARED_MAX} transactions are prepared here"
    Given(decider, many).when(prepare(put("a")), T0).then(refused("busy", text))
    large = Scope(prepared=tuple([waiting(n, "x" * VALUE_BYTES_MAX) for n in range(64)]))
    text = f"{PREPARED_BYTES_MAX} bytes are prepared here"
    Given(decider, large).when(prepare(put("a")), T0).then(refused("busy", text))
    old = Scope(done=tuple([Done(f"t{n}", DUE) for n in range(DONE_MAX)]))
    text = f"{DONE_MAX} transactions were done here whose time is not over"
    Given(decider, old).when(prepare(put("a")), T0).then(refused("busy", text))
    Given(decider, old).when(prepare(put("a"), due_ms=DUE + 1), DUE).then(
        prepared(set_to("a", "1"), due_ms=DUE + 1, prepared_ms=DUE)
    )


def test_what_merges_to_too_much_is_refused_and_the_largest_commit_fits_a_decision() -> None:
    half = '["' + "x" * (VALUE_BYTES_MAX // 2) + '"]'
    sets = Scope(1, KeyMap.of([Item(f"s{n}", half, 1) for n in range(40)]))
    adds = [Write(f"s{n}", "add", '["y"]') for n in range(40)]
    event = Given(decider, sets).when(prepare(*adds), T0)._events[0]
    assert isinstance(event, PrepareRefused) and event.reason == "full"
    most = [Write(f"s{n}", "add", '["y"]') for n in range(23)]
    ready = decider.evolve(sets, Given(decider, sets).when(prepare(*most), T0)._events[0])
    changes = Given(decider, ready).when(CommitPrepared("t"), T0)._events
    assert CHANGES_BYTES_MAX * 0.9 < len(events_codec("state").encode(changes)) < DECISION_BYTES_MAX
    small = [put(f"k{n}", "1" * 1_000) for n in range(WRITES_MAX)]
    ready = decider.evolve(None, given().when(prepare(*small), T0)._events[0])
    assert len(events_codec("state").encode(Given(decider, ready).when(CommitPrepared("t"), T0)._events)) < 600_000


def test_a_scope_with_something_prepared_is_restored_from_its_dump() -> None:
    state = given(*AB, A3, A_IS_3, DONE, prepared(set_to("b", "1", 1), transaction="u")).state
    assert dump(restore(dump(state), Scope)) == dump(state)


# -- what follows elsewhere


@pytest.mark.parametrize(
    ("event", "command"),
    [
        (A3, RecordVote("state", "s", True, "", "", (), "")),
        (PrepareRepeated("t", "prepared"), RecordVote("state", "s", True, "", "", (), "")),
        (PrepareRepeated("t", "committed"), AcknowledgeOutcome("state", "s", "committed")),
        (
            refused("held", "why", Conflict("a", False, 1, 2), holder="u"),
            RecordVote("state", "s", False, "held", "why", (Conflict("a", False, 1, 2),), "u"),
        ),
        (DONE, AcknowledgeOutcome("state", "s", "committed")),
        (PreparedAborted("bob", "t"), AcknowledgeOutcome("state", "s", "aborted")),
        (OutcomeKnown("t", "committed", "unknown"), AcknowledgeOutcome("state", "s", "unknown")),
        (OutcomeWanted("t", 1, DUE), AskOutcome("state", "s")),
    ],
)
def test_a_transaction_is_told_by_commands(event: Any, command: Any) -> None:
    assert DOMAIN.reactions[type(event)]("s", event) == [("transactions", "t", command)]
