"""The twelve scenarios, each played by real agents on a log of its own, and recorded.

Each asserts what it is to come to: one that can be recorded has been seen to work. `python -m tests.histories.record
NAME...` records them; the archive of `market` is `market.accord`.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from accord.agents.agent import Agent
from accord.agents.auctions.bidding import Work
from accord.agents.auctions.units import Bid
from accord.agents.patterns import Roles, Supervisor
from accord.agents.tasks.graph import GiveUp, TaskGraph
from accord.replay.proposals import proposals_at, recount

import accord
from accord.embedded import LocalHub
from accord.settings import LlmSettings
from accord.testing.model_server import MODEL, ModelServer
from tests.agents.market import AGENTS, DOCUMENT, RESEARCH, SORT, open_market, scores
from tests.agents.patterns.support import says
from tests.agents.service.movable import SHORT_LEASE_MS, Stage
from tests.agents.service.movable import until as seen
from tests.agents.service.support import Agents, Client, served
from tests.agents.support import with_
from tests.agents.test_tasks import LEASE_MS, until

WAIT_MS = 20_000
KEY = "the right key"
DYING = {
    "ACCORD_AGENT": "writer",
    "ACCORD_AGENTS__LEASE_MS": str(SHORT_LEASE_MS),
    "TEST_DIES_AT": "started writing",
}
"""What makes a process a writer that is killed, -9, by itself, once the log has said that it begins."""
ABSENT = "http://127.0.0.1:9/v1"
"""Where no model answers."""


def llm(server: ModelServer) -> LlmSettings:
    return LlmSettings(base_url=server.base_url, model=MODEL)


# -- two or three agents and what they share


async def hotel_race(hub: LocalHub) -> None:
    """Research is slow. Who books, plainly or under a lock, does so once, with what it found; if it fails, nobody."""
    prices = {"Bonn": {"Astoria": 140, "Europa": 90, "Rheinblick": 110}}
    booked: list[tuple[str, str]] = []

    @hub.coordinate("hotel_researcher")
    async def research(city: str) -> str:
        await asyncio.sleep(0.05)
        assert not booked
        if city not in prices:
            raise LookupError(f"no hotels in {city}")
        return min(prices[city], key=prices[city].__getitem__)

    @hub.coordinate("hotel_booker", lock_name="hotel_{hotel}")
    async def book(hotel: str) -> str:
        booked.append(("hotel_booker", hotel))
        return hotel

    @hub.when("hotel_researcher_complete", name="plain")
    def note(event_data: Any) -> None:
        booked.append(("plain", event_data["result"]))

    @hub.when("hotel_researcher_complete", name="coordinated")
    async def book_it(event_data: Any) -> None:
        await book(event_data["result"])

    with pytest.raises(LookupError):
        await research("Atlantis")
    await hub.drain()
    assert not booked
    assert await research("Bonn") == "Europa"
    await hub.drain()
    assert sorted(booked) == [("hotel_booker", "Europa"), ("plain", "Europa")]


async def data_analysis(hub: LocalHub) -> None:
    """The analysis begins when all is collected, and has all of it."""
    pages = ((21.5, 22.0, 19.5), (20.0, 23.5), (18.5, 21.0, 22.0))
    collected: list[float] = []
    analysed: list[list[float]] = []

    @hub.coordinate("data_collector")
    async def collect() -> int:
        for page in pages:
            await asyncio.sleep(0.02)
            assert not analysed
            collected.extend(page)
        hub.emit("data_collection_complete", {"dataset": collected})
        return len(collected)

    @hub.when("data_collection_complete")
    @hub.coordinate("data_analyzer")
    async def analyze(event_data: Any) -> float:
        analysed.append(list(event_data["dataset"]))
        return sum(event_data["dataset"]) / len(event_data["dataset"])

    await collect()
    await hub.drain()
    assert analysed == [[temperature for page in pages for temperature in page]]


async def rate_limit(hub: LocalHub) -> None:
    """Two researchers ask an API that takes one call at a time; none of their calls is refused."""
    with ModelServer(delay_ms=20, limit=1) as server:
        async with hub.model(llm(server)) as model:

            @hub.coordinate("market_researcher", lock_name="openai_api")
            async def market(topic: str) -> str:
                return (await model.ask(f"What does the market say about {topic}?", agent="market_researcher")).text

            @hub.coordinate("competitor_researcher", lock_name="openai_api")
            async def competitors(topic: str) -> str:
                return (await model.ask(f"What do others do about {topic}?", agent="competitor_researcher")).text

            calls = [agent(topic) for topic in ("prices", "trends") for agent in (market, competitors)]
            answers = await asyncio.gather(*calls)
        assert all(answers) and len(answers) == 4
        assert (server.counts.answered, server.counts.refused, server.counts.running_most) == (4, 0, 1)


async def customer_record(hub: LocalHub) -> None:
    """Two change one record, each as it has read it: both changes are kept, and another customer waits for nobody."""
    records: dict[str, dict[str, str]] = {"456": {}, "457": {}}
    order: list[str] = []

    async def change(customer: str, field: str, value: str) -> None:
        known = dict(records[customer])
        await asyncio.sleep(0.1)
        records[customer] = known | {field: value}
        order.append(customer)

    @hub.coordinate("profile_updater", lock_name="customer_{customer}")
    async def profile(customer: str, address: str) -> None:
        await change(customer, "address", address)

    @hub.coordinate("preference_updater", lock_name="customer_{customer}")
    async def preferences(customer: str, language: str) -> None:
        await change(customer, "language", language)

    await asyncio.gather(profile("456", "River Road 2"), preferences("456", "French"), preferences("457", "Dutch"))
    assert records == {"456": {"address": "River Road 2", "language": "French"}, "457": {"language": "Dutch"}}
    assert order[-1] == "456" and sorted(order) == ["456", "456", "457"], "457 was done before the second change"


# -- the service


async def ended(hub: LocalHub, client: Client, task_id: str) -> Any:
    """A task's record over HTTP, once it has ended; asked for once."""
    await (await hub.task(task_id)).result(wait_ms=WAIT_MS)
    return (await client.get(f"/task/{task_id}")).json()


