"""The checker finds what is wrong on purpose, and nothing in what is right."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import checker, rawlog
from tests.faults.checker import Decided, Write
from tests.faults.history import History, Operation, Reader
from tests.faults.rawlog import Raw

CLUSTER, TOPIC = "c", "accord.locks.events.v1"


def grant(
    token: int, start: int, end: int | None, *, belief: tuple[int, int] | None = None, offset: int | None = None
) -> Operation:
    position = f"locks/0@{token if offset is None else offset}"
    return Operation("p", token, "acquire", "room", start, end, end is not None, "", token, position, belief=belief)


def emit(message_id: str, offset: int) -> Operation:
    return Operation("p", 9, "emit", "done", 0, 1, True, "", None, f"locks/0@{offset}", message_id)


def rules(found: Iterator[checker.Violation]) -> list[str]:
    return [violation.what.split(":")[0].split(" for ")[0] for violation in found]


def test_grants_one_after_the_other_are_right() -> None:
    good = [
        grant(1, 0, 10, belief=(10, 20)),
        grant(2, 5, 30, belief=(30, 40)),
        grant(3, 2, 50, belief=(50, 60)),
        grant(4, 55, None),
    ]
    assert rules(checker.one_holder(good)) == []


@pytest.mark.parametrize(
    ("grants", "finding"),
    [
        ([grant(1, 0, 10), grant(1, 20, 30)], "the same token twice"),
        ([grant(2, 0, 10), grant(1, 20, 30)], "a token fell"),
        ([grant(3, 0, 10), grant(2, 5, 11), grant(1, 20, 30)], "a token fell"),
        ([grant(1, 0, 10, belief=(10, 25)), grant(2, 5, 20, belief=(20, 30))], "two holders"),
        (
            [grant(1, 0, 1, belief=(1, 90)), grant(2, 0, 2, belief=(2, 3)), grant(3, 0, 50, belief=(50, 60))],
            "two holders",
        ),
    ],
)
def test_two_holders_are_found(grants: list[Operation], finding: str) -> None:
    assert finding in rules(checker.one_holder(grants))


def share(token: int, permits: int | None, belief: tuple[int, int]) -> Operation:
    shared = grant(token, 0, belief[0], belief=belief)
    shared.permits = permits
    return shared


@pytest.mark.parametrize(
    ("grants", "finding"),
    [
        ([share(1, 2, (1, 9)), share(2, 2, (2, 9)), share(3, 2, (9, 10))], []),
        ([share(1, 2, (1, 9)), share(2, 2, (2, 9)), share(3, 2, (8, 10))], ["3 holders"]),
        ([share(1, 0, (1, 9)), share(2, 0, (2, 9)), share(2, 0, (3, 9))], []),
        ([share(1, 0, (1, 9)), share(2, None, (8, 9))], ["two holders"]),
        ([share(1, None, (1, 9)), share(2, 0, (8, 9))], ["two holders"]),
        ([share(1, None, (1, 2)), share(1, 0, (3, 4))], ["the same token twice"]),
    ],
)
def test_too_many_who_share_a_lock_are_found(grants: list[Operation], finding: list[str]) -> None:
    assert rules(checker.one_holder(grants)) == finding


def test_who_is_overtaken_in_the_queue_is_found() -> None:
    waited, later = grant(2, 0, 90), grant(1, 20, 30)
    assert rules(checker.in_turn([waited, later])) == [], "nobody knows when it queued"
    waited.queued_ns = 10
    assert rules(checker.in_turn([waited, later])) == ["overtaken"]
    assert rules(checker.in_turn([waited, grant(1, 5, 30), grant(3, 20, 95), share(2, 0, (40, 50))])) == []


def test_guarded_writes() -> None:
    grants = [grant(token, 0, 1) for token in (1, 2, 3)]
    good = [Write("room", 1, None, True), Write("room", 1, 1, True), Write("room", 2, None, True)]
    assert rules(checker.guarded([*good, Write("room", 1, 2, False)], grants)) == []
    assert len(rules(checker.guarded([*good, Write("room", 1, 2, True)], grants))) == 1
    assert len(rules(checker.guarded([*good, Write("room", 2, 2, False)], grants))) == 1
    assert rules(checker.guarded([*good, Write("room", 2, 1, True)], grants)) == ["a lost update"]
    assert len(rules(checker.guarded([*good, Write("room", 7, 2, True)], grants))) == 1
    assert rules(checker.guarded([*good, Write("room/other", 1, 1, True)], grants)) == [], "one lock guards both"


def record(offset: int, seq: int, prev: bytes, *, cause: int, kind: str, key: str = "room") -> Raw:
    return Raw(
        offset,
        key.encode(),
        b"value",
        {
            "accord-chain": b"%d 0 %s" % (seq, prev.hex().encode()),
            "accord-cause": b"%d m%d" % (cause, cause),
            "accord-rules": b"1",
            "ce_type": f"accord.locks.v1.{kind}".encode(),
        },
    )


def a_log() -> list[Raw]:
    """A genesis and three decisions."""
    root = rawlog.root(CLUSTER, TOPIC, 0)
    records, prev = [], root
    for seq, kind in enumerate(("PartitionOpened", "LockGranted", "LockReleased+LockGranted", "SignalEmitted"), 1):
        key = "done" if kind == "SignalEmitted" else "room"
        records.append(record(seq - 1, seq, prev, cause=seq - 2, kind=kind, key=key))
        prev = rawlog.hash_of(root, records[-1])
    return records


def decided(records: list[Raw], commands: int = 3) -> dict[str, Decided]:
    return {"locks/0": Decided(rawlog.chain(CLUSTER, TOPIC, 0, records), commands)}


def test_a_whole_log_with_repeats_and_forks() -> None:
    good = a_log()
    fork = record(2, 3, bytes(16), cause=1, kind="LockGranted")
    later = [r._replace(offset=r.offset + 2) for r in good[2:]]
    log = decided([*good[:2], fork, good[1]._replace(offset=3), *later])
    assert rules(checker.chained(log)) == []
    assert len(log["locks/0"].events.skipped) == 2
    told = [grant(2, 0, 1, offset=1), grant(3, 0, 1, offset=4), emit("m2", 5)]
    assert rules(checker.acknowledged(told, log)) == []
    assert rules(checker.acknowledged([grant(3, 0, 1, offset=2)], log)) == ["lost"], "told a fork"


def test_acknowledged_events_must_be_there() -> None:
    log = decided(a_log())
    assert rules(checker.acknowledged([emit("m2", 7)], log)) == ["lost"]
    assert len(rules(checker.acknowledged([emit("other", 3)], log))) == 1
    assert len(rules(checker.acknowledged([emit("m2", 1)], log))) == 1
    assert len(rules(checker.acknowledged([grant(5, 0, 1, offset=1)], log))) == 1


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_a_lost_or_changed_decision_breaks_the_chain(lost: int) -> None:
    good = a_log()
    assert len(rules(checker.chained(decided([r for r in good if r.offset != lost])))) == 1
    changed = [r._replace(value=b"another") if r.offset == lost else r for r in good]
    assert len(rules(checker.chained(decided(changed)))) == (0 if lost == 3 else 1), "the last one has no successor"


def test_a_command_without_decision_is_found() -> None:
    assert len(rules(checker.chained(decided(a_log(), commands=4)))) == 1


def test_a_command_that_is_decided_twice_is_found() -> None:
    good = a_log()
    assert rules(checker.once(decided(good))) == []
    again = good[3]._replace(headers=good[3].headers | {"accord-cause": b"2 m1"})
    assert len(rules(checker.once(a_chain([*good[:3], again])))) == 1
    told = again._replace(headers=again.headers | {"ce_type": b"accord.locks.v1.CommandRepeated"})
    assert rules(checker.once(a_chain([*good[:3], told]))) == []


def a_chain(records: list[Raw]) -> dict[str, Decided]:
    """As if the chain had accepted them."""
    return {"locks/0": Decided(rawlog.Chained({r.offset: r for r in records}, []), len(records) - 1)}


def test_stale_writes_and_how_many_were_refused() -> None:
    writes = [
        Write("room", 2, None, True),
        Write("room", 1, 1, False),
        Write("room", 1, None, True),
        Write("b", 1, 1, True),
    ]
    assert checker.stale(writes) == (2, 1)


def test_operations_must_end() -> None:
    def served(operation: Operation, peace_ns: int = 0) -> list[str]:
        return rules(checker.served([operation], quiet_ns=0, peace_ns=peace_ns, bound_ms=1_000))

    assert served(grant(1, 0, int(900e6))) == []
    assert served(grant(1, 0, None)) == ["never ended"]
    assert served(grant(1, 0, int(1.1e9))) == ["took 1100 ms"]
    failed = Operation("p", 1, "emit", "done", 200, 300, error="NoWorker")
    assert served(failed, peace_ns=100) == ["failed in peace"]
    assert served(failed, peace_ns=250) == []
    refused = Operation("p", 1, "acquire", "room", 200, 300, error="LockTimeout")
    assert served(refused, peace_ns=100) == []
    assert rules(checker.served([grant(1, 0, None)], 0, 0, bound_ms=1_000, killed={"p"})) == []


def test_an_acknowledged_release_is_in_the_log() -> None:
    def release(token: int) -> Operation:
        return Operation("p", 9, "release", "room", 0, 1, True, "", token)

    assert rules(checker.acknowledged([release(2)], decided(a_log()))) == []
    assert rules(checker.acknowledged([release(3)], decided(a_log()))) == ["not released in the log"]
    shared, left = share(2, 0, (1, 2)), release(3)
    shared.position, left.of = "locks/0@1", shared.op
    assert rules(checker.acknowledged([shared, left], decided(a_log()))) == [], "readers have a token together"
    waited = [r._replace(headers=r.headers | {"ce_type": b"accord.locks.v1.ConditionAwaited"}) for r in a_log()[2:3]]
    assert rules(checker.acknowledged([release(2)], decided([*a_log()[:2], *waited]))) == []


def test_a_history_is_read_back_while_it_is_written(tmp_path: Path) -> None:
    reader = Reader("p", tmp_path / "h.jsonl")
    assert reader.operations() == []
    history = History(tmp_path / "h.jsonl")
    op = history.invoke("acquire", "room", permits=3, lease_ms=2_000)
    history.queued(op)
    assert [(o.op, o.queued_ns is None, o.ended_ns) for o in reader.operations()] == [(op, False, None)]
    with (tmp_path / "h.jsonl").open("ab") as file:
        file.write(b'{"op":')
    assert len(reader.operations()) == 1, "a line that is being written is read later"
    os.truncate(tmp_path / "h.jsonl", (tmp_path / "h.jsonl").stat().st_size - 6)
    history.ok(op, token=4, position="locks/0@3", message_id="m")
    history.belief(op, 10, 20)
    history.belief(op, 11, 30)
    release = history.invoke("release", "room", token=4, of=op)
    history.fail(release, "NotOwner", position="locks/0@5")
    open_one = history.invoke("emit", "done")
    found = reader.operations()
    assert [(o.op, o.kind, o.ok, o.token, o.belief, o.error) for o in found] == [
        (op, "acquire", True, 4, (10, 30), ""),
        (release, "release", False, 4, None, "NotOwner"),
        (open_one, "emit", False, None, None, ""),
    ]
    assert [o.ended_ns is None for o in found] == [False, False, True]
    assert [(o.permits, o.lease_ms, o.of, o.queued_ns is None, o.position) for o in found] == [
        (3, 2_000, 0, False, "locks/0@3"),
        (None, 0, op, True, "locks/0@5"),
        (None, 0, 0, True, ""),
    ]
