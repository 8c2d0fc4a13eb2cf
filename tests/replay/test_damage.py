"""One archive for each kind of damage: it is caught, called by its name, and the records are named."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

import msgspec
import pytest
from accord.replay.junit import junit
from accord.replay.source import open_source
from accord.replay.verify import Report, verify
from accord.schemas.clock import VectorClock
from accord.schemas.codec import commands_codec, events_codec
from accord.schemas.headers import CLOCK, LogRecord
from accord.schemas.messages.locks import AcquireLock, LockGranted, ReleaseLock
from accord.schemas.messages.log import Tick
from accord.streams.domains import DOMAINS
from accord.streams.partition import Decided, Partition

from tests.histories.play import Play

WHERE = ("locks", 0)


def busy(count: int = 12) -> Play:
    """Offset n + 1 holds the decision on command n; ada's commands come first, then bob's, in turns."""
    play = Play(cluster="damaged", locks=1, signals=1)
    for number in range(count):
        agent = ("ada", "bob")[number % 2]
        play.send(f"room_{number % 3}", AcquireLock(agent, f"{agent}/{number}", 5_000, 0))
    return play


def edit_value(play: Play) -> None:
    log = play.log_events[WHERE]
    granted = LockGranted("c3", "eve", "eve/1", 4, 5_000, play.now_ms)
    log[3] = log[3]._replace(value=events_codec("locks").encode([granted]))


def edit_time(play: Play) -> None:
    set_header(play, 3, "accord-chain", lambda value: value.replace(b" 177", b" 178"))


def edit_to_garbage(play: Play) -> None:
    log = play.log_events[WHERE]
    log[3] = log[3]._replace(value=b"\xc3\x01garbage")


def set_header(play: Play, offset: int, name: str, change: Callable[[bytes], bytes]) -> None:
    log = play.log_events[WHERE]
    headers = [(key, change(value) if key == name else value) for key, value in log[offset].headers]
    assert headers != list(log[offset].headers)
    log[offset] = log[offset]._replace(headers=headers)


def number_again(play: Play) -> None:
    log = play.log_events[WHERE]
    log[:] = [record._replace(offset=offset) for offset, record in enumerate(log)]


def drop_one(play: Play) -> None:
    del play.log_events[WHERE][5]


def drop_three(play: Play) -> None:
    del play.log_events[WHERE][5:8]
    number_again(play)


def swap(play: Play) -> None:
    log = play.log_events[WHERE]
    log[5], log[6] = log[6], log[5]
    number_again(play)


def move_far(play: Play) -> None:
    log = play.log_events[WHERE]
    log.insert(9, log.pop(4))
    number_again(play)


def fork(play: Play) -> None:
    """A stranger's decision lies before the right one, and readers take the first that fits."""
    log = play.log_events[WHERE]
    log.insert(4, wrong(play, 4, clock=VectorClock({"eve#1": 9}, 9)))
    number_again(play)


def wrong(play: Play, offset: int, **fields: object) -> LogRecord:
    """What another worker would have written in place of the decision at an offset."""
    log = play.log_events[WHERE]
    state = Partition(play.identity(*WHERE), DOMAINS["locks"])
    decided: Decided | None = None
    for record in log[: offset + 1]:
        if record.offset == 0:
            decided = state.open(1, "log_append")
        else:
            command = play.log_commands[WHERE][record.offset - 1]
            decided = state.decide(command)
        if record.offset < offset:
            state.apply(decided)
    assert decided is not None
    right = decided.decision
    said = {"now_ms": right.now_ms, "rules": right.rules, "clock": decided.clock, "events": decided.events} | fields
    forged = state._decision(
        right.cause, right.command_id, said["now_ms"], said["rules"], said["clock"], right.task, right.trace,  # type: ignore[arg-type]
        right.key, said["events"],  # type: ignore[arg-type]
    )  # fmt: skip
    return log[offset]._replace(value=forged.decision.value, headers=forged.decision.headers("x", b"x", None))


def another_worker(play: Play, **fields: object) -> None:
    """Offset 5 is decided otherwise, and all after it by the same worker, chained to fit."""
    log = play.log_events[WHERE]
    log[5] = wrong(play, 5, **fields)
    state = Partition(play.identity(*WHERE), DOMAINS["locks"])
    from accord.streams.chain import Chain  # noqa: PLC0415

    chain = Chain(state.root)
    for record in log[:6]:
        decision = chain.accept(record)
        assert decision is not None
        state.apply(state.read(decision))
    for offset in range(6, len(log)):
        decided = state.decide(play.log_commands[WHERE][offset - 1])
        log[offset] = log[offset]._replace(
            value=decided.decision.value, headers=decided.decision.headers("x", b"x", None)
        )
        state.apply(msgspec.structs.replace(decided, decision=msgspec.structs.replace(decided.decision, offset=offset)))


def clock_of_another(play: Play) -> None:
    another_worker(play, clock=VectorClock({"eve#1": 9, "locks/0": 40}, 40))


def time_of_another(play: Play) -> None:
    another_worker(play, now_ms=play.now_ms + 3_600_000)


def other_code(play: Play) -> None:
    another_worker(play, events=[LockGranted("c5", "ada", "ada/4", 6, 5_000, play.now_ms)])


def other_rules(play: Play) -> None:
    another_worker(play, rules=2)


def passed_over(play: Play) -> None:
    play.append(WHERE, b"room_1", b"x", [], decide=False)
    play.send("room_1", Tick())


def foreign(play: Play) -> None:
    other = Play(cluster="elsewhere", locks=1)
    play.log_events[WHERE] = other.log_events[WHERE]


class Case(NamedTuple):
    do: Callable[[Play], None]
    kind: str
    told: str