async def content_pipeline(hub: LocalHub) -> None:
    """An article over HTTP. The first writer is killed, -9, when it has begun; another one writes the only draft."""
    asked: Counter[str] = Counter()

    def answer(prompt: str) -> str:
        asked[verb := prompt.split(maxsplit=1)[0]] += 1
        return {"Research": "Bees dance.", "Write": "A draft on bees.", "Edit": "Bees dance to tell."}[verb]

    with ModelServer(answer) as server, tempfile.TemporaryDirectory() as folder:
        (ahead := Path(folder) / "ahead").write_text("0")
        stage = Stage(hub._embedded, Path(folder), ahead, server.base_url)
        known = with_(hub.settings, "llm", base_url=server.base_url)
        try:
            dying = stage.work("writer", **DYING)
            await asyncio.to_thread(dying.wait_until_ready)
            async with Agents(hub, "researcher", "editor", "publisher", settings=known):
                with served(hub) as client:
                    task_id = (await client.post("/create-content", json={"topic": "bees"})).json()["task_id"]
                    assert await asyncio.to_thread(dying.wait, 30) == -9
                    async with Agents(hub, "writer", settings=known):
                        record = await ended(hub, client, task_id)
            assert record["result"] == {"topic": "bees", "final_article": "Bees dance to tell.", "word_count": 4}
            assert [step["name"] for step in record["steps"]] == ["research", "writing", "editing", "publishing"]
            assert asked == {"Research": 1, "Write": 1, "Edit": 1}
            for kind in ("StepLost", "StepCompleted"):
                assert len(stage.events(task_id, kind, step="writing")) == 1, kind
        finally:
            stage.close()


