"""Reading through the chain: what is accepted, what is skipped, and what the log itself gives away."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from accord.schemas import headers as h
from accord.schemas.headers import Confirmed, LogRecord
from accord.schemas.messages.locks import AcquireLock, ReleaseLock
from accord.streams.chain import Chain, Decision, Head, parse
from accord.streams.partition import Decided, Identity
from hypothesis import given
from hypothesis import strategies as st

from accord.errors import ChainBroken, LogGap
from tests.streams.support import apply, command, log_of, partition, record_of, run, unopened

ROOT = partition().root
HASHED = (h.CHAIN, h.CAUSE, h.RULES, h.CLOCK, h.TYPE, h.TASK)


def history(count: int = 6, owner: str = "run") -> list[Decided]:
    """A genesis and `count` decisions, at offsets 0 to `count`."""
    made = unopened()
    first = apply(made, made.open(1, "log_append"))
    commands = [
        command(
            made, i, AcquireLock("ada", f"{owner}-{i}", 5_000, 0) if i % 2 == 0 else ReleaseLock("ada", i), task="trip"
        )
        for i in range(count)
    ]
    return [first, *run(made, commands)]


def read(records: list[LogRecord], chain: Chain | None = None) -> list[int]:
    """The numbers of the decisions that a reader accepts."""
    reader = chain or Chain(ROOT)
    return [decision.seq for record in records if (decision := reader.accept(record)) is not None]


def at(records: list[LogRecord]) -> list[LogRecord]:
    """The same records as a log of their own: offsets without gaps."""
    return [record._replace(offset=i) for i, record in enumerate(records)]


def changed(record: LogRecord, name: str, value: bytes | None) -> LogRecord:
    headers: Any = [(key, value if key == name else old) for key, old in record.headers]
    return record._replace(headers=headers)


def flipped(data: bytes, place: int = -1) -> bytes:
    """The bytes with one of them changed, from a digit to another digit where it is one."""
    place %= len(data)
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def pointer(decided: Decided) -> Confirmed:
    return Confirmed(decided.decision.offset, decided.decision.seq, decided.decision.digest)


# -- accepting


def test_decisions_that_continue_each_other_are_accepted() -> None:
    chain = Chain(ROOT)
    records = log_of(history())
    assert read(records, chain) == [1, 2, 3, 4, 5, 6, 7]
    assert chain.head == parse(ROOT, records[-1])
    assert (chain.head.seq, chain.head.cause, chain.head.offset) == (7, 5, 6)
    assert chain.skipped == 0


def test_a_record_parses_to_the_decision_that_was_made() -> None:
    for decided in history():
        made = decided.decision
        assert parse(ROOT, record_of(made)) == made
        confirmed = Confirmed(1, 2, b"\x01" * 16)
        again = parse(ROOT, record_of(made, confirmed=confirmed))
        assert again == msgspec.structs.replace(made, pointer=confirmed.encode())
        assert again.confirmed == confirmed


def test_a_reader_goes_on_from_a_head() -> None:
    made = history()
    decision = made[3].decision
    chain = Chain(ROOT, Head(decision.seq, decision.digest, decision.cause, decision.offset))
    assert read(log_of(made)[4:], chain) == [5, 6, 7]


def test_a_repeat_is_skipped() -> None:
    records = log_of(history())
    chain = Chain(ROOT)
    assert read(at([records[0], records[0], *records[1:4], *records[1:4], *records[4:]]), chain) == [
        1,
        2,
        3,
        4,
        5,
        6,
        7,
    ]
    assert chain.skipped == 4


def test_of_a_fork_the_first_in_the_log_wins() -> None:
    ours, theirs = history(owner="ours"), history(owner="theirs")
    assert ours[1].decision.digest != theirs[1].decision.digest
    assert ours[1].decision.prev == theirs[1].decision.prev
    mine, others = [record_of(d) for d in ours], [record_of(d) for d in theirs]
    for first, second in ((mine, others), (others, mine)):
        chain = Chain(ROOT)
        log = at([first[0], first[1], second[1], second[2], first[2], second[3]])
        assert [chain.accept(record) is not None for record in log] == [True, True, False, False, True, False]
        assert chain.head.digest == parse(ROOT, first[2]).digest


def test_a_decision_on_an_earlier_command_is_skipped() -> None:
    """`seq` and `prev` follow, but the cause was decided already."""
    made = partition()
    run(made, [command(made, 5, AcquireLock("a", "a/1", 5_000, None))])
    again = made.decide(command(made, 5, AcquireLock("b", "b/1", 5_000, None), command_id="other"))
    chain = Chain(ROOT, made.head)
    assert chain.accept(record_of(again, offset=9)) is None
    later = made.decide(command(made, 6, AcquireLock("b", "b/1", 5_000, None), command_id="other"))
    assert chain.accept(record_of(later, offset=9)) is not None


def test_a_genesis_of_another_partition_topic_or_cluster_does_not_fit() -> None:
    records = log_of(history(1))
    for identity in (
        Identity("test-cluster", "locks", 1),
        Identity("other", "locks", 0),
        Identity("test-cluster", "signals", 0),
    ):
        assert read(records[:1], Chain(identity.root)) == []
    assert read(records[:1], Chain(Identity("test-cluster", "locks", 0, "other").root)) == []
    assert read(records[:1], Chain(Identity("test-cluster", "locks", 0).root)) == [1]


FOREIGN: list[list[tuple[str, Any]]] = [
    [],
    [(h.CHAIN, b"")],
    [("content-type", b"text/plain")],
]


@pytest.mark.parametrize("headers", FOREIGN)
def test_a_foreign_record_is_skipped(headers: list[tuple[str, Any]]) -> None:
    records = log_of(history(2))
    chain = Chain(ROOT)
    foreign = LogRecord(0, 0, 1, None, None, headers)
    assert read(at([foreign, records[0], foreign, *records[1:], foreign]), chain) == [1, 2, 3]
    assert chain.skipped == 3


@pytest.mark.parametrize("name", [h.CHAIN, h.CAUSE, h.RULES, h.CLOCK, h.TYPE])
def test_a_header_that_is_missing_or_without_value_makes_a_foreign_record(name: str) -> None:
    records = log_of(history(1))
    chain = Chain(ROOT)
    assert chain.accept(records[0]) is not None
    without = records[1]._replace(headers=[pair for pair in records[1].headers if pair[0] != name])
    assert chain.accept(without) is None
    assert chain.accept(changed(records[1], name, None)) is None
    assert chain.accept(records[1]) is not None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[
            (name, bad)
            for name in (h.CHAIN, h.CAUSE, h.RULES)
            for bad in (b"", b"\xff", b"x 2", b"9" * 5_000, b"a b c")
        ],
        (h.CHAIN, b"2 1 zz"),
        (h.CHAIN, b"2 1 00 00"),
    ],
)
def test_a_header_that_is_garbage_makes_a_foreign_record(name: str, value: bytes) -> None:
    records = log_of(history(1))
    chain = Chain(ROOT)
    assert chain.accept(records[0]) is not None
    assert chain.accept(changed(records[1], name, value)) is None
    assert chain.accept(records[1]) is not None


@given(st.lists(st.tuples(st.sampled_from([*HASHED, h.CONFIRMED, h.TRACE]), st.none() | st.binary(max_size=40))))
def test_no_headers_at_all_bring_anything_but_a_skip(headers: Any) -> None:
    assert Chain(ROOT).accept(LogRecord(7, 0, 1, b"k", b"v", headers)) is None


# -- the hash


@pytest.mark.parametrize("name", HASHED)
@pytest.mark.parametrize("place", [0, -1])
def test_the_hash_covers_header(name: str, place: int) -> None:
    record = log_of(history(3))[3]
    original = parse(ROOT, record)
    value = dict(record.headers)[name]
    try:
        altered = parse(ROOT, changed(record, name, flipped(value, place)))
    except ValueError:
        return  # no decision any more
    assert altered.digest != original.digest


def test_the_hash_covers_key_and_value() -> None:
    record = log_of(history(3))[3]
    original = parse(ROOT, record)
    assert record.key and record.value
    for place in range(len(record.value)):
        assert parse(ROOT, record._replace(value=flipped(record.value, place))).digest != original.digest
    for place in range(len(record.key)):
        assert parse(ROOT, record._replace(key=flipped(record.key, place))).digest != original.digest
    moved = record._replace(key=record.key + record.value[:1], value=record.value[1:])
    assert parse(ROOT, moved).digest != original.digest, "a byte that moves from the value to the key changes the hash"


def test_a_task_that_is_added_or_taken_away_changes_the_hash() -> None:
    record = log_of(history(3))[3]
    bare = record._replace(headers=[pair for pair in record.headers if pair[0] != h.TASK])
    assert parse(ROOT, bare).digest != parse(ROOT, record).digest


@pytest.mark.parametrize("value", [None, b"", b"garbage", b"1 2", b"0 1 " + b"00" * 16, b"\xff \xff \xff"])
def test_the_pointer_is_outside_the_hash_and_does_not_decide(value: bytes | None) -> None:
    records = log_of(history(3))
    records[2] = changed(records[2], h.CONFIRMED, value)
    assert read(records) == [1, 2, 3, 4]


def test_what_differs_between_writers_is_outside_the_hash() -> None:
    """Two owners that decide the same differ in `ce_source` alone; a tracer may add its context."""
    record = log_of(history(3))[3]
    assert parse(ROOT, changed(record, h.SOURCE, b"another")).digest == parse(ROOT, record).digest
    traced = record._replace(headers=[*record.headers, (h.TRACE, b"00-1-2-01")])
    assert parse(ROOT, traced).digest == parse(ROOT, record).digest


# -- starting in the middle


def test_a_reader_that_starts_at_an_anchor_accepts_what_one_from_the_start_does() -> None:
    made = history()
    records = log_of(made)
    chain = Chain.anchored(ROOT, pointer(made[3]))
    assert read(records[3:], chain) == [4, 5, 6, 7]
    assert chain.head.digest == made[-1].decision.digest


def test_an_anchor_that_is_not_what_it_should_be_breaks_the_chain() -> None:
    made = history()
    records = log_of(made)
    with pytest.raises(ChainBroken, match="Offset 3 should hold decision 4"):
        read(records[4:], Chain.anchored(ROOT, pointer(made[3])))
    edited = records[3]._replace(value=flipped(records[3].value or b""))
    with pytest.raises(ChainBroken, match=r"decision 4 with hash"):
        read([edited, *records[4:]], Chain.anchored(ROOT, pointer(made[3])))
    with pytest.raises(ChainBroken, match="Offset 2 should hold"):
        read(records[3:], Chain.anchored(ROOT, pointer(made[3])._replace(offset=2)))


# -- tampering


@pytest.mark.parametrize("index", range(6))
@pytest.mark.parametrize("what", ["value", "key", *HASHED])
def test_an_edited_record_shows(index: int, what: str) -> None:
    """Every record but the last, whose successor is not written yet, is bound by what follows."""
    records = log_of(history())
    record = records[index]
    if what == "value":
        edited = record._replace(value=flipped(record.value or b""))
    elif what == "key":
        edited = record._replace(key=flipped(record.key) if record.key else b"x")
    else:
        value = dict(record.headers).get(what)
        if value is None:
            return
        edited = changed(record, what, flipped(value))
    records[index] = edited
    with pytest.raises((ChainBroken, LogGap)):
        read(records)


@pytest.mark.parametrize("index", range(6))
def test_a_dropped_record_shows(index: int) -> None:
    records = log_of(history())
    with pytest.raises((ChainBroken, LogGap)) as caught:
        read(records[:index] + records[index + 1 :])
    assert caught.value.details["seq"] == index + 1
    assert type(caught.value) is (LogGap if index == 0 else ChainBroken)


@pytest.mark.parametrize("index", range(5))
def test_reordered_records_show(index: int) -> None:
    records = log_of(history())
    records[index], records[index + 1] = records[index + 1], records[index]
    with pytest.raises((ChainBroken, LogGap)):
        read(at(records))


def test_a_changed_decision_shows_in_the_next_record() -> None:
    """The successor names the hash that it had seen confirmed; nothing later is needed."""
    records = log_of(history())
    records[5] = records[5]._replace(value=flipped(records[5].value or b""))
    chain = Chain(ROOT)
    assert read(records[:6], chain) == [1, 2, 3, 4, 5, 6]
    with pytest.raises(ChainBroken, match="Decision 6 was changed"):
        chain.accept(records[6])


def test_a_log_that_starts_too_late_is_a_gap() -> None:
    with pytest.raises(LogGap, match="Decision 1 is missing"):
        read(log_of(history())[2:])


def test_a_fork_that_saw_less_is_no_tampering() -> None:
    """A zombie's records name decisions that the reader holds, or held: they are skipped in silence."""
    ours, theirs = history(owner="ours"), history(owner="theirs")
    zombie = [record_of(d, confirmed=pointer(ours[0])) for d in theirs[1:4]]
    log = at([*log_of(ours)[:5], *zombie, *log_of(ours)[5:]])
    renumbered = [record._replace(headers=[p for p in record.headers if p[0] != h.CONFIRMED]) for record in log[8:]]
    assert read([*log[:8], *renumbered]) == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize(
    ("written", "told"), [(b"4", 4), (b"", 0), (None, 0), (b"-4", 0), (b"four", 0), (b"9" * 40, 0)]
)
def test_what_was_followed_is_outside_the_hash_and_a_damaged_word_says_nothing(
    written: bytes | None, told: int
) -> None:
    made = history()[5].decision
    headers = made.headers("locks/0:5", b"here", None, 3)
    record = LogRecord(made.offset, made.now_ms, h.LOG_APPEND_TIME, made.key, made.value, headers)
    assert parse(ROOT, record).followed == 3
    again = parse(ROOT, changed(record, h.FOLLOWED, written))
    assert (again.followed, again.digest) == (told, made.digest)


def test_a_pointer_beyond_the_record_itself_proves_nothing() -> None:
    made = history(2)
    stray = record_of(made[2], offset=1, confirmed=Confirmed(50, 9, b"\x00" * 16))
    assert read([record_of(made[0], offset=0), stray, record_of(made[1], offset=2)]) == [1, 2]


def test_decisions_are_values() -> None:
    one, two = history()[3].decision, history()[3].decision
    assert isinstance(one, Decision)
    assert one == two
