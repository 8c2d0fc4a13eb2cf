"""Transfers between scopes on a real Kafka, while programs and workers are killed: the sum is kept, nothing is mixed,
nobody is stuck."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from accord.replay.agreement import check
from accord.replay.transactions import transactions_at

from accord import Accord, replay
from accord.admin import Admin
from accord.settings import Settings
from tests.agents.on_kafka import PARTITIONS, SESSION_MS, environment
from tests.agents.support import run
from tests.agents.transfer_member import BANKS, START
from tests.counts import only_long

DOMAINS = ["state", "transactions", "locks"]


@contextmanager
def processes(command: list[str], variables: Mapping[str, str], count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """So many; those that are left are killed in the end."""
    started = [subprocess.Popen(command, env=dict(variables), stdout=subprocess.PIPE) for _ in range(count)]
    try:
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


@pytest.fixture
def settings(accord_kafka: str) -> Settings:
    made = Settings.load(
        kafka={"bootstrap_servers": accord_kafka},
        topics={"prefix": f"transfers-{uuid4().hex[:8]}", "partitions": PARTITIONS},
        worker={"domains": DOMAINS, "session_timeout_ms": SESSION_MS},
        locks={"clock_step_ms": 0},
    )
    Admin(made).init()
    return made


def sum_is_kept(scopes: Mapping[str, Mapping[str, Any]]) -> str | None:
    total = sum(keys["balance"] for keys in scopes.values())
    return None if total == START * len(BANKS) else f"the balances are {total}"


@contextmanager
def a_worker(settings: Settings, data_dir: Path) -> Iterator[subprocess.Popen[bytes]]:
    variables = environment(
        settings,
        ACCORD_WORKER__DOMAINS='["' + '","'.join(DOMAINS) + '"]',
        ACCORD_WORKER__DATA_DIR=str(data_dir),
        ACCORD_WORKER__METRICS_PORT="0",
    )
    accord = str(Path(sys.executable).parent / "accord")
    with processes([accord, "worker"], variables, 1) as (process,):
        yield process


async def begin(settings: Settings) -> None:
    async with Accord(settings=settings, agent="bank") as hub:
        for bank in BANKS:
            await hub.state(bank).put("balance", START)


async def until_quiet(settings: Settings) -> None:
    """Until all time-outs are over and everybody was told: asks for a commit in every scope, some times."""
    async with Accord(settings=settings, agent="bank") as hub:
        for _ in range(8):
            await asyncio.sleep(1)
            for bank in BANKS:
                await hub.state(bank).increment("balance", 0)


@only_long
@pytest.mark.timeout(300)
def test_programs_and_workers_that_are_killed_leave_nothing_half_done(settings: Settings, tmp_path: Path) -> None:
    mover = [sys.executable, "-m", "tests.agents.transfer_member"]
    with a_worker(settings, tmp_path / "first"):
        run(begin(settings))
    for round_ in range(3):
        with (
            a_worker(settings, tmp_path / f"worker-{round_}") as worker,
            processes([*mover, "0"], environment(settings), 3) as started,
        ):
            for process in started:
                assert process.stdout is not None and process.stdout.readline() == b"ready\n"
            time.sleep(3)
            started[0].kill()
            time.sleep(0.5)
            os.kill(worker.pid, signal.SIGKILL)
            started[1].kill()
            time.sleep(0.5)
    with a_worker(settings, tmp_path / "last"):
        with processes([*mover, "100"], environment(settings), 1) as (process,):
            assert process.wait(200) == 0, "100 transfers come to an end, in time and one way or another"
        run(until_quiet(settings))
    with replay.open(settings) as log:
        assert check(log.source, invariants=[sum_is_kept]) == ()
        found = transactions_at(log.source)
        assert log.verify().ok
    assert sum(view.status == "committed" for view in found) > 50
    assert {view.status for view in found} <= {"committed", "aborted"}
    assert all(view.ended_at is not None for view in found)