async def parallel_research(hub: LocalHub) -> None:
    """Of four researchers one is slow, one fails and one was stopped; at 30 s the answer of the fourth is given out."""
    late, hanging = "not done by its deadline", threading.Event()

    def answer(prompt: str) -> str:
        if "web" in prompt:
            hanging.wait(60)
        return "found"

    with ModelServer(answer, api_key=KEY) as server, tempfile.TemporaryDirectory() as folder:
        (ahead := Path(folder) / "ahead").write_text("0")
        stage = Stage(hub._embedded, Path(folder), ahead, server.base_url)
        known = with_(hub.settings, "llm", base_url=server.base_url, api_key=KEY)
        wrong = with_(known, "llm", api_key="a wrong key")
        async with Agents(hub, "news", settings=known):
            pass
        async with (
            Agents(hub, "web", "social", "aggregator", settings=known),
            Agents(hub, "academic", settings=wrong),
        ):
            with served(hub) as client:
                begun = (await client.post("/research-parallel", json={"query": "why?"})).json()
                task_id = begun["task_id"]
                assert begun["agents_dispatched"] == 4
                for tries, delay_ms in ((1, 5_000), (2, 10_000)):
                    failed = lambda tries=tries: len(stage.events(task_id, "StepFailed", step="academic")) == tries  # noqa: E731
                    await asyncio.to_thread(seen, failed)
                    await hub.advance(delay_ms)
                await asyncio.to_thread(seen, lambda: stage.events(task_id, "StepDeadLettered", step="academic"))
                await asyncio.to_thread(seen, lambda: stage.events(task_id, "StepCompleted", step="social"))
                assert (await client.get(f"/task/{task_id}")).json()["status"] == "in_progress"
                await hub.advance(15_000)
                record = await ended(hub, client, task_id)
                hanging.set()
    result = record["result"]
    assert (result["completed_agents"], result["timed_out"], result["summary"]) == (1, True, "found")
    web, academic, news, social = result["sources"]
    assert (web, news) == ({"agent": "web", "error": late}, {"agent": "news", "error": late})
    assert "key" in academic["error"] and social == {"agent": "social", "data": {"summary": "found"}}


# -- patterns


async def supervisor(hub: LocalHub) -> None:
    """Three workers: two disagree, which a model judges, and one takes too long, which is its result."""
    began = asyncio.Event()

    async def hang(task: str) -> None:
        began.set()
        await asyncio.Event().wait()

    judgement = {"winner": "alice", "reasoning": "six times seven is 42", "confidence": 0.9}
    workers = [says("alice", 42), says("bob", 37), Agent("carol", hang)]
    names = [worker.name for worker in workers]
    leader = Supervisor(names)
    with ModelServer(lambda _: json.dumps(judgement)) as server:
        async with (
            hub.work(*workers, lease_ms=LEASE_MS, drain_ms=0),
            hub.model(llm(server)) as model,
            hub.judge(model),
        ):
            running = asyncio.create_task(leader.route_and_execute("six times seven?", names, key="seven"))
            await asyncio.wait_for(began.wait(), 20)
            await until(lambda: len(leader.log) == 2)
            await hub.advance(30_000)
            results = await running
            assert results == {"alice": 42, "bob": 37, "carol": {"error": "carol timed out"}}
            found = await leader.resolve(results, key="seven", wait_ms=WAIT_MS)
    resolution = found["resolution"]
    assert found["status"] == "resolved" and resolution["pairs"] == [["alice", "bob"]]
    assert {name: resolution[name] for name in judgement} == judgement
    assert {entry["agent"]: entry["status"] for entry in leader.log} == {
        "alice": "completed",
        "bob": "completed",
        "carol": "timed_out",
    }


