"""A supervisor: results, failures as results, retries, limits, its log, what it saves."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from accord.agents.agent import Agent
from accord.agents.patterns import Supervisor, asks
from accord.agents.tasks.graph import GiveUp

from accord import Judgement
from accord.embedded import Embedded
from accord.errors import BadInput, Failure, TermsDiffer
from accord.testing.model_server import ModelServer
from tests.agents.patterns.support import says
from tests.agents.support import with_
from tests.agents.test_tasks import MakeHub, in_loop, until

NO = GiveUp("no ink")


def told_of(supervisor: Supervisor) -> list[tuple[str, str, Any]]:
    return [(entry["agent"], entry["status"], entry["result"]) for entry in supervisor.log]


@in_loop
async def test_side_by_side_and_errors_are_values(make_hub: MakeHub) -> None:
    together = asyncio.Barrier(2)

    async def meet(task: str, context: dict[str, Any]) -> dict[str, Any]:
        async with together:
            return context

    supervisor = Supervisor([Agent("a", meet), Agent("b", meet), says("c", NO)], retries=0)
    async with make_hub("ada"):
        results = await supervisor.route_and_execute("whales", ["b", "c", "a"])
    context = {"task": "whales", "results": {}}
    assert list(results) == ["b", "c", "a"]
    assert results == {"a": context, "b": context, "c": {"error": "no ink"}}
    assert isinstance(results["c"], Exception) and isinstance(results["c"], Failure)
    assert results["c"]["error"] == "no ink" and results["c"].agent == "c"
    assert sorted(told_of(supervisor), key=str) == [
        ("a", "completed", context),
        ("b", "completed", context),
        ("c", "failed", results["c"]),
    ]


@in_loop
async def test_one_after_the_other_with_the_results_so_far(make_hub: MakeHub) -> None:
    def look(task: str, context: dict[str, Any]) -> Any:
        return context["task"], dict(context["results"])

    supervisor = Supervisor([Agent("a", look), says("b", NO), Agent("c", look)])
    async with make_hub("ada"):
        results = await supervisor.route_and_execute("whales", ["c", "b", "a"], parallel=False)
    assert results == {
        "c": ["whales", {}],
        "b": {"error": "no ink"},
        "a": ["whales", {"c": ["whales", {}], "b": {"error": "no ink"}}],
    }
    assert [entry[:2] for entry in told_of(supervisor)] == [("c", "completed"), ("b", "failed"), ("a", "completed")]


@in_loop
async def test_an_unknown_agent_is_refused_before_anything_begins_and_none_is_nothing(make_hub: MakeHub) -> None:
    told: list[Any] = []
    supervisor = Supervisor([says("a", told=told), "b"])
    with pytest.raises(BadInput, match=r"unknown agents: 'mallory'\. There are: a, b\."):
        await supervisor.route_and_execute("x", ["a", "mallory"])
    with pytest.raises(BadInput, match="one is named twice"):
        await supervisor.route_and_execute("x", ["a", "a"])
    assert await supervisor.route_and_execute("x", []) == {}
    assert await supervisor.route_and_execute_all(["x", "y"], []) == [{}, {}]
    assert not told
    with pytest.raises(BadInput, match="two agents are called a"):
        Supervisor([says("a"), says("a")])


@in_loop
async def test_one_retry_then_the_error_is_the_result_and_every_run_is_told(
    make_hub: MakeHub, embedded: Embedded
) -> None:
    tries = {"once": 0, "always": 0}

    def flaky(name: str) -> Agent:
        def run(task: str) -> str:
            tries[name] += 1
            if name == "always" or tries[name] == 1:
                raise OSError(f"{name} {tries[name]}")
            return "done"

        return Agent(name, run)

    supervisor = Supervisor([flaky("once"), flaky("always")], timeout_ms=60_000)
    async with make_hub("ada"):
        running = asyncio.create_task(supervisor.route_and_execute("x", ["once", "always"]))
        await until(lambda: tries == {"once": 1, "always": 1})
        while not running.done():
            await asyncio.to_thread(embedded.advance, 1_000)
            await asyncio.sleep(0.02)
        assert await running == {"once": "done", "always": {"error": "always 2"}}
    assert tries == {"once": 2, "always": 2}
    told = [(agent, status, dict(r) if isinstance(r, Failure) else r) for agent, status, r in told_of(supervisor)]
    assert sorted(told, key=str) == [
        ("always", "failed", {"error": "always 1"}),
        ("always", "failed", {"error": "always 2"}),
        ("once", "completed", "done"),
        ("once", "failed", {"error": "once 1"}),
    ]


@in_loop
async def test_who_takes_too_long_is_cancelled_and_stops_no_other(make_hub: MakeHub, embedded: Embedded) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def hang(task: str) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    agents = {"slow": Agent("slow", hang), "quick": says("quick", "done"), "absent": "absent"}
    for parallel, needed in ((True, ["slow", "quick", "absent"]), (False, ["slow", "absent"])):
        supervisor = Supervisor(agents.values(), team=f"parallel={parallel}")
        begun.clear()
        ended.clear()
        async with make_hub("ada"):
            running = asyncio.create_task(supervisor.route_and_execute("x", needed, parallel))
            await asyncio.wait_for(begun.wait(), 10)
            await until(lambda parallel=parallel, log=supervisor.log: log or not parallel)  # the quick one
            while not running.done():
                await asyncio.to_thread(embedded.advance, 30_000)
                await asyncio.sleep(0.05)
            late = {"slow": {"error": "slow timed out"}, "absent": {"error": "absent timed out"}}
            assert await running == late | ({"quick": "done"} if parallel else {})
            await asyncio.wait_for(ended.wait(), 10)
        told = {agent: (status, result) for agent, status, result in told_of(supervisor)}
        assert told.pop("quick", None) == (("completed", "done") if parallel else None)
        assert told == {name: ("timed_out", result) for name, result in late.items()}
        assert len(supervisor.log) == len(needed)


@in_loop
async def test_no_more_than_some_run_at_a_time(make_hub: MakeHub) -> None:
    running, most, gate = set[str](), 0, asyncio.Event()

    def agent(name: str) -> Agent:
        async def run(task: str) -> None:
            nonlocal most
            running.add(name)
            most = max(most, len(running))
            if len(running) == 3:
                gate.set()
            await asyncio.wait_for(gate.wait(), 10)
            running.remove(name)

        return Agent(name, run)

    names = [f"agent-{number}" for number in range(9)]
    async with make_hub("ada"):
        await Supervisor(map(agent, names), max_running=3).route_and_execute("x", names)
    assert most == 3


@in_loop
async def test_a_supervisor_that_begins_again_runs_nothing_twice_and_tells_all_runs(make_hub: MakeHub) -> None:
    told: list[Any] = []
    agents = [says("a", told=told), says("b", NO, told=told)]
    async with make_hub("ada"):
        first = Supervisor(agents)
        results = await first.route_and_execute("x", ["a", "b"], key="job-1")
        second = Supervisor(agents)
        assert await second.route_and_execute("x", ["a", "b"], key="job-1") == results
        assert sorted(told_of(second), key=str) == sorted(told_of(first), key=str) and len(second.log) == 2
        with pytest.raises(TermsDiffer, match="job-1/a is another task"):
            await second.route_and_execute("y", ["a", "b"], key="job-1")
    assert len(told) == 2


@in_loop
async def test_similar_tasks_are_given_together(make_hub: MakeHub) -> None:
    given: list[Any] = []

    async def tag(tasks: list[dict[str, str]]) -> list[str]:
        given.append(tasks)
        if {"text": "bad"} in tasks:
            raise GiveUp("no ink")
        return [task["text"].upper() for task in tasks]

    told: list[Any] = []
    supervisor = Supervisor([Agent("tagger", tag, batch=2), says("reader", lambda task: len(task["text"]), told=told)])
    texts = ["one", "two", "one", "three", "bad", "two"]
    async with make_hub("ada"):
        tasks = [{"text": text} for text in texts]
        found = await supervisor.route_and_execute_all(tasks, ["reader", "tagger"], key="tags")
        assert await supervisor.route_and_execute_all(tasks, ["reader", "tagger"], key="tags") == found
        alone = await supervisor.route_and_execute({"text": "alone"}, ["tagger"])
    no = {"error": "no ink"}
    assert [one["tagger"] for one in found] == ["ONE", "TWO", "ONE", no, no, "TWO"]
    assert [one["reader"] for one in found] == [len(text) for text in texts]
    assert given == [[{"text": "one"}, {"text": "two"}], [{"text": "three"}, {"text": "bad"}], [{"text": "alone"}]]
    assert len(told) == 4 and alone == {"tagger": "ALONE"}


@pytest.mark.parametrize("returned", [["one"], "xx", {"0": 1}])
def test_a_batch_needs_a_result_for_each_task(returned: Any, make_hub: MakeHub) -> None:
    @in_loop
    async def main() -> None:
        supervisor = Supervisor([Agent("tagger", lambda tasks: returned, batch=2)])
        async with make_hub("ada"):
            (one, two) = await supervisor.route_and_execute_all(["x", "y"], ["tagger"])
        assert one == two and one["tagger"]["error"].startswith("it was given 2 tasks and returned ")

    main()


@in_loop
async def test_whose_result_counts_where_they_differ(make_hub: MakeHub) -> None:
    seen: list[Any] = []

    def judge(matter: Any) -> Judgement:
        seen.append(matter)
        return Judgement("b", "37 is prime", 0.9)

    supervisor = Supervisor([])
    differ = {
        "a": 42,
        "b": {"recommendation": 37, "priority": 10, "agent": "mallory", "why": "prime"},
        "c": Failure("late"),
    }
    async with make_hub("ada") as hub, hub.judge(judge):
        found = await supervisor.resolve(differ, key="differ", wait_ms=20_000)
        again = await supervisor.resolve(differ, key="differ", wait_ms=20_000)
        same = await supervisor.resolve({"a": 42, "c": Failure("late")}, wait_ms=20_000)
        none = await supervisor.resolve({"c": Failure("late")})
    resolution = found["resolution"]
    assert again["resolution"] | {"position": ""} == resolution | {"position": ""}
    assert (resolution["winner"], resolution["reasoning"], resolution["confidence"]) == ("b", "37 is prime", 0.9)
    assert (resolution["by_rule"], resolution["pairs"], len(seen)) == ("a", [["a", "b"]], 1)
    assert same["status"] == none["status"] == "no_conflicts"


@in_loop
async def test_simple_agents_ask_the_cheaper_model_and_nobody_asks_twice(make_hub: MakeHub) -> None:
    asked: list[str] = []

    def answer(prompt: str) -> str:
        asked.append(prompt)
        return f"about {prompt.splitlines()[0]}"

    with ModelServer(answer) as server:
        async with make_hub("ada") as hub:
            hub.use(with_(hub.settings, "llm", base_url=server.base_url, model="large", simple_model="small"))
            models = []

            async def see(task: str, model: Any) -> str:
                models.append(model.settings.model)
                return "seen"

            supervisor = Supervisor(
                [
                    Agent("simple", asks("Answer."), simple=True),
                    Agent("clever", asks("Answer.")),
                    Agent("large", see),
                    Agent("small", see, simple=True),
                ]
            )
            for _ in range(2):
                found = await supervisor.route_and_execute("whales", ["simple", "clever"], parallel=False)
                assert found == {"simple": "about whales", "clever": "about whales"}
            await supervisor.route_and_execute("whales", ["large", "small"], parallel=False)
            assert models == ["large", "small"]
    assert asked == ["whales", "whales\n\nsimple:\nabout whales"], "a repeated question is answered from the log"


@in_loop
async def test_a_question_that_the_endpoint_cannot_take_is_asked_once(make_hub: MakeHub) -> None:
    with ModelServer() as server:
        async with make_hub("ada") as hub:
            hub.use(with_(hub.settings, "llm", base_url=server.base_url))
            supervisor = Supervisor([Agent("a", asks("Answer."))], team="questions")
            found = await supervisor.route_and_execute("", ["a"])
    assert isinstance(found["a"], Failure) and len(supervisor.log) == 1
