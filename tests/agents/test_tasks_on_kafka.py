"""Tasks on a real Kafka: agents that die at every boundary of a step."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from accord import Accord
from accord.settings import Settings
from tests.agents.member import POINTS, STEPS, graph
from tests.agents.on_kafka import environment, worker_on
from tests.agents.support import run
from tests.counts import LONG, long

DEATHS = [("given", STEPS[0])] + [(point, step) for step in (STEPS if LONG else STEPS[1:2]) for point in POINTS[1:]]
"""Only the first step is given by the team: who completed a step goes on with the next."""


@pytest.fixture(scope="module")
def settings(accord_kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with worker_on(accord_kafka, tmp_path_factory.mktemp("worker"), "tasks", "roster") as settings:
        yield settings


@long
@pytest.mark.parametrize(("point", "step"), DEATHS)
def test_no_step_is_lost_or_recorded_twice_when_its_agent_dies(
    point: str, step: str, settings: Settings, tmp_path: Path
) -> None:
    effects = tmp_path / "effects"
    dying = subprocess.Popen(
        [sys.executable, "-m", "tests.agents.member", point, step, str(effects)],
        env=environment(settings),
        stdout=subprocess.PIPE,
    )
    assert dying.stdout is not None and dying.stdout.readline() == b"ready\n"

    async def main() -> None:
        async with Accord(settings=settings, agent="healthy") as hub:
            handle = await hub.submit(graph(effects), key=f"{point}-{step}")
            assert dying.wait(20) == -9
            async with hub.work(graph(effects)):
                assert await handle.result(wait_ms=20_000) == 1
            record = await handle.record()
            assert [done["name"] for done in record["steps"]] == list(STEPS)

    try:
        run(main())
    finally:
        dying.kill()
        dying.communicate()
    ran = Counter(line.rpartition("/")[2] for line in effects.read_text().split())
    again = {"ran": {2}, "told": {1, 2}}.get(point, {1})
    assert ran.pop(step) in again
    assert ran == {other: 1 for other in STEPS if other != step}