async def vote(hub: LocalHub) -> None:
    """2:1 is approved; 1:1 is not, nor is 2:1 where two thirds must be exceeded, nor what three abstain from. Of three
    providers that vote one does not answer."""

    async def counted(key: str, threshold: str, **votes: str) -> str:
        proposal = await hub.propose(f"{key}?", voters=["ada", *votes], key=key, threshold=threshold)
        for voter, choice in votes.items():
            await proposal.vote(choice, voter=voter)
        return (await proposal.outcome(wait_ms=WAIT_MS)).status

    assert await counted("two to one", "1/2", bob="yes", cleo="no") == "approved"
    assert await counted("one to one", "1/2", bob="no") == "rejected"
    assert await counted("two thirds", "2/3", bob="yes", cleo="no") == "rejected"
    quiet = ("bob", "cleo", "dan")
    assert await counted("quiet", "1/2", **dict.fromkeys(quiet, "abstain")) == "approved", "its proposer says yes"
    with accord.replay.open(hub.settings) as log:
        (view,) = [view for view in proposals_at(log.source) if view.id == "quiet"]
    assert recount(view, electorate=quiet)[0][0] == "rejected", "who abstain alone decide nothing"
    with ModelServer(lambda _: "yes") as willing, ModelServer(lambda _: "no") as doubtful:
        where = {"first": willing.base_url, "second": doubtful.base_url, "third": ABSENT}
        async with AsyncExitStack() as stack:
            for name, base_url in where.items():
                settings = LlmSettings(base_url=base_url, model=MODEL, timeout_ms=500)
                model = await stack.enter_async_context(hub.model(settings, agent=name))
                await stack.enter_async_context(hub.voter(model, name=name))
            proposal = await hub.propose("Ship it?", voters=["ada", *where], key="providers")
            outcome = await proposal.outcome(wait_ms=WAIT_MS)
    assert (outcome.status, outcome.yes, outcome.no, outcome.abstain) == ("approved", 2, 1, 1)


async def market(hub: LocalHub) -> None:
    """Three agents bid by what they are able to do and by their load, to the exact score; then three bids as given."""
    busy = asyncio.Event()

    async def works(work: Work) -> str:
        if work.auction == "first":
            await busy.wait()
        return f"{work.description}: done"

    async with AsyncExitStack() as stack:
        bidders = await open_market(stack, hub, dict.fromkeys(AGENTS, works))
        first = await hub.auction(SORT, agents=AGENTS, key="first")
        award = await first.award(wait_ms=WAIT_MS)
        assert award is not None and award.agent_name == "generalist"
        assert scores(await first.look()) == {"python_expert": 0.0256, "writer": 0.0214, "generalist": -0.0144}
        await until(lambda: bidders["generalist"].load == 1)
        for key, description, winner in (("second", SORT, "writer"), ("third", DOCUMENT, "writer")):
            auction = await hub.auction(description, agents=AGENTS, key=key)
            assert await auction.result(wait_ms=WAIT_MS) == f"{description}: done"
            assert (await auction.look()).winner == winner
            if key == "second":
                busy.set()
                await first.result(wait_ms=WAIT_MS)
                await until(lambda: not bidders["generalist"].load)
        assert scores(await auction.look()) == {"writer": -0.0544, "generalist": 0.0614}
        fourth = await hub.auction(RESEARCH, agents=AGENTS, key="fourth")
        await fourth.result(wait_ms=WAIT_MS)
        assert [bid.agent for bid in (await fourth.look()).bids] == ["generalist"]
    given = {"ann": (80, 5, 0.9), "ben": (60, 3, 0.7), "cyd": (90, 4, 0.9)}
    async with AsyncExitStack() as stack:
        for name, terms in given.items():
            bid = lambda _, name=name, terms=terms: Bid(name, *terms)  # noqa: E731
            await stack.enter_async_context(hub.bidder(lambda work: work.auction, bid=bid, name=name))
        fifth = await hub.auction("anything", agents=given, key="fifth")
        assert await fifth.result(wait_ms=WAIT_MS) == "fifth" and (await fifth.look()).winner == "ben"


