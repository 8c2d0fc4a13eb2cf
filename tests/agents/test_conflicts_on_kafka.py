"""Conflicts on a real Kafka, between real processes: duplicate work, waiting, findings, and judges that die."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from accord.agents.conflicts.judging import Judgement, Matter
from accord.replay.conflicts import conflict_at, conflicts_at
from accord.replay.timeline import Filter

from accord import Accord, ConflictLost, Model, replay
from accord.settings import LlmSettings, Settings
from accord.testing.model_server import MODEL, ModelServer
from tests.agents.conflict_member import POINTS
from tests.agents.on_kafka import environment, worker_on
from tests.agents.support import run
from tests.counts import only_long

WAIT_MS = 30_000
ANSWERS = [{"agent": "a", "recommendation": 42}, {"agent": "b", "recommendation": 37}]


@pytest.fixture(scope="module")
def settings(accord_kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with worker_on(accord_kafka, tmp_path_factory.mktemp("worker"), "conflicts", "signals") as settings:
        yield settings


def member(settings: Settings, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.agents.conflict_member", *arguments],
        env=environment(settings), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_two_claim_a_topic_and_one_does_it_and_the_other_takes_another(settings: Settings) -> None:
    processes = [member(settings, "claim", name, "team", "X", "Y") for name in ("ada", "bob")]
    try:
        said = [line_of(process) for process in processes]
        loser = said.index("X") ^ 1
        assert said[loser] == f"duplicate {('bob', 'ada')[loser]}"
        assert line_of(processes[loser]) == "Y"
        for process in processes:
            process.communicate(timeout=30)
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    with replay.open(settings) as log:
        (view,) = [view for view in conflicts_at(log.source) if view.ground == "team"]
    assert (view.kind, view.method, view.confidence) == ("duplicate_work", "rule", 1)
    assert sorted(party.outcome or "" for party in view.parties) == ["duplicate", "won"]


def test_c_waits_for_a_and_who_died_may_still_be_at_work(settings: Settings) -> None:
    async def main(process: subprocess.Popen[str]) -> None:
        assert await asyncio.to_thread(line_of, process) == "X"
        async with Accord(settings=settings, agent="c") as hub:
            ground = hub.ground("waits")
            async with hub.ground("waits").intend("write", target="plan", agent="a"):
                waiting = ground.intend("write", target="plan")
                assert (await waiting.declare(), waiting.behind) == ("queued", ("a",))
            await waiting.turn(wait_ms=WAIT_MS)
            await waiting.finish()
            process.kill()
            with pytest.raises(ConflictLost, match="is done by another by dead"):
                await ground.intend("research", topic="X").declare()  # its lease runs: it may be at work

    process = member(settings, "claim", "dead", "waits", "X", "Y")
    try:
        run(main(process))
    finally:
        process.kill()
        process.communicate()


def test_answers_that_differ_are_resolved_by_a_model(settings: Settings) -> None:
    said = json.dumps({"winner": "b", "reasoning": "37 is prime", "confidence": 0.85})

    async def main(base_url: str) -> None:
        known = LlmSettings(base_url=base_url, model=MODEL)
        async with Accord(settings=settings, agent="boss") as hub, Model(known) as model, hub.judge(model):
            assert (await hub.findings([ANSWERS[0], ANSWERS[0] | {"agent": "c"}]))["status"] == "no_conflicts"
            found = await hub.findings(ANSWERS, key="answers", ground="answers", wait_ms=WAIT_MS)
        assert found["status"] == "resolved"
        resolution = found["resolution"]
        assert (resolution["winner"], resolution["confidence"], resolution["method"]) == ("b", 0.85, "model")
        assert resolution["pairs"] == [["a", "b"]]

    with ModelServer(lambda _: said) as server:
        run(main(server.base_url))
        assert server.counts.answered == 1


LATER = [pytest.param(point, comes, marks=() if (point, comes) == ("answering", True) else only_long)
         for point in POINTS for comes in (True, False)]  # fmt: skip


@pytest.mark.timeout(180)
@pytest.mark.parametrize(("point", "another_comes"), LATER)
def test_a_judge_that_dies_leaves_one_resolution(
    point: str, another_comes: bool, settings: Settings, tmp_path: Path
) -> None:
    """The same outcome if another judge comes, else the rule's, recorded as a fallback; never two."""
    calls, ground = tmp_path / "calls", f"dies {point} {another_comes}"
    calls.touch()
    dying = member(settings, "judge", point, ground, str(calls))
    assert line_of(dying) == "ready"

    def judge(matter: Matter) -> Judgement:
        with calls.open("a") as file:
            file.write(f"{matter.ground}\n")
        return Judgement("b", "37 is prime", 0.9)

    async def main() -> None:
        async with Accord(settings=settings, agent="boss") as hub:
            await hub.ground(ground).configure(judging_ms=20_000 if another_comes else 4_000)
            finding = asyncio.create_task(hub.findings(ANSWERS, key="f", ground=ground, wait_ms=WAIT_MS))
            assert await asyncio.to_thread(dying.wait, 25) == -9
            if another_comes:
                async with hub.judge(judge):
                    resolution = (await finding)["resolution"]
            else:
                resolution = (await finding)["resolution"]
        has_judged = another_comes or point in ("told", "recorded")
        assert resolution["winner"] == ("b" if has_judged else "a")
        assert resolution["fallback"] == ("" if has_judged else "no judgement by the deadline")

    try:
        run(main())
    finally:
        dying.kill()
        dying.communicate()
    asked = calls.read_text().splitlines().count(ground)
    assert asked == {"asked": 0, "answering": 1, "told": 1, "recorded": 1}[point] + (
        another_comes and point in ("asked", "answering")
    ), "nobody is asked in vain"
    with replay.open(settings) as log:
        view = conflict_at(log.source, ground, "f")
        assert view is not None and view.status == "resolved"
        ends = [event for event in log.events(Filter(key=ground)) if event.event == "ConflictResolved"]
    assert len(ends) == 1
