"""Shared state on a real Kafka: many processes on one key, and processes that die in their transactions."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from accord.replay.scopes import ChangeView, history_of

from accord import Accord, replay
from accord.settings import Settings
from tests.agents.on_kafka import environment, worker_on
from tests.agents.state_member import ACCOUNTS
from tests.agents.support import run
from tests.counts import only_long

START = 100


@pytest.fixture(scope="module")
def settings(accord_kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with worker_on(accord_kafka, tmp_path_factory.mktemp("worker"), "state", "locks") as settings:
        yield settings


@contextmanager
def members(settings: Settings, count: int, *arguments: str) -> Iterator[list[subprocess.Popen[bytes]]]:
    """So many processes that work; those that are left are killed in the end."""
    command = [sys.executable, "-m", "tests.agents.state_member", *arguments]
    started = [subprocess.Popen(command, env=environment(settings), stdout=subprocess.PIPE) for _ in range(count)]
    try:
        for process in started:
            assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


@only_long
@pytest.mark.timeout(300)
def test_read_modify_writes_of_many_processes_are_exact(settings: Settings) -> None:
    processes, agents, times = 5, 10, 20

    async def begin() -> None:
        async with Accord(settings=settings, agent="ada") as hub:
            await hub.state("counted").put("n", 0)

    run(begin())
    with members(settings, processes, "count", "counted", str(agents), str(times)) as started:
        assert [process.wait(240) for process in started] == [0] * processes
    with replay.open(settings) as log:
        changes = [view for view in history_of(log.source, "counted", "n") if isinstance(view, ChangeView)]
    assert [view.value for view in changes] == list(range(processes * agents * times + 1)), "each added one, once"
    assert len({view.agent for view in changes}) == 1 + processes * agents


@only_long
@pytest.mark.timeout(120)
def test_processes_that_die_in_their_transactions_keep_the_sum(settings: Settings) -> None:
    async def begin() -> None:
        async with Accord(settings=settings, agent="ada") as hub:
            await hub.state("bank").put_all(dict.fromkeys(ACCOUNTS, START))

    run(begin())
    for _ in range(4):
        with members(settings, 3, "transfer", "bank") as started:
            for process in started:
                time.sleep(1)
                process.kill()
    with replay.open(settings) as log:
        changes = [view for view in history_of(log.source, "bank") if isinstance(view, ChangeView)]
    balances: dict[str, int] = {}
    by_version: dict[int, list[ChangeView]] = {}
    for view in changes:
        by_version.setdefault(view.version, []).append(view)
    assert list(by_version) == list(range(1, len(by_version) + 1)) and len(by_version) > 20
    for views in by_version.values():
        balances |= {view.key: view.value for view in views}
        assert sum(balances.values()) == START * len(ACCOUNTS) and min(balances.values()) >= 0
