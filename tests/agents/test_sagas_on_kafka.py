"""Sagas on a real Kafka: the process that runs one is killed -9 at every point, and another one ends it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from accord.replay.sagas import SagaView, saga_at

from accord import Accord, GiveUp, Saga, replay
from accord.cli.app import run as cli
from accord.settings import Settings
from tests.agents.on_kafka import environment, worker_on
from tests.agents.saga_member import LEASE_MS, POINTS, trip
from tests.counts import LONG, long

WAIT_MS = 30_000
DAILY = ("after pay/do", "after pay/undo")
AT_ONCE = 6
"""So many processes that die run at a time."""


@pytest.fixture(scope="module")
def settings(accord_kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with worker_on(accord_kafka, tmp_path_factory.mktemp("worker"), "sagas", "signals") as settings:
        yield settings


@long
def test_a_process_that_dies_in_a_step_or_an_undo_leaves_a_saga_that_another_one_ends(
    settings: Settings, tmp_path: Path
) -> None:
    """Each saga has a process of its own, which dies at its point; one process goes on with them all."""
    points = POINTS if LONG else DAILY
    ids = {point: point.replace(" ", "-").replace("/", "-") for point in points}
    effects = {point: tmp_path / saga_id for point, saga_id in ids.items()}

    async def main() -> None:
        async with (
            Accord(settings=settings, agent="healthy") as hub,
            hub.serve_sagas(trip(), slots=len(points), lease_ms=LEASE_MS),
        ):
            for chosen in (points[at : at + AT_ONCE] for at in range(0, len(points), AT_ONCE)):
                dying = [member(settings, point, ids[point], effects[point]) for point in chosen]
                for process in dying:
                    assert await asyncio.to_thread(process.wait, 60) == -9
                for point in chosen:
                    report = await hub.saga(ids[point]).outcome(wait_ms=WAIT_MS)
                    assert (report.status, report.failed_step) == ("compensated", "mail"), point

    asyncio.run(asyncio.wait_for(main(), 110))
    for point, saga_id in ids.items():
        with replay.open(settings) as log:
            view = saga_at(log.source, saga_id)
        assert view is not None
        check(view, effects[point].read_text().split(), point)


def member(settings: Settings, point: str, saga_id: str, effects: Path) -> subprocess.Popen[bytes]:
    arguments = [sys.executable, "-m", "tests.agents.saga_member", point, saga_id, str(effects)]
    return subprocess.Popen(arguments, env=environment(settings))


def check(view: SagaView, keys: list[str], point: str) -> None:
    """By the log and by the effects, whatever the client said."""
    moments = [(one.what, one.step) for one in view.moments]
    done = [step for what, step in moments if what == "completed"]
    undone = [step for what, step in moments if what == "undone"]
    assert done == ["room", "pay"] and undone == ["pay", "room"], f"{point}: each once, in order"
    assert (
        ("lost", "room") in moments
        or ("lost", "pay") in moments
        or ("lost", "mail") in moments
        or (point == "told room/undo")
    ), f"{point}: it was another process that ended it"
    runs = [key.removeprefix(f"{view.id}/") for key in keys]
    assert set(runs) == {"room/do", "pay/do", "pay/undo", "room/undo"}, point
    assert len(runs) <= 5, f"{point}: one effect, the one in doubt, may be there twice"
    last = {name: len(runs) - runs[::-1].index(name) for name in runs}
    assert last["room/do"] < last["room/undo"] and last["pay/do"] < last["pay/undo"] < last["room/undo"], point


def test_a_stuck_saga_is_among_the_dead_letters_and_is_retried_by_its_id(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)
    closed = True

    def unbook() -> None:
        if closed:
            raise GiveUp("closed")

    def book() -> None:
        pass

    def mail() -> None:
        raise GiveUp("no address")

    hotel = Saga("hotel").step(book, undo=unbook).step(mail)

    async def main() -> None:
        nonlocal closed
        async with Accord(settings=settings, agent="ada") as hub, hub.serve_sagas(hotel):
            assert (await hotel.run(hub, id="full")).status == "stuck"
            assert await asyncio.to_thread(cli, ["dlq", "list", "--queue", "saga:hotel"]) == 0
            listed = capsys.readouterr().out
            assert "full" in listed and "book is not undone: GiveUp: closed" in listed
            (letter,) = [word for word in listed.split() if word.startswith("sagas/")]
            assert await asyncio.to_thread(cli, ["dlq", "retry", letter]) == 0
            assert (await hub.saga("full").outcome(wait_ms=WAIT_MS)).status == "stuck", "it is as closed as before"
            closed = False
            assert await asyncio.to_thread(cli, ["sagas", "retry", "full"]) == 0
            assert (await hub.saga("full").outcome(wait_ms=WAIT_MS)).status == "compensated"
            assert await asyncio.to_thread(cli, ["sagas", "retry", "full"]) == 5
            capsys.readouterr()
            assert await asyncio.to_thread(cli, ["dlq", "list", "--queue", "saga:hotel", "--all", "--json"]) == 0
            assert capsys.readouterr().out.count('"state":"retried"') == 2

    asyncio.run(asyncio.wait_for(main(), 60))
