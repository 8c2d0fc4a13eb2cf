"""Transfers between scopes on a real Kafka, while programs and workers are killed at every point of the log: the sum is
kept, nothing is mixed, nobody is stuck, and what was read and written is serializable."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from accord.replay.agreement import Problem, check, sum_of
from accord.replay.transactions import TransactionView, transactions_at

from accord import Accord, replay
from accord.admin import Admin
from accord.settings import Settings
from tests.agents import transfer_member
from tests.agents.on_kafka import PARTITIONS, SESSION_MS, environment
from tests.agents.support import run
from tests.agents.transfer_member import BANKS, START
from tests.counts import LONG, long
from tests.streams.serializability import Done, problem_of
from tests.topics import fresh_prefix

DOMAINS: Final = ("state", "transactions", "locks")
LOG_POINTS: Final = (
    "PrepareAsked", "ChangesPrepared", "LeasePinned", "VoteRecorded", "TransactionDecided", "PreparedCommitted",
    "OutcomeAcknowledged", "GuardsReleased", "LeaseUnpinned", "TransactionEnded",
)  # fmt: skip
KILLED: Final = -signal.SIGKILL
WAIT_S: Final = 60


@pytest.fixture
def settings(accord_kafka: str) -> Settings:
    made = Settings.load(
        kafka={"bootstrap_servers": accord_kafka},
        topics={"prefix": fresh_prefix(accord_kafka, "transfers"), "partitions": PARTITIONS},
        worker={"domains": DOMAINS, "session_timeout_ms": SESSION_MS},
        locks={"clock_step_ms": 0},
    )
    Admin(made).init()
    return made


@contextmanager
def process(module: str, *arguments: str, variables: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A module of tests as a process; killed in the end."""
    started = subprocess.Popen([sys.executable, "-m", f"tests.agents.{module}", *arguments], env=dict(variables))
    try:
        yield started
    finally:
        started.kill()
        started.wait()


async def begin(settings: Settings) -> None:
    async with Accord(settings=settings, agent="bank") as hub:
        for bank in BANKS:
            async with hub.state(bank).transaction() as tx:
                tx.put("balance", START)
                tx.put("log", [])


async def logs(settings: Settings) -> dict[str, tuple[str, ...]]:
    """The lists in the end."""
    async with Accord(settings=settings, agent="bank") as hub:
        return {f"{bank}/log": tuple((await hub.state(bank).get("log")).value) for bank in BANKS}


def ended(settings: Settings) -> tuple[tuple[TransactionView, ...], tuple[Problem, ...]]:
    """The transactions once all have ended, and what is wrong with them."""
    deadline = time.monotonic() + WAIT_S
    while True:
        with replay.open(settings) as log:
            found = transactions_at(log.source)
            problems = check(log.source, invariants=[sum_of("bank-*/balance", START * len(BANKS))])
        if all(view.ended_at is not None for view in found) or time.monotonic() > deadline:
            return found, problems
        time.sleep(0.5)


def history(file: Path, found: tuple[TransactionView, ...]) -> list[Done]:
    """What the programs saw, and what the log says became of it."""
    committed = {view.id for view in found if view.status == "committed"}
    lines: list[dict[str, Any]] = [json.loads(line) for line in file.read_text().splitlines()]
    return [
        Done(
            line["name"],
            {place: tuple(read) for place, read in line["reads"].items()},
            {place: tuple(names) for place, names in line["appended"].items()},
            committed=line["name"] in committed,
        )
        for line in lines
    ]


@long
@pytest.mark.timeout(240)
def test_killed_at_any_point_of_the_log_it_is_done_everywhere_or_nowhere(settings: Settings, tmp_path: Path) -> None:
    points = LOG_POINTS if LONG else ("TransactionDecided",)
    client_points = transfer_member.POINTS if LONG else ("sent",)
    times, file = 100 if LONG else 15, tmp_path / "history"
    variables = environment(
        settings, ACCORD_WORKER__DOMAINS=json.dumps(DOMAINS), ACCORD_WORKER__DATA_DIR=str(tmp_path / "worker")
    )
    with ExitStack() as until_end, ExitStack() as while_killing:
        for number, point in enumerate(points):
            with process("dying_worker", point, variables=variables) as worker:
                if not number:
                    run(begin(settings))
                    movers = [
                        until_end.enter_context(process("transfer_member", count, at, str(file), variables=variables))
                        for count, at in ((str(times), ""), *[("0", at) for at in client_points])
                    ]
                    if LONG:
                        while_killing.enter_context(process("transfer_member", "0", "", str(file), variables=variables))
                assert worker.wait(WAIT_S) == KILLED, f"it has met no {point}"
        with process("dying_worker", variables=variables):
            assert [mover.wait(WAIT_S) for mover in movers[1:]] == [KILLED] * len(client_points)
            while_killing.close()
            assert movers[0].wait(WAIT_S) == 0, "all transfers come to an end, one way or another"
            found, problems = ended(settings)
            final = asyncio.run(logs(settings))
    assert problems == ()
    assert {view.status for view in found} <= {"committed", "aborted"}
    assert [view.id for view in found if view.ended_at is None] == []
    late = [view.id for view in found if view.status == "committed" and str(view.decided_at) > view.due_at]
    assert late == [], "who was committed was so in time"
    assert {"committed"} <= {view.status for view in found}
    assert problem_of(history(file, found), final) is None
    with replay.open(settings) as log:
        assert log.verify().ok
