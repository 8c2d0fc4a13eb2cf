"""A partition: the same log gives the same decisions everywhere, and whatever reaches the log gets one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from accord.schemas import headers as h
from accord.schemas.clock import COUNT_MAX, ENTRIES_MAX, NAME_CHARS_MAX, VectorClock
from accord.schemas.codec import commands_codec, events_codec
from accord.schemas.headers import TEXT_BYTES_MAX, LogRecord, command_headers
from accord.schemas.messages import Command, Event
from accord.schemas.messages.locks import (
    AcquireLock,
    LeaseExpired,
    LeaseRenewed,
    LockDenied,
    LockGranted,
    LockQueued,
    LockReleased,
    ReleaseLock,
    RenewLease,
    WithdrawRequest,
)
from accord.schemas.messages.log import (
    CommandRejected,
    CommandRepeated,
    CommandsLost,
    PartitionOpened,
    Reason,
    RulesSwitched,
    SwitchRules,
    Tick,
)
from accord.schemas.messages.signals import EmitSignal, SignalEmitted
from accord.schemas.topics import DECISION_BYTES_MAX, KEY_BYTES_MAX
from accord.streams.chain import Chain, Decision, parse
from accord.streams.decider import At, Domain
from accord.streams.locks.decider import NameDecider
from accord.streams.partition import RULES_MAX, WINDOW_MS, Deadlines, Partition, Window
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from accord.errors import SchemaError, UnknownRules
from tests.counts import examples
from tests.streams.support import (
    START_MS,
    apply,
    command,
    everything,
    key_of_partition,
    partition,
    record_of,
    run,
    unopened,
)

ACQUIRE = AcquireLock("ada", "ada/1", 5_000, None)
ROOT = Path(__file__).parents[2]


def rejection(made: Partition, record: LogRecord) -> CommandRejected:
    """The rejection of a command; it must be readable from the log, and the partition must go on after it."""
    decided = made.decide(record)
    (event,) = decided.events
    assert isinstance(event, CommandRejected)
    placed = apply(made, decided)
    assert tuple(made.read(parse(made.root, record_of(placed))).events) == (event,)
    following = made.decide(command(made, record.offset + 1, AcquireLock("zed", "zed/1", 5_000, None), key=b"other"))
    assert isinstance(following.events[0], LockGranted | CommandRejected)
    return event


# -- the ordinary course


def test_the_genesis_pins_what_may_never_change() -> None:
    made = unopened(number=3)
    decided = apply(made, made.open(6, "log_append"))
    assert list(decided.events) == [PartitionOpened(6, 1, "log_append")]
    assert (decided.decision.seq, decided.decision.cause, decided.decision.now_ms) == (1, -1, 0)
    assert decided.decision.prev == made.root
    assert (made.partition_count, made.rules, made.timestamps, made.position) == (6, 1, "log_append", -1)


def test_a_command_is_decided_and_looked_at_only_when_applied() -> None:
    made = partition()
    before = everything(made)
    decided = made.decide(command(made, 0, ACQUIRE, command_id="r-1"))
    assert everything(made) == before, "decide looks and does not touch"
    assert list(decided.events) == [LockGranted("r-1", "ada", "ada/1", 2, 5_000, START_MS + 5_000)]
    apply(made, decided)
    assert json.loads(json.dumps(made.canonical())) == {
        "partition": "locks/0",
        "seq": 2,
        "digest": decided.decision.digest.hex(),
        "position": "locks.commands/0@0",
        "now_ms": START_MS,
        "clock": '[1,{"locks/0":1}]',
        "rules": 1,
        "aggregates": {
            "room": {
                "type": "Lock",
                "holders": [
                    {
                        "request": "r-1",
                        "agent": "ada",
                        "owner": "ada/1",
                        "token": 2,
                        "lease_ms": 5_000,
                        "granted_ms": START_MS,
                        "deadline_ms": START_MS + 5_000,
                    }
                ],
                "waiters": [],
                "sleepers": [],
                "pins": [],
            }
        },
    }


def test_a_decision_carries_what_the_command_said() -> None:
    made = partition()
    record = command(made, 7, ACQUIRE, command_id="r-1", task="trip-9", clock=b'[4,{"booker#1":4}]')
    traced = record._replace(headers=[*record.headers, (h.TRACE, b"00-abc-def-01")])
    decision = made.decide(traced).decision
    assert (decision.cause, decision.command_id, decision.task, decision.trace) == (
        7,
        "r-1",
        b"trip-9",
        b"00-abc-def-01",
    )
    assert decision.key == b"room"
    assert decision.rules == 1
    assert decision.clock == b'[5,{"booker#1":4,"locks/0":5}]'
    assert decision.type == b"accord.locks.v1.LockGranted"


def test_a_decision_without_events_is_a_decision() -> None:
    made = partition()
    decided = apply(made, made.decide(command(made, 0, Tick())))
    assert list(decided.events) == []
    assert decided.decision.type == b"accord.locks.v1.Nothing"
    assert tuple(made.read(decided.decision).events) == ()
    assert made.position == 0


# -- what cannot be decided


@pytest.mark.parametrize("key", [None, b"", b"k" * (KEY_BYTES_MAX + 1), b"k" * 100_000, b"\xff\xfe"])
def test_a_bad_key(key: bytes | None) -> None:
    assert rejection(partition(), command(partition(), 0, ACQUIRE, key=key)).reason == Reason.BAD_KEY


def test_a_key_that_is_too_long_is_not_carried_on() -> None:
    made = partition()
    assert made.decide(command(made, 0, ACQUIRE, key=b"k" * (KEY_BYTES_MAX + 1))).decision.key == b""
    assert made.decide(command(made, 0, ACQUIRE, key=b"\xff")).decision.key == b"\xff"


def test_a_key_at_the_bound_is_fine() -> None:
    made = partition()
    assert isinstance(made.decide(command(made, 0, ACQUIRE, key=b"k" * KEY_BYTES_MAX)).events[0], LockGranted)


def test_a_command_of_another_partition_is_misrouted() -> None:
    made = partition(number=1, partition_count=4)
    stray = key_of_partition(2, 4)
    event = rejection(made, command(made, 0, ACQUIRE, key=stray))
    assert event.reason == Reason.MISROUTED
    assert "partition 2" in event.description
    assert "murmur2_random" in event.description
    mine = key_of_partition(1, 4)
    assert isinstance(made.decide(command(made, 1, ACQUIRE, key=mine)).events[0], LockGranted)


@pytest.mark.parametrize(
    "value",
    [None, b"", b"garbage", b"\xc3\x01", b"\xc3", b"\x00\x00\x00\x00", commands_codec("locks").frame, "ж".encode()],
)
def test_an_undecodable_value(value: bytes | None) -> None:
    made = partition()
    assert rejection(made, command(made, 0, None, value=value)).reason in (Reason.UNDECODABLE, Reason.UNKNOWN_SCHEMA)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"\xc3\x01" + b"\x07" * 8 + b"\x00", Reason.UNKNOWN_SCHEMA),
        (b"\x00\x00\x00\x00\x07\x00", Reason.UNKNOWN_SCHEMA),
        (events_codec("locks").encode([]), Reason.UNKNOWN_SCHEMA),
        (commands_codec("signals").encode(EmitSignal("a", "{}", ())), Reason.UNKNOWN_SCHEMA),
        (commands_codec("locks").encode(ACQUIRE) + b"\x00", Reason.UNDECODABLE),
        (commands_codec("locks").encode(ACQUIRE)[:-1], Reason.UNDECODABLE),
        (commands_codec("locks").frame + b"\x7e", Reason.UNDECODABLE),
        (b"{}", Reason.UNDECODABLE),
        (None, Reason.UNDECODABLE),
    ],
)
def test_why_a_value_is_not_read(value: bytes | None, reason: str) -> None:
    made = partition()
    assert rejection(made, command(made, 0, None, value=value)).reason == reason


LONG = b"x" * (TEXT_BYTES_MAX + 1)


@pytest.mark.parametrize(
    "headers",
    [
        [(h.ID, b"two words")],
        [(h.ID, LONG)],
        [(h.ID, b"\xff")],
        [(h.ID, b"r"), (h.TASK, LONG)],
        [(h.ID, b"r"), (h.TASK, b"\xff")],
        [(h.ID, b"r"), (h.TRACE, LONG)],
        [(h.ID, b"r"), (h.CLOCK, b"garbage")],
        [(h.ID, b"r"), (h.CLOCK, json.dumps([1, {f"n{i}": 1 for i in range(ENTRIES_MAX + 1)}]).encode())],
    ],
)
def test_a_bad_header(headers: list[tuple[str, bytes]]) -> None:
    made = partition()
    record = command(made, 0, ACQUIRE, headers=headers)
    assert made.decide(record).decision.command_id == "locks/0:0", "an id from the offset stands in"
    assert rejection(made, record).reason == Reason.BAD_HEADER


@pytest.mark.parametrize("name", [h.ID, h.SOURCE, h.TYPE, h.CLOCK, h.TASK, h.TRACE, "x-other"])
def test_a_header_without_a_value_is_as_good_as_none(name: str) -> None:
    made = partition()
    ordinary = [pair for pair in command(made, 0, ACQUIRE).headers if pair[0] != name]
    decided = made.decide(command(made, 0, ACQUIRE, headers=[*ordinary, (name, None)]))
    assert isinstance(decided.events[0], LockGranted)
    assert decided.decision == made.decide(command(made, 0, ACQUIRE, headers=ordinary)).decision


@pytest.mark.parametrize("headers", [[], [(h.ID, b"")], [(h.ID, None)]])
def test_a_missing_id_is_made_up_from_the_offset(headers: list[tuple[str, Any]]) -> None:
    made = partition(number=0)
    decided = run(made, [command(made, 4, ACQUIRE, headers=headers)])[0]
    assert decided.decision.command_id == "locks/0:4"
    assert isinstance(decided.events[0], LockGranted)
    assert decided.events[0].request == "locks/0:4"
    second = made.decide(command(made, 5, AcquireLock("bob", "bob/1", 5_000, None), headers=headers))
    assert isinstance(second.events[0], LockQueued), "two commands without an id are two commands"


def test_an_oversize_decision_becomes_too_large() -> None:
    made = partition("signals")
    data = '{"a": "' + "x" * DECISION_BYTES_MAX + '"}'
    record = command(made, 0, EmitSignal("ada", data, ()))
    (event,) = made.decide(record).events
    assert isinstance(event, CommandRejected)
    assert event.reason == Reason.TOO_LARGE
    assert str(DECISION_BYTES_MAX) in event.description
    decided = apply(made, made.decide(record))
    assert len(decided.decision.value) < 1_000
    fitting = '{"a": "' + "x" * (DECISION_BYTES_MAX - 100) + '"}'
    assert isinstance(made.decide(command(made, 1, EmitSignal("ada", fitting, ()))).events[0], SignalEmitted)


def test_the_longest_headers_leave_room_below_the_clients_limit() -> None:
    made = partition("signals")
    clock = VectorClock({"\x01" * (NAME_CHARS_MAX - 2) + f"{i:02}": COUNT_MAX for i in range(ENTRIES_MAX)}, COUNT_MAX)
    headers = [
        *command_headers("i" * TEXT_BYTES_MAX, "s", "t", clock.encode(), "t" * TEXT_BYTES_MAX),
        (h.TRACE, b"t" * TEXT_BYTES_MAX),
    ]
    data = '{"a": "' + "x" * (DECISION_BYTES_MAX - 50) + '"}'
    record = command(made, 0, EmitSignal("a", data, ()), key=b"k" * KEY_BYTES_MAX, headers=headers)
    decided = apply(made, made.decide(record))
    assert isinstance(decided.events[0], SignalEmitted)
    written = record_of(decided, confirmed=h.Confirmed(1 << 62, 1 << 62, b"\xff" * 16))
    size = len(written.key or b"") + len(written.value or b"")
    size += sum(len(name.encode()) + len(value) + 10 for name, value in written.headers)
    assert DECISION_BYTES_MAX < size < 1_000_000


@pytest.mark.parametrize("version", [0, -1, RULES_MAX + 1, 2**31, 2**63 - 1])
def test_a_switch_to_a_version_that_cannot_be_is_rejected(version: int) -> None:
    made = partition()
    assert rejection(made, command(made, 0, SwitchRules(version, "slip"))).reason == Reason.INVALID


# -- time


def test_the_clock_is_the_largest_timestamp_seen() -> None:
    made = partition()
    stamps = [START_MS, START_MS + 500, START_MS + 200, START_MS - 9_000, 0, -1, START_MS + 501]
    decided = run(made, [command(made, i, Tick(), at_ms=at_ms) for i, at_ms in enumerate(stamps)])
    seen = [item.decision.now_ms - START_MS for item in decided]
    assert seen == [0, 500, 500, 500, 500, 500, 501]


def test_a_clock_that_steps_back_ends_no_lease_early_and_none_late() -> None:
    made = partition()
    run(made, [command(made, 0, ACQUIRE)])
    run(made, [command(made, 1, Tick(), at_ms=START_MS + 4_999)])
    assert list(made.decide(command(made, 2, RenewLease("ada", 2, 5_000), at_ms=START_MS)).events) == [
        LeaseRenewed("ada", 2, 5_000, START_MS + 9_999)
    ]
    assert list(made.decide(command(made, 2, Tick(), at_ms=START_MS + 5_000)).events) == [
        LeaseExpired("ada", 2, START_MS + 5_000)
    ]


def test_a_producers_time_is_refused_and_does_not_move_the_clock() -> None:
    made = partition()
    run(made, [command(made, 0, Tick())])
    record = command(made, 1, ACQUIRE, at_ms=START_MS + 99_000, timestamp_type=0)
    decided = made.decide(record)
    assert decided.decision.now_ms == START_MS
    assert rejection(made, record).reason == Reason.TIMESTAMP_TYPE


def test_where_the_log_was_opened_with_producers_times_they_are_the_clock() -> None:
    made = partition(timestamps="create")
    decided = run(made, [command(made, 0, ACQUIRE, at_ms=START_MS + 7, timestamp_type=0)])
    assert decided[0].decision.now_ms == START_MS + 7
    assert isinstance(decided[0].events[0], LockGranted)


# -- repeats


def test_a_repeat_names_the_first_command_and_changes_nothing() -> None:
    made = partition()
    run(made, [command(made, 0, ACQUIRE, command_id="r-1"), command(made, 1, Tick())])
    state = made.canonical()["aggregates"]
    for message, key in ((ACQUIRE, b"room"), (ReleaseLock("ada", 2), b"room"), (Tick(), b"elsewhere")):
        decided = apply(made, made.decide(command(made, made.position + 1, message, key=key, command_id="r-1")))
        assert list(decided.events) == [CommandRepeated(0)]
    assert made.canonical()["aggregates"] == state


def test_a_rejected_command_is_known_too() -> None:
    made = partition()
    run(made, [command(made, 0, None, value=b"garbage", command_id="r-1")])
    assert list(made.decide(command(made, 1, ACQUIRE, command_id="r-1")).events) == [CommandRepeated(0)]


@pytest.mark.parametrize(("later_ms", "known"), [(WINDOW_MS, True), (WINDOW_MS + 1, False)])
def test_an_id_is_known_for_a_time_of_the_logs_clock(later_ms: int, known: bool) -> None:
    made = partition()
    run(made, [command(made, 0, Tick(), command_id="r-1"), command(made, 1, Tick(), at_ms=START_MS + later_ms)])
    (event,) = made.decide(command(made, 2, ReleaseLock("a", 1), command_id="r-1", at_ms=START_MS)).events
    assert isinstance(event, CommandRepeated) == known


def test_the_command_that_moves_the_clock_meets_the_window_as_it_was() -> None:
    """Eviction comes with applying; a decider never sees a window that the log does not show yet."""
    made = partition()
    run(made, [command(made, 0, Tick(), command_id="r-1")])
    late = command(made, 1, Tick(), command_id="r-1", at_ms=START_MS + 2 * WINDOW_MS)
    assert list(made.decide(late).events) == [CommandRepeated(0)]
    run(made, [late])
    assert made.window.get("r-1") is None


def test_a_repeat_does_not_prolong_the_window() -> None:
    made = partition()
    commands = [
        command(made, 0, Tick(), command_id="r-1"),
        command(made, 1, Tick(), command_id="r-1", at_ms=START_MS + WINDOW_MS),
        command(made, 2, Tick(), at_ms=START_MS + WINDOW_MS + 1),
    ]
    run(made, commands)
    assert made.window.get("r-1") is None


def some_decision(seq: int, now_ms: int, command_id: str, kind: bytes = b"accord.locks.v1.Nothing") -> Decision:
    made = partition().decide(command(partition(), 0, Tick())).decision
    return replace(
        made, seq=seq, digest=b"%d" % seq, now_ms=now_ms, cause=seq, command_id=command_id, type=kind, offset=seq
    )


def test_the_window_holds_so_many_ids_and_forgets_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accord.streams.partition.WINDOW_COUNT_MAX", 1_000)
    window = Window()
    for seq in range(1_010):
        window.add(some_decision(seq, START_MS, f"r-{seq}"))
    assert len(window) == 1_000
    assert window.get("r-9") is None
    assert window.get("r-10") == 10
    oldest = window.oldest()
    assert oldest is not None
    assert (oldest.seq, oldest.offset, oldest.digest) == (10, 10, b"10")


@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from([0, 1, WINDOW_MS // 3, WINDOW_MS, WINDOW_MS + 1]))),
    st.data(),
)
def test_a_window_read_back_from_its_oldest_decision_is_the_same(
    steps: list[tuple[str, int]], data: st.DataObject
) -> None:
    """What a worker does that starts from a checkpoint; one id more or less and it would decide differently."""
    made = partition()
    decisions: list[Decision] = []
    now_ms = START_MS
    for i, (command_id, later_ms) in enumerate(steps):
        now_ms += later_ms
        decisions.append(run(made, [command(made, i, Tick(), command_id=command_id, at_ms=now_ms)])[0].decision)
        oldest = made.window.oldest()
        if oldest is not None and data.draw(st.booleans()):
            again = Window()
            for decision in decisions:
                if decision.seq >= oldest.seq:
                    again.add(decision)
            assert [entry[:2] for entry in again._order] == [
                entry[:2] for entry in made.window._order if entry[1] != "locks/0@genesis"
            ]
            assert again._ids == {key: cause for key, cause in made.window._ids.items() if cause >= 0}


# -- versions


class OneYearDecider(NameDecider):
    """Another version of the rules: every lease is renewed for a fixed time, whatever was asked."""

    def decide(self, state: Any, message: Command, at: At) -> Sequence[Event]:
        events = super().decide(state, message, at)
        return [
            LeaseRenewed(e.agent, e.token, 999, at.now_ms + 999) if isinstance(e, LeaseRenewed) else e for e in events
        ]


TWO = Domain("locks", {1: NameDecider(), 2: OneYearDecider()})
ONE_OF_TWO = Domain("locks", {2: OneYearDecider()})


def opened_with_version_1(domain: Domain) -> Partition:
    """A log that was opened when version 1 was the newest."""
    made = unopened(domain)
    old = unopened("locks")
    apply(made, old.open(1, "log_append"))
    return made


def test_a_switch_activates_another_version_from_the_next_command_on() -> None:
    made = opened_with_version_1(TWO)
    decided = run(
        made,
        [
            command(made, 0, ACQUIRE),
            command(made, 1, RenewLease("ada", 2, 5_000)),
            command(made, 2, SwitchRules(2, "try it")),
            command(made, 3, RenewLease("ada", 2, 5_000)),
            command(made, 4, SwitchRules(1, "back")),
            command(made, 5, RenewLease("ada", 2, 5_000)),
        ],
    )
    assert [item.decision.rules for item in decided] == [1, 1, 1, 2, 2, 1]
    renewed = [item.events[0].lease_ms for item in decided if isinstance(item.events[0], LeaseRenewed)]
    assert renewed == [5_000, 999, 5_000]
    assert list(decided[2].events) == [RulesSwitched(2, "try it")]


def test_a_new_log_starts_with_the_newest_version() -> None:
    made = unopened(TWO)
    assert list(made.open(1, "log_append").events) == [PartitionOpened(1, 2, "log_append")]


def test_an_unknown_version_stops_the_partition_at_the_next_command() -> None:
    made = partition()
    run(made, [command(made, 0, ACQUIRE)])
    switched = run(made, [command(made, 1, SwitchRules(7, "too early"))])
    assert list(switched[0].events) == [RulesSwitched(7, "too early")]
    before = everything_without_deadlines(made)
    with pytest.raises(UnknownRules, match=r"locks/0 is decided by version 7 of the locks rules; this has \[1\]"):
        made.decide(command(made, 2, ReleaseLock("ada", 2)))
    assert everything_without_deadlines(made) == before
    assert made.position == 1, "the command waits for a release that has the version"


def test_a_log_with_events_of_an_unknown_version_is_not_folded() -> None:
    old = opened_with_version_1(TWO)
    decided = run(old, [command(old, 0, ACQUIRE)])
    made = unopened(ONE_OF_TWO)
    made.apply(made.read(unopened("locks").open(1, "log_append").decision))
    with pytest.raises(UnknownRules):
        made.apply(made.read(decided[0].decision))


def everything_without_deadlines(made: Partition) -> dict[str, Any]:
    return made.canonical() | {"window": len(made.window)}


# -- bugs


class BrokenDecider(NameDecider):
    def decide(self, state: Any, message: Command, at: At) -> Sequence[Event]:
        if isinstance(message, ReleaseLock):
            raise ZeroDivisionError("a bug")
        return super().decide(state, message, at)


def test_an_exception_of_a_decider_comes_out_and_changes_nothing() -> None:
    made = partition(Domain("locks", {1: BrokenDecider()}))
    run(made, [command(made, 0, ACQUIRE)])
    before = everything(made)
    release = command(made, 1, ReleaseLock("ada", 2))
    with pytest.raises(ZeroDivisionError):
        made.decide(release)
    assert everything(made) == before
    mended = Partition(made.identity, Domain("locks", {1: NameDecider()}))
    apply(mended, mended.open(1, "log_append"))
    run(mended, [command(mended, 0, ACQUIRE)])
    assert list(mended.decide(release).events) == [LockReleased("ada", 2)], "a mended release goes on with the command"


def test_a_decision_that_no_schema_reads_is_a_typed_error() -> None:
    made = partition()
    decision = made.decide(command(made, 0, ACQUIRE)).decision
    with pytest.raises(SchemaError, match=r"accord\.locks\.events\.v1, partition 0, offset 41: undecodable") as caught:
        made.read(replace(decision, value=b"garbage", offset=41))
    assert caught.value.position == "locks/0@41"


# -- lost commands


def test_going_on_without_lost_commands() -> None:
    made = partition()
    run(made, [command(made, 0, ACQUIRE)])
    decided = apply(made, made.lost(1, 41))
    assert list(decided.events) == [CommandsLost(1, 41)]
    assert made.position == 41
    assert decided.decision.now_ms == START_MS
    assert isinstance(made.decide(command(made, 42, ReleaseLock("ada", 2))).events[0], LockReleased)


# -- the same everywhere

names = st.sampled_from(["ada", "bob", "eve"])
messages = st.one_of(
    st.builds(AcquireLock, names, names, st.sampled_from([500, 1_000, 5_000]), st.sampled_from([None, 0, 1_000, -1])),
    st.builds(ReleaseLock, names, st.integers(1, 12)),
    st.builds(RenewLease, names, st.integers(1, 12), st.sampled_from([1_000, 5_000])),
    st.builds(WithdrawRequest, names, st.sampled_from([f"id-{i}" for i in range(8)])),
    st.just(Tick()),
)


@st.composite
def command_logs(draw: st.DrawFn) -> list[LogRecord]:
    """What may come to lie in a commands topic, bad and good."""
    made = partition()
    records = []
    offset, now_ms = 0, START_MS
    for _ in range(draw(st.integers(1, 25))):
        offset += draw(st.sampled_from([1, 1, 1, 2]))
        now_ms += draw(st.sampled_from([0, 1, 700, 1_000, 5_000, -2_000, WINDOW_MS]))
        record = command(
            made,
            offset,
            draw(messages),
            key=draw(st.sampled_from([b"room", b"hall", b"", b"\xff"])),
            at_ms=now_ms,
            command_id=f"id-{draw(st.integers(0, 30))}",
            clock=draw(st.sampled_from([b"[0,{}]", b'[3,{"ada#1":3}]', b'[7,{"bob#1":2,"ada#1":1}]', b"bad"])),
            timestamp_type=draw(st.sampled_from([1, 1, 1, 0])),
        )
        if draw(st.integers(0, 9)) == 0:
            record = record._replace(value=draw(st.binary(max_size=30)))
        records.append(record)
    return records


def bytes_of(made: Partition, records: list[LogRecord]) -> list[LogRecord]:
    return [record_of(decided) for decided in run(made, records)]


@given(command_logs())
def test_the_same_commands_give_the_same_bytes(records: list[LogRecord]) -> None:
    one, two = partition(), partition()
    assert bytes_of(one, records) == bytes_of(two, records)
    assert everything(one) == everything(two)


@given(command_logs())
def test_what_was_decided_is_what_is_read_back(records: list[LogRecord]) -> None:
    """A record parsed from the log gives equal events and clock, and applying either gives the same state."""
    writer, reader = partition(), partition()
    chain = Chain(reader.root, reader.head)
    for record in records:
        placed = apply(writer, writer.decide(record))
        accepted = chain.accept(record_of(placed))
        assert accepted == placed.decision
        back = reader.read(accepted)
        assert tuple(back.events) == tuple(placed.events)
        reader.apply(back)
        assert reader.clock == writer.clock
        assert everything(reader) == everything(writer)


@given(command_logs(), st.integers(0, 24))
def test_rows_restored_from_bytes_go_on_like_the_state_they_came_from(records: list[LogRecord], cut: int) -> None:
    live = partition()
    run(live, records[:cut])
    restored = partition()
    restored.head, restored.now_ms, restored.rules = live.head, live.now_ms, live.rules
    restored.clock, restored.window = live.clock, live.window
    for key in live.aggregates:
        row = live.dump(key)
        assert row is not None
        restored.restore(key, row)
    assert everything(restored) == everything(live)
    # the window is shared, so each decides on its own before either applies
    for record in records[cut:]:
        one, two = live.decide(record), restored.decide(record)
        assert record_of(one) == record_of(two)
        apply(live, one)
        apply(restored, two)
    assert everything(restored) == everything(live)


SCRIPT = """
import sys
from tests.streams.test_partition import fixed_log, bytes_of
from tests.streams.support import partition, everything
made = partition()
records = bytes_of(made, fixed_log())
print(repr([(r.key, r.value, r.headers) for r in records]))
print(repr(everything(made)))
"""


def fixed_log() -> list[LogRecord]:
    made = partition()
    records = []
    for i in range(60):
        agent = f"agent-{i % 7}"
        message: Command
        if i % 3 == 0:
            message = AcquireLock(agent, f"{agent}/{i}", 1_000 + i, None if i % 2 else 700)
        else:
            message = ReleaseLock(agent, i) if i % 3 == 1 else Tick()
        clock = VectorClock({f"{agent}#{n}": n + 1 for n in range(i % 40 and 20)}, i).encode()
        key = b"lock-%d" % (i % 4)
        records.append(command(made, i, message, key=key, at_ms=START_MS + 300 * i, clock=clock, task=f"t-{i % 2}"))
    return records


def test_another_process_with_another_hash_seed_gives_the_same_bytes() -> None:
    outputs = set()
    for seed in ("0", "1", "4242"):
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, cwd=ROOT, env=environment
        )
        outputs.add(done.stdout)
    assert len(outputs) == 1
    assert "LockGranted" in outputs.pop()


def test_dumps_do_not_depend_on_the_order_of_arrival() -> None:
    keys = [b"zoo", b"arc", b"mid"]
    dumps = []
    for order in (keys, keys[::-1]):
        made = partition()
        run(made, [command(made, i, ACQUIRE, key=key) for i, key in enumerate(order)])
        dumps.append(list(made.canonical()["aggregates"]))
    assert dumps[0] == dumps[1] == ["arc", "mid", "zoo"]


# -- whatever lies in the log

anything = st.one_of(
    st.none(),
    st.binary(max_size=60),
    st.binary(max_size=40).map(lambda tail: commands_codec("locks").frame + tail),
    st.builds(
        lambda index, tail: commands_codec("locks").frame + bytes([2 * index]) + tail,
        st.integers(0, 7),
        st.binary(max_size=60),
    ),
    messages.map(commands_codec("locks").encode),
)
any_headers = st.lists(
    st.tuples(
        st.sampled_from([h.ID, h.SOURCE, h.TYPE, h.CLOCK, h.TASK, h.TRACE, h.CHAIN, h.CAUSE, "x"]),
        st.none()
        | st.binary(max_size=30)
        | st.sampled_from([b"id-1", b"[0,{}]", b'[5,{"a":5}]', b'[%d,{"a":%d}]' % (COUNT_MAX, COUNT_MAX)]),
    ),
    max_size=8,
)


@given(
    st.lists(
        st.tuples(
            anything,
            any_headers,
            st.none() | st.binary(max_size=20),
            st.integers(-(2**62), 2**62),
            st.sampled_from([0, 1, -1]),
        ),
        max_size=6,
    ),
    st.sampled_from(["locks", "signals"]),
)
@examples(100)
def test_every_record_gets_a_decision_that_can_be_read(records: list[Any], domain: str) -> None:
    """No bytes, headers, keys or times stop a partition or bring it to write what nobody can read."""
    made, reader = partition(domain), partition(domain)
    chain = Chain(reader.root, reader.head)
    for offset, (value, headers, key, at_ms, kind) in enumerate(records):
        placed = apply(made, made.decide(LogRecord(offset, at_ms, kind, key, value, headers)))
        accepted = chain.accept(record_of(placed))
        assert accepted is not None
        reader.apply(reader.read(accepted))
    assert everything(made) == everything(reader)


# -- deadlines


def test_deadlines_come_earliest_first_and_each_once() -> None:
    deadlines = Deadlines()
    for key, due in (("c", 30), ("a", 10), ("b", 20)):
        deadlines.set(key, due)
    assert deadlines.next() == 10
    assert list(deadlines.due(20)) == ["a", "b"]
    assert list(deadlines.due(20)) == []
    assert deadlines.next() == 30


def test_a_deadline_that_moved_or_went_is_not_given() -> None:
    deadlines = Deadlines()
    deadlines.set("a", 10)
    deadlines.set("a", 40)
    deadlines.set("b", 20)
    deadlines.clear("b")
    deadlines.set("c", 5)
    deadlines.set("c", None)
    assert deadlines.next() == 40
    assert list(deadlines.due(39)) == []
    assert list(deadlines.due(40)) == ["a"]


def test_a_deadline_that_was_given_comes_back_on_demand() -> None:
    """A tick that was sent but came to nothing must be sent again."""
    deadlines = Deadlines()
    deadlines.set("a", 10)
    assert list(deadlines.due(10)) == ["a"]
    deadlines.rearm("a")
    assert list(deadlines.due(10)) == ["a"]
    deadlines.clear("a")
    deadlines.rearm("a")
    assert list(deadlines.due(10)) == []
    deadlines.set("a", 50)
    assert deadlines.next() == 50


def test_deadlines_that_move_all_the_time_take_no_more_room() -> None:
    deadlines = Deadlines()
    for i in range(50_000):
        deadlines.set(f"lock-{i % 100}", 1_000 + i)
    assert len(deadlines._heap) < 5_000
    assert len(list(deadlines.due(10**9))) == 100


def test_denials_read_back_in_full() -> None:
    """A denial has no owner to name; its fields come back one by one."""
    made = partition()
    run(made, [command(made, 0, ACQUIRE)])
    once = made.decide(command(made, 1, AcquireLock("bob", "bob/1", 5_000, 0), command_id="r-bob", at_ms=START_MS + 9))
    assert tuple(made.read(once.decision).events) == (LockDenied("r-bob", "bob", "held", "ada", 2, 9, 0, 1),)