CASES = [
    Case(edit_value, "edited", "locks/0@3 was changed after it was written"),
    Case(edit_time, "edited", "locks/0@3 was changed after it was written (now_ms): locks/0@4 continues"),
    Case(edit_to_garbage, "edited", "locks/0@3 was changed after it was written"),
    Case(drop_one, "dropped", "Decision 6 is missing, between locks/0@4 and locks/0@6"),
    Case(drop_three, "dropped", "Decisions 6 to 8 are missing, between locks/0@4 and locks/0@5"),
    Case(swap, "reordered", "Decision 7 at locks/0@5 lies before decision 6 at locks/0@6"),
    Case(move_far, "reordered", "Decision 6 at locks/0@4 lies before decision 5 at locks/0@9"),
    Case(fork, "forked", "readers take decision 5 at locks/0@4, the log goes on at locks/0@6 from that at locks/0@5"),
    Case(clock_of_another, "clock", "locks/0@5 carries another clock (clock)"),
    Case(time_of_another, "clock", "locks/0@5 carries another clock (now_ms)"),
    Case(other_code, "decision", "locks/0@5 differs in events"),
    Case(other_rules, "rules", "locks/0@5 was decided by version 2; version 1 was in force"),
    Case(passed_over, "undecided", "locks.commands/0@12 was passed over"),
    Case(foreign, "foreign", "From locks/0@0 on, no record starts the chain"),
]


def verified(play: Play, path: Path) -> Report:
    play.save(path)
    with open_source(path) as log:
        return verify(log)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.do.__name__)
def test_each_kind_of_damage_is_caught_and_named(case: Case, tmp_path: Path) -> None:
    play = busy()
    case.do(play)
    report = verified(play, tmp_path / "a.accord")
    assert not report.ok
    first = report.divergences[0]
    assert first.kind == case.kind, first
    assert case.told in first.told


def test_without_its_commands_the_chain_alone_names_an_edit(tmp_path: Path) -> None:
    play = busy()
    edit_value(play)
    del play.log_commands[WHERE][:8]
    (divergence,) = verified(play, tmp_path / "a.accord").divergences
    assert divergence.kind == "edited" and divergence.told.startswith("locks/0@3 was changed after it was written")


def test_a_sound_log_has_no_damage(tmp_path: Path) -> None:
    assert verified(busy(), tmp_path / "a.accord").ok


def test_a_divergence_tells_its_causal_chain(tmp_path: Path) -> None:
    """bob asked after he had been told of what ada got: both are there, oldest first."""
    play = busy()
    play.send("room_0", ReleaseLock("ada", 2))
    other_code(play)
    (divergence,) = verified(play, tmp_path / "a.accord").divergences
    told = [step.position for step in divergence.history]
    assert told[-1] == "locks/0@5" == divergence.position and divergence.history[-1].order == "equal"
    assert "locks.commands/0@4" in told and "locks/0@4" in told
    assert [step.lamport for step in divergence.history] == sorted(step.lamport for step in divergence.history)
    assert "AcquireLock room_1" in divergence.history[told.index("locks.commands/0@4")].text


@pytest.mark.parametrize("do", [drop_one, swap, edit_to_garbage], ids=lambda do: do.__name__)
def test_also_of_a_log_that_cannot_be_read_to_its_end(do: Callable[[Play], None], tmp_path: Path) -> None:
    play = busy()
    do(play)
    (divergence,) = verified(play, tmp_path / "a.accord").divergences
    assert divergence.history and divergence.history[-1].position in (divergence.position, *divergence.causes)


def test_junit_has_a_case_for_each_partition(tmp_path: Path) -> None:
    play = busy()
    edit_value(play)
    play.save(tmp_path / "a.accord")
    with open_source(tmp_path / "a.accord") as log:
        text = junit(verify(log), log.name, log.all_partitions())
    suite = ET.fromstring(text).find("testsuite")
    assert suite is not None and (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("2", "1", "0")
    cases = {case.get("name"): case for case in suite.findall("testcase")}
    assert list(cases) == ["locks/0", "signals/0"] and not list(cases["signals/0"])
    (failure,) = cases["locks/0"]
    assert failure.tag == "failure" and failure.get("type") == "edited"
    assert "locks/0@3 was changed" in str(failure.get("message")) and "locks.commands/0@2" in str(failure.text)


def test_junit_tells_what_could_not_be_looked_at(tmp_path: Path) -> None:
    play = busy()
    del play.log_commands[WHERE][3]
    play.save(tmp_path / "a.accord")
    with open_source(tmp_path / "a.accord") as log:
        suite = ET.fromstring(junit(verify(log), log.name, log.all_partitions())).find("testsuite")
    assert suite is not None and (suite.get("failures"), suite.get("errors")) == ("0", "1")
    error = suite.find("testcase/error")
    assert error is not None and error.get("type") == "missing_command"


def test_junit_takes_whatever_a_log_holds(tmp_path: Path) -> None:
    """Control characters of a key are not for XML."""
    play = busy(2)
    play.send("a\x00b", AcquireLock("ada", "ada/9", 5_000, 0))
    command = commands_codec("locks").encode(Tick())
    play.log_commands[WHERE][-1] = play.log_commands[WHERE][-1]._replace(value=command)
    play.save(tmp_path / "a.accord")
    with open_source(tmp_path / "a.accord") as log:
        report = verify(log)
        assert report.divergences[0].key == "a\x00b"
        assert ET.fromstring(junit(report, log.name, log.all_partitions())).find(".//failure") is not None


def test_the_clock_header_has_the_name_that_these_tests_think() -> None:
    assert CLOCK == "accord-clock"
