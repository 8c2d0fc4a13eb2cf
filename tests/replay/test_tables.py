"""Tables judged by the log: what workers may go on from, what they would throw away, what they would not notice."""

from typing import Any

import msgspec
import pytest
from accord.replay.tables import TableState, judge
from accord.schemas.messages.locks import AcquireLock, ReleaseLock
from accord.schemas.messages.log import SwitchRules
from accord.streams import checkpoint as cp

from tests.histories.play import Play

WHERE = ("locks", 0)
ROOM = cp.ROW_PREFIX + b"room_1"


def table(play: Play, rows: dict[bytes, bytes] | None = None, last: cp.Checkpoint | None = None) -> dict[bytes, bytes]:
    """What a worker has written by now."""
    found = dict(rows or {})
    taken = cp.snapshot(play.states[WHERE])
    written, checkpoint, _ = cp.rows_of(taken, last, found.get)
    found |= {key: value for key, value in written.items() if value is not None}
    return found | {cp.CHECKPOINT_KEY: checkpoint.encode()}


@pytest.fixture
def play() -> Play:
    play = Play(cluster="tables", locks=1)
    for number in range(8):
        granted = play.send(f"room_{number % 3}", AcquireLock("ada", f"ada/{number}", 60_000, 0))
    play.send("room_1", ReleaseLock("ada", granted.decision.seq))
    return play


def judged(play: Play, rows: dict[bytes, bytes]) -> TableState:
    return judge(play, *WHERE, rows)


def test_a_table_that_fits_is_right(play: Play) -> None:
    rows = table(play)
    assert judged(play, rows) == TableState("locks/0", "right", "a checkpoint at locks/0@9", "", 0, len(rows))
    play.send("room_2", AcquireLock("bob", "bob/1", 60_000, 0))
    assert judged(play, rows).behind == 1 and judged(play, rows).state == "right"


def test_rows_ahead_of_their_checkpoint_are_right(play: Play) -> None:
    """A worker that died between its rows and the checkpoint."""
    first = table(play)
    checkpoint = msgspec.msgpack.decode(first[cp.CHECKPOINT_KEY], type=cp.Checkpoint)
    play.send("room_2", AcquireLock("bob", "bob/1", 60_000, None))
    ahead = table(play, first, checkpoint) | {cp.CHECKPOINT_KEY: first[cp.CHECKPOINT_KEY]}
    assert ahead != first and judged(play, ahead).state == "right"


def test_no_table_is_nothing_to_repair(play: Play) -> None:
    assert judged(play, {}).state == "missing" and not judged(play, {}).is_of_rows


def test_rows_that_do_not_add_up(play: Play) -> None:
    rows = table(play)
    lost = {key: value for key, value in rows.items() if key != ROOM}
    for damaged in (lost, rows | {ROOM: b"x"}, {key: value for key, value in rows.items() if key != cp.CHECKPOINT_KEY}):
        found = judged(play, damaged)
        assert found.state == "damaged" and found.is_of_rows and "--apply" in found.remedy


def test_a_checkpoint_of_what_the_log_does_not_have(play: Play) -> None:
    other = Play(cluster="tables", locks=1)
    for number in range(20):
        other.send(f"room_{number}", AcquireLock("kim", f"kim/{number}", 60_000, 0))
    found = judged(play, table(other))
    assert found.state == "diverged" and "decision 21 at locks/0@20" in found.text
    longer = judged(other, table(play))
    assert longer.state == "diverged" and "decision 10 at locks/0@9" in longer.text


def test_a_row_that_adds_up_and_is_not_true(play: Play) -> None:
    """As a bug of an earlier release would leave it: no sum can show it, the events do."""
    rows = table(play)
    checkpoint = msgspec.msgpack.decode(rows[cp.CHECKPOINT_KEY], type=cp.Checkpoint)
    row = msgspec.msgpack.decode(rows[ROOM], type=cp.Row)
    assert row.value is not None
    false = msgspec.structs.replace(row, value=row.value.replace(b"ada", b"eve"))
    total = checkpoint.total - cp.row_hash(ROOM, row.value) + cp.row_hash(ROOM, false.value)
    rows[ROOM] = msgspec.msgpack.encode(false)
    rows[cp.CHECKPOINT_KEY] = msgspec.structs.replace(checkpoint, total=total % (1 << 64)).encode()
    assert cp.load(play.states[WHERE].root, rows) is not None, "a worker would go on from it"
    found = judged(play, rows)
    assert found.state == "drifted" and found.is_of_rows and "room_1" in found.text


def test_what_halts_a_partition_is_told_with_what_to_do(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = table(play)
    play.append(WHERE, b"room_1", b"x", [], decide=False)
    play.append(WHERE, b"room_1", b"x", [], decide=False)
    assert judged(play, rows).state == "right", "commands that wait are none of its business"
    log = play.log_commands[WHERE]
    kept = log[:]
    del log[:-1]
    lost = judged(play, rows)
    assert lost.state == "halted" and not lost.is_of_rows
    assert "locks.commands/0@9 to locks.commands/0@9 were removed" in lost.text
    assert lost.remedy == "To go on without them: accord worker --accept-loss locks.commands/0@9"

    log[:] = kept[:-2]
    play.send("room_1", AcquireLock("eve", "eve/1", 60_000, 0))
    undecided = play.log_events[WHERE].pop()
    assert undecided.offset == 10

    def fails(*_: Any) -> Any:
        raise ZeroDivisionError("a bug")

    play.send("room_1", AcquireLock("eve", "eve/2", 60_000, 0))
    play.log_events[WHERE].pop()
    monkeypatch.setattr(type(play.states[WHERE].decider), "decide", fails)
    bug = judged(play, rows)
    assert bug.state == "halted" and "ZeroDivisionError('a bug')" in bug.text and "locks.commands/0@9" in bug.text


def test_a_damaged_log_halts_whatever_the_table_has(play: Play) -> None:
    rows = table(play)
    del play.log_events[WHERE][4]
    found = judged(play, rows)
    assert found.state == "halted" and "Decision 5 is missing" in found.text and "accord replay verify" in found.remedy
    del play.log_events[WHERE][:3]
    assert "start at offset 3" in judged(play, rows).text


def test_rules_that_this_release_lacks(play: Play) -> None:
    play.send("room_1", SwitchRules(99, "a trial"))
    found = judged(play, {})
    assert found.state == "halted" and "version 99" in found.text and found.remedy == "Run a release that has it."


def test_a_partition_that_no_worker_has_had_yet_is_not_halted() -> None:
    play = Play(locks=1)
    play.log_events[WHERE].clear()
    assert judged(play, {}).state == "missing"
