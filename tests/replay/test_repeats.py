"""Every message sent five times has one effect: each command of a log, put in five times under its id, brings the
events and the state that it brings once; the other four are told that they are repeats.

A decision's number becomes a token, and repeats are decisions. So where a command is put in once it is followed by four
records that nobody can read, which count as much and do nothing; then both logs have the same tokens, to the byte. The
tokens in the commands themselves are those of the log that was recorded, and are moved to their new places first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from accord.replay.source import Source, open_source
from accord.replay.state import accepted
from accord.schemas import headers as h
from accord.schemas.codec import commands_codec
from accord.schemas.headers import LogRecord
from accord.schemas.messages import Command, limits, locks, roster, sagas, signals, tasks, transactions, triggers
from accord.schemas.messages.log import CommandRejected, CommandRepeated, PartitionOpened, Tick
from accord.streams.decider import plain
from accord.streams.domains import DOMAINS
from accord.streams.partition import Decided, Partition

from accord.errors import SchemaError
from tests.histories import busy, record
from tests.histories.payments import payments
from tests.histories.shop import shop
from tests.histories.transfers import transfers
from tests.histories.trips import trips

HISTORIES = Path(__file__).resolve().parents[1] / "histories"
COPIES = 5
FIRST_SEQ = 2
"""Of the first command; the genesis is 1."""

SOURCES: dict[str, Callable[[], Source]] = {
    "office": busy.office,
    "heartbeats": busy.heartbeats,
    "pools": busy.pools,
    "victims": busy.victims,
    "groups": busy.groups,
    "hotel": record.hotel,
    "family": record.family,
    "rejections": record.rejections,
    "payments": payments,
    "shop": shop,
    "trips": lambda: trips().play,
    "transfers": transfers,
    "embedded": lambda: open_source(HISTORIES / "embedded.accord"),
}


def moved(seq: int) -> int:
    """The number that a decision of the recorded log has where each command counts five times."""
    return seq if seq < FIRST_SEQ else FIRST_SEQ + COPIES * (seq - FIRST_SEQ)


def command_of(domain: str, value: bytes | None) -> Command | None:
    """A command with its token moved; None: nobody can read it."""
    try:
        command: Command = commands_codec(domain).decode(value)
    except SchemaError:
        return None
    token = getattr(command, "token", None)
    return command if token is None else msgspec.structs.replace(command, token=moved(token))


def opened(source: Source, domain: str, partition: int) -> Partition:
    state = Partition(source.identity(domain, partition), DOMAINS[domain])
    genesis = state.read(next(iter(accepted(source, domain, partition)))).events[0]
    assert isinstance(genesis, PartitionOpened)
    state.apply(state.open(genesis.partition_count, genesis.timestamps))
    return state


def recorded(source: Source, domain: str, partition: int) -> Iterator[tuple[LogRecord, list[str]]]:
    """Each command of a log, and the names of the events that it brought."""
    decisions = accepted(source, domain, partition)
    next(decisions)
    state = Partition(source.identity(domain, partition), DOMAINS[domain])
    for asked, decision in zip(source.read(domain, partition, 0, commands=True), decisions, strict=True):
        yield asked, names(state.read(decision))


def names(decided: Decided) -> list[str]:
    return [type(event).__name__ for event in decided.events]


@pytest.mark.parametrize("name", SOURCES)
def test_a_command_that_comes_five_times_has_one_effect(name: str) -> None:
    with SOURCES[name]() as source:
        for domain, partition in source.all_partitions():
            once, often = opened(source, domain, partition), opened(source, domain, partition)
            for asked, brought in recorded(source, domain, partition):
                offset, fields = COPIES * asked.offset, dict(asked.headers)
                if not fields.get(h.ID):
                    break  # garbage without an id: nothing tells a repeat of it
                command = command_of(domain, asked.value)
                value = asked.value if command is None else commands_codec(domain).encode(command)
                record = asked._replace(offset=offset, value=value)
                first, again = once.decide(record), often.decide(record)
                assert names(first) == brought, "what was recorded"
                assert again.decision.value == first.decision.value
                assert again.decision.seq == first.decision.seq
                once.apply(first)
                often.apply(again)
                for copy in range(1, COPIES):
                    nothing = once.decide(record._replace(offset=offset + copy, value=b"x", headers=()))
                    repeated = often.decide(record._replace(offset=offset + copy))
                    assert names(nothing) == [CommandRejected.__name__]
                    assert names(repeated) == [CommandRepeated.__name__]
                    once.apply(nothing)
                    often.apply(repeated)
                assert {key: often.dump(key) for key in often.aggregates} == {
                    key: once.dump(key) for key in once.aggregates
                }
            assert plain(often.aggregates) == plain(once.aggregates)


@pytest.mark.parametrize(
    ("domain", "names_of"),
    [
        ("tasks", ("office",)),
        ("roster", ("office", "heartbeats")),
        ("limits", ("pools", "transfers")),
        ("locks", ("family", "hotel", "victims", "transfers", "heartbeats")),
        ("signals", ("hotel", "rejections", "payments", "groups", "shop")),
        ("triggers", ("payments",)),
        ("sagas", ("trips",)),
        ("transactions", ("transfers",)),
    ],
)
def test_every_command_is_among_them(domain: str, names_of: tuple[str, ...]) -> None:
    commands: dict[str, Any] = {
        "tasks": tasks, "roster": roster, "limits": limits, "locks": locks, "signals": signals, "triggers": triggers,
        "sagas": sagas,
        "transactions": transactions,
    }  # fmt: skip
    met = set()
    for name in names_of:
        with SOURCES[name]() as source:
            for of, partition in source.all_partitions():
                if of == domain:
                    for asked in source.read(of, partition, 0, commands=True):
                        met.add(type(command_of(domain, asked.value)))
    missing = {*commands[domain].COMMANDS, *({Tick} if domain != "signals" else ())} - met
    assert not missing
