"""Today's code must verify the logs of every release; the one that is wrong on purpose must be caught and named."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from accord.replay.source import Source, open_source
from accord.replay.state import state_at
from accord.replay.verify import verify
from accord.schemas.codec import commands_codec, events_codec
from accord.schemas.messages import Message, llm, log, roster, waits
from accord.streams.domains import DOMAINS

from accord.errors import SchemaError
from tests.counts import only_long
from tests.histories import record
from tests.histories.record import HERE, HISTORIES, STATES, WRONG, archive_of
from tests.histories.scenarios import SCENARIOS

SOUND = sorted(path for path in HERE.rglob("*.accord") if path.stem not in WRONG)
NEVER: frozenset[type[Message]] = frozenset(
    {
        roster.JoinRefused,  # a team of 500
        llm.AnswerDenied,  # 1,000 who wait for one answer
        waits.WaitsIgnored,  # 2,000 who wait and hold something
        log.CommandsLost,  # commands that were deleted before they were decided: no archive has those
    }
)
"""Events that no recorded history has, and what it would take."""


@pytest.mark.parametrize("path", SOUND, ids=lambda path: path.stem)
def test_todays_code_verifies_it(path: Path) -> None:
    with open_source(path) as source:
        report = verify(source)
        world = state_at(source)
    assert report.ok and report.commands and not report.taken and not report.undecided, report
    assert world.hash == json.loads(STATES.read_text())[path.name], "the same log no longer gives the same state"


def test_every_scenario_and_every_play_is_recorded() -> None:
    assert sorted(archive_of(name) for name in {*HISTORIES, *record.RUNS} - {*WRONG}) == SOUND


def test_the_wrong_one_is_caught_and_named() -> None:
    with open_source(HERE / "wrong_grant.accord") as source:
        report = verify(source)
    (divergence,) = report.divergences
    assert (divergence.position, divergence.key, divergence.causes) == ("locks/0@2", "room_1", ("locks.commands/0@1",))
    assert [event["event"] for event in divergence.expected["events"]] == ["LockQueued"]
    assert [event["event"] for event in divergence.got["events"]] == ["LockGranted"]


@pytest.mark.parametrize("name", sorted(HISTORIES))
def test_the_script_records_it_again_to_the_byte(name: str, tmp_path: Path) -> None:
    HISTORIES[name]().save(tmp_path / "again")
    for file in archive_of(name).iterdir():
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes(), (
            f"{file.name}: its play brings something else; if that is meant: python -m tests.histories.record {name}"
        )


@only_long
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_comes_to_what_it_is_to_come_to(name: str, tmp_path: Path) -> None:
    asyncio.run(record.scenario(name, tmp_path / "again.accord"))
    with open_source(tmp_path / "again.accord") as source:
        assert verify(source).ok


def test_every_command_and_all_events_but_a_few_are_recorded() -> None:
    """Whatever changes the rules of any domain is held against what was decided before."""
    met: set[type[Message]] = set()
    for path in SOUND:
        with open_source(path) as source:
            met.update(type(message) for message in messages(source))
    known: set[type[Message]] = {*log.COMMANDS, *log.EVENTS}
    for domain in DOMAINS:
        module = import_module(f"accord.schemas.messages.{domain}")
        known |= {*module.COMMANDS, *module.EVENTS}
    assert known - met == NEVER, "what has come to be recorded goes out of NEVER; what is new is to be recorded"


def messages(source: Source) -> Iterator[Message]:
    """All commands and events of a log that can be read."""
    for domain, number in source.all_partitions():
        for asked in source.read(domain, number, 0, commands=True):
            try:
                yield commands_codec(domain).decode(asked.value)
            except SchemaError:
                continue
        for decided in source.read(domain, number, 0):
            yield from events_codec(domain).decode(decided.value)
