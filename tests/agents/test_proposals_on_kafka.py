"""Proposals on a real Kafka: the table of counts, models of which one fails, and processes that die at every step."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from accord.agents.proposals.voting import Question
from accord.replay.proposals import proposals_at, recount

from accord import Accord, Model, VoteRefused, replay
from accord.settings import LlmSettings, Settings
from accord.testing.model_server import ModelServer
from tests.agents.ballot_member import POINTS, VOTERS
from tests.agents.on_kafka import environment, worker_on
from tests.agents.support import run
from tests.counts import long, only_long

WAIT_MS = 30_000


@pytest.fixture(scope="module")
def settings(accord_kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with worker_on(accord_kafka, tmp_path_factory.mktemp("worker"), "proposals", "signals") as settings:
        yield settings


def test_the_table_of_counts(settings: Settings) -> None:
    async def main() -> None:
        async with Accord(settings=settings, agent="ada") as hub:

            async def counted(threshold: str, **votes: str) -> tuple[str, int, int, int]:
                proposal = await hub.propose("?", voters=["ada", *votes], threshold=threshold, deadline_ms=20_000)
                for voter, choice in votes.items():
                    await proposal.vote(choice, voter=voter)
                outcome = await proposal.outcome(wait_ms=WAIT_MS)
                return outcome.status, outcome.yes, outcome.no, outcome.abstain

            assert await counted("1/2", bob="yes", cleo="no") == ("approved", 2, 1, 0)
            assert await counted("1/2", bob="no") == ("rejected", 1, 1, 0)
            assert await counted("2/3", bob="yes", cleo="no") == ("rejected", 2, 1, 0)
            quiet = dict.fromkeys(("bob", "cleo", "dan"), "abstain")
            assert await counted("1/2", **quiet) == ("approved", 1, 0, 3)

    run(main())
    with replay.open(settings) as log:
        *_, quiet = proposals_at(log.source)
        found, _ = recount(quiet, electorate=("bob", "cleo", "dan"))
    assert found == ("rejected", 0, 0, 3, 0), "three who abstain, and nobody has said yes or no"


def test_three_providers_one_of_which_fails(settings: Settings) -> None:
    """Asked at once, through the real client; the one that fails abstains, and the log says why."""

    async def main(servers: dict[str, str]) -> None:
        async with Accord(settings=settings, agent="ada") as hub, AsyncExitStack() as stack:
            for name, base_url in servers.items():
                known = LlmSettings(base_url=base_url, model="m", timeout_ms=1_000)
                model = await stack.enter_async_context(Model(known))
                await stack.enter_async_context(hub.voter(model, name=name))
            proposal = await hub.propose("Ship it?", voters=["ada", *servers], key="providers")
            outcome = await proposal.outcome(wait_ms=WAIT_MS)
        assert (outcome.status, outcome.yes, outcome.no, outcome.abstain) == ("approved", 2, 1, 1)
        (failed,) = [ballot for ballot in outcome.ballots if ballot.choice == "abstain"]
        assert failed.voter == "third" and failed.reason.startswith("failed: Degraded: No answer from 127.0.0.1:9")

    with ModelServer(lambda _: "yes", delay_ms=200) as first, ModelServer(lambda _: "no", delay_ms=200) as second:
        run(main({"first": first.base_url, "second": second.base_url, "third": "http://127.0.0.1:9/v1"}))
        assert [server.counts.answered for server in (first, second)] == [1, 1]


@only_long
@pytest.mark.timeout(180)
@pytest.mark.parametrize("point", POINTS)
def test_a_voter_that_dies_has_one_vote(point: str, settings: Settings, tmp_path: Path) -> None:
    calls, key = tmp_path / "calls", f"dies-{point}"
    calls.touch()
    dying = subprocess.Popen(
        [sys.executable, "-m", "tests.agents.ballot_member", point, key, str(calls)],
        env=environment(settings),
        stdout=subprocess.PIPE,
    )
    assert dying.stdout is not None and dying.stdout.readline() == b"ready\n"

    async def main() -> None:
        async with Accord(settings=settings, agent="ada") as hub:
            proposal = await hub.propose("does bob live?", voters=VOTERS, key=key, deadline_ms=60_000)
            assert dying.wait(25) == -9

            async def vote(question: Question) -> str:
                with calls.open("a") as file:
                    file.write(f"{question.proposal}\n")
                return "no"

            async with hub.voter(vote, name="bob"), hub.voter(vote, name="cleo"):
                await proposal.vote("yes", voter="cleo")
                outcome = await proposal.outcome(wait_ms=25_000)
            assert (outcome.status, outcome.yes, outcome.no, outcome.abstain) == ("approved", 2, 1, 0)
            with pytest.raises(VoteRefused, match="has voted no"):
                await proposal.vote("yes", voter="bob")

    try:
        run(main())
    finally:
        dying.kill()
        dying.communicate()
    assert calls.read_text().split().count(key) == {"answering": 2}.get(point, 1), "nobody is asked in vain"


@long
def test_a_proposal_outlives_its_proposer(settings: Settings, tmp_path: Path) -> None:
    dying = subprocess.run(
        [sys.executable, "-m", "tests.agents.ballot_member", "proposed", "orphan", str(tmp_path)],
        env=environment(settings),
        check=False,
        timeout=30,
    )
    assert dying.returncode == -9

    async def main() -> None:
        async with Accord(settings=settings, agent="ada") as hub:
            proposal = await hub.propose("is ada there?", voters=VOTERS, key="orphan")
            assert (await proposal.look()).yes == 1, "made once"
            for voter in VOTERS[1:]:
                await proposal.vote("no", voter=voter)
            assert (await proposal.outcome(wait_ms=WAIT_MS)).status == "rejected"

    run(main())