async def roles(hub: LocalHub) -> None:
    """Four parts, which two executors take in turn; one is rejected, and the integrator is given three."""
    given: list[Any] = []
    team = Roles(
        planners=[says("planner", {"subtasks": ["a", "b", "c", "d"]})],
        executors=[says("ann"), says("ben")],
        reviewers=[says("rex", lambda asked: asked["subtask"] != "c")],
        integrators=[says("ivy", lambda asked: given.append(asked) or [item["content"] for item in asked["results"]])],  # type: ignore[func-returns-value]
    )
    handoffs: list[tuple[str, str, str]] = []
    hub.when("handoff")(lambda event_data: handoffs.append((event_data["item"], event_data["from"], event_data["to"])))
    outcome = await team.run("a shop", key="shop", team="shop")
    await hub.drain(wait_ms=WAIT_MS)
    assert outcome.result == ["ann(a)", "ben(b)", "ben(d)"] and len(given) == 1
    assert [item.id for item in outcome.rejected] == ["result_2"]
    assert len(handoffs) == len(set(handoffs)) == 9


async def dependencies(hub: LocalHub) -> None:
    """Research, writing and editing by three workers. The writing fails: nothing is edited, the research is there."""
    graph = TaskGraph("article", team="newsroom")

    @graph.step(capability="research")
    def research(input: str) -> str:
        return f"facts about {input}"

    @graph.step(after=[research], capability="write")
    def write(input: str, research: str) -> str:
        if input == "ghosts":
            raise GiveUp("nothing is known")
        return research.capitalize()

    @graph.step(after=[write], capability="edit")
    def edit(write: str) -> str:
        return f"{write}."

    async with AsyncExitStack() as stack:
        for capability in ("research", "write", "edit"):
            await stack.enter_async_context(hub.work(graph, capabilities=[capability]))
        good = await hub.submit(graph, "cats", key="cats")
        assert await good.result(wait_ms=WAIT_MS) == "Facts about cats."
        bad = await hub.submit(graph, "ghosts", key="ghosts")
        with pytest.raises(accord.TaskFailedError, match="its step write"):
            await bad.result(wait_ms=WAIT_MS)
        record = await bad.record()
    assert [(step["name"], step["result"]) for step in record["steps"]] == [("research", "facts about ghosts")]
    assert [(step["name"], step["status"]) for step in record["failed_steps"]] == [
        ("write", "failed"),
        ("edit", "blocked"),
    ]


async def duplicate_work(hub: LocalHub) -> None:
    """Of two who claim a topic one does it and the other takes another; 42 or 37 is resolved; C waits for A."""
    ground = hub.ground("project")
    async with ground.intend("research", topic="X", agent="a"):
        with pytest.raises(accord.ConflictLost, match="is done by another by a"):
            await ground.intend("research", topic="x!", agent="b").declare()
        async with ground.intend("research", topic="Y", agent="b"):
            pass
    said = json.dumps({"winner": "b", "reasoning": "37 is prime", "confidence": 0.85})
    answers = [{"agent": "a", "recommendation": 42}, {"agent": "b", "recommendation": 37}]
    with ModelServer(lambda _: said) as server:
        async with hub.model(llm(server)) as model, hub.judge(model):
            found = await hub.findings(answers, ground="project", key="answers", wait_ms=WAIT_MS)
    assert (found["status"], found["resolution"]["winner"]) == ("resolved", "b")
    async with ground.intend("write", target="plan", agent="a"):
        waiting = ground.intend("write", target="plan", agent="c")
        assert (await waiting.declare(), waiting.behind) == ("queued", ("a",))
    await waiting.turn(wait_ms=WAIT_MS)
    await waiting.finish()


SCENARIOS: dict[str, Callable[[LocalHub], Coroutine[Any, Any, None]]] = {
    play.__name__: play
    for play in (
        hotel_race,
        data_analysis,
        rate_limit,
        customer_record,
        content_pipeline,
        parallel_research,
        supervisor,
        vote,
        market,
        roles,
        dependencies,
        duplicate_work,
    )
}
