"""Patterns by themselves and within each other, on an embedded log."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from typing import Any

import pytest
from accord.agents.agent import Agent
from accord.agents.patterns import (
    Pattern,
    best_of,
    consensus,
    event_driven,
    hierarchical,
    parallel,
    sequential,
)
from accord.agents.tasks.graph import GiveUp

from accord import TaskGraph
from accord.errors import BadInput, Failure, TermsDiffer
from tests.agents.patterns.support import directly, says
from tests.agents.test_tasks import MakeHub, in_loop, until

NO = GiveUp("no ink")


_numbers = itertools.count()


async def run(make_hub: MakeHub, pattern: Pattern, input: Any = "x", **terms: Any) -> Any:
    """In a team of its own: agents that fail too often are not asked any more."""
    team = terms.pop("team", f"team-{next(_numbers)}")
    async with make_hub("ada"):
        return await asyncio.wait_for(pattern.run(input, team=team, **terms), 20)


def test_a_chain_hands_on_what_it_has_and_names_the_step_that_fails() -> None:
    chain = sequential(says("a"), says("b"), sequential(says("c"), name="inner"))
    assert directly(chain) == "c(b(a(x)))"
    told: list[Any] = []
    broken = sequential(says("a"), says("b", NO), says("c", told=told), name="report")
    with pytest.raises(Failure, match="report ended at step 2 of 3, b: no ink") as failed:
        directly(broken)
    assert (failed.value.agent, failed.value.details["status"], told) == ("b", "failed", [])
    again = says("a")
    assert directly(sequential(again, again)) == "a(a(x))"


def test_all_at_once_and_errors_in_place_of_results() -> None:
    together = asyncio.Barrier(4)

    async def meet(task: str) -> str:
        async with together:
            return task

    wide = parallel(*[Agent(f"agent-{number}", meet) for number in range(4)])
    assert directly(wide) == {f"agent-{number}": "x" for number in range(4)}
    some = directly(parallel(says("a", NO), says("b")))
    assert some == {"a": {"error": "no ink"}, "b": "b(x)"} and list(some) == ["a", "b"]
    assert isinstance(some["a"], Failure)
    with pytest.raises(Failure, match=r"none of 2 parts of parallel has a result \(a: no ink; b: no ink\)"):
        directly(parallel(says("a", NO), says("b", NO)))


def test_managers_split_delegate_and_aggregate_their_own_part() -> None:
    told: list[tuple[str, Any]] = []

    def manager(name: str, *members: Any) -> Pattern:
        split = says(f"{name} splits", lambda asked: {one: f"{asked['task']}/{one}" for one in asked["members"]}, told)
        merge = says(f"{name} merges", lambda asked: [name, *asked["results"].values()], told)
        return hierarchical(*members, split=split, merge=merge, name=name)

    research = manager("research", says("scraper", told=told), says("analyzer", told=told))
    content = manager("content", says("writer", told=told), says("editor", told=told))
    assert directly(manager("master", research, content)) == [
        "master",
        ["research", "scraper(x/research/scraper)", "analyzer(x/research/analyzer)"],
        ["content", "writer(x/content/writer)", "editor(x/content/editor)"],
    ]
    assert told[0] == ("master splits", {"task": "x", "members": ["research", "content"]})
    assert len(told) == 10, "each is asked once"
    for parts in ({"b": 1}, {}, "a"):
        wrong = hierarchical(
            says("a"), split=says("split", lambda _, parts=parts: parts), merge=says("merge"), name="m"
        )
        with pytest.raises(Failure, match=r"m has split its task into .* for some of \['a'\]"):
            directly(wrong)
    one = hierarchical(says("a"), says("b", NO), split=says("split", {"a": 1, "b": 2}), merge=says("merge"), name="m")
    assert "'b': {'error': 'no ink'}" in directly(one)


@in_loop
async def test_who_reacts_is_delayed_by_nobody_else(make_hub: MakeHub) -> None:
    """The archiver ends only when all others are done."""
    done = asyncio.Event()

    async def archive(task: str) -> str:
        await asyncio.wait_for(done.wait(), 10)
        return "archived"

    notified: list[str] = []

    async def notify(task: str) -> str:
        notified.append(task)
        if len(notified) == 2:
            done.set()
        return f"told {task}"

    notifier, analyzer = Agent("notifier", notify), says("analyzer")
    feed = event_driven(
        says("collector"),
        {"collector": [analyzer, notifier, Agent("archiver", archive), says("broken", NO)], "analyzer": [notifier]},
        name="feed",
    )
    heard: list[dict[str, Any]] = []
    async with make_hub("ada") as hub:
        hub.when("feed.analyzer", name="stranger")(lambda event_data: heard.append(dict(event_data)))
        found = await asyncio.wait_for(feed.run("x", key="news"), 20)
        again = await asyncio.wait_for(feed.run("x", key="news"), 20)
        await hub.drain(wait_ms=10_000)
    assert (
        found
        == again
        == {
            "result": "collector(x)",
            "reactions": {
                "collector": {
                    "analyzer": "analyzer(collector(x))",
                    "notifier": "told collector(x)",
                    "archiver": "archived",
                    "broken": {"error": "no ink"},
                },
                "analyzer": {"notifier": "told analyzer(collector(x))"},
            },
        }
    )
    assert sorted(notified) == ["analyzer(collector(x))", "collector(x)"]
    assert heard == [{"run": "news", "result": "analyzer(collector(x))"}], "an event is emitted once a run"


@in_loop
async def test_reactions_without_anybody_who_drives_them(make_hub: MakeHub) -> None:
    told: list[tuple[str, Any]] = []
    analyzer, notifier = says("analyzer", told=told), says("notifier", told=told)
    stream = event_driven("collector", {"collector": [analyzer, notifier], "analyzer": [notifier]}, name="stream")
    async with make_hub("ada") as hub, make_hub("bob") as other:
        stream.react(hub)
        stream.react(other)
        for _ in range(2):
            await hub.emit("stream.collector", {"run": "stream-1", "result": "x"})
        await until(lambda: len(told) == 3)
        await hub.drain(wait_ms=10_000)
        await other.drain(wait_ms=10_000)
        await hub.drain(wait_ms=10_000)
    assert Counter(told) == {("analyzer", "x"): 1, ("notifier", "x"): 1, ("notifier", "analyzer(x)"): 1}


def test_agreement() -> None:
    def asked(*answers: Any, **terms: Any) -> Pattern:
        return consensus(*[says(f"m{number}", answer) for number, answer in enumerate(answers)], **terms)

    found = directly(asked(42, 37, 42))
    assert (found["answer"], found["decided_by"], found["reason"]) == (42, "majority", "2 of 3 say so")
    assert (directly(asked(42, NO, 42)))["answers"]["m1"] == {"error": "no ink"}
    with pytest.raises(Failure, match="1 of 3 have answered consensus; 2 are needed"):
        directly(asked(42, NO, NO))
    with pytest.raises(Failure, match="2 different answers and no majority"):
        directly(asked(42, 37))
    with pytest.raises(Failure, match="no majority"):
        directly(asked(42, 37, 42, threshold="2/3"))
    judge = says("judge", lambda asked: max(asked["answers"].values()))
    judged = directly(asked(42, 37, NO, judge=judge))
    assert (judged["answer"], judged["decided_by"]) == (42, "judge")
    for word in (True, "approved", {"approved": True}):
        approved = directly(asked(42, expert=says("doctor", word)))
        assert approved["approved_by"] == "doctor"
    for word in ("no", "I do not know", {"approved": "yes"}):
        with pytest.raises(Failure, match="doctor does not approve the answer of consensus"):
            directly(asked(42, expert=says("doctor", word)))


def test_the_best_by_score_vote_or_judge() -> None:
    solvers = says("a", 3), says("b", 5), says("c", NO), says("d", 5)
    scored = directly(best_of(*solvers, score=lambda solution: solution))
    assert (scored["winner"], scored["solution"], scored["reason"]) == ("b", 5, "score a 3, b 5, d 5")
    assert scored["solutions"]["c"] == {"error": "no ink"}
    votes = [says(f"v{number}", vote) for number, vote in enumerate(("d", " d ", "a", "c", "I vote b", NO))]
    voted = directly(best_of(*solvers, voters=votes))
    assert (voted["winner"], voted["reason"]) == ("d", "votes a 1, b 0, d 2")
    judged = directly(best_of(*solvers, judge=says("judge", {"winner": "a", "reason": "shorter"})))
    assert (judged["winner"], judged["reason"]) == ("a", "judge: shorter")
    for word in ("c", {"winner": "mallory"}, {"winner": ["a"]}, 7):
        with pytest.raises(Failure, match=r"judge names .*, which is none of \['a', 'b', 'd'\]"):
            directly(best_of(*solvers, judge=says("judge", word)))
    with pytest.raises(Failure, match="nobody has voted"):
        directly(best_of(*solvers, voters=votes[3:]))


@in_loop
async def test_a_run_that_is_made_again_does_nothing_twice(make_hub: MakeHub) -> None:
    told: list[tuple[str, Any]] = []
    a, b, c = (says(name, told=told) for name in "abc")
    deep = sequential(parallel(a, b, name="wide"), best_of(c, score=str.__len__, name="best"), name="deep")
    first = await run(make_hub, deep, key="deep-1", team="deep")
    assert await run(make_hub, deep, key="deep-1", team="deep") == first
    assert sorted(name for name, _ in told) == ["a", "b", "c"]
    with pytest.raises(TermsDiffer, match=r"deep-1/1\.wide/a is another task"):
        await run(make_hub, deep, "y", key="deep-1")
    await run(make_hub, deep, key="deep-2")
    assert len(told) == 6


@in_loop
async def test_agents_that_work_elsewhere_and_names_that_are_long(make_hub: MakeHub) -> None:
    told: list[tuple[str, Any]] = []
    far = says("far-" + "x" * 190, told=told)
    async with make_hub("ada"), make_hub("bob") as bob, bob.work(far):
        chain = sequential(parallel(far.name, name="p" * 100), name="chain")
        first = await chain.run("x", key="k" * 120)
        assert await chain.run("x", key="k" * 120) == first
    assert len(told) == 1


@in_loop
async def test_runs_side_by_side_share_the_agents(make_hub: MakeHub) -> None:
    """The run that ends first takes nothing from the others."""
    late = asyncio.Event()

    async def wait(task: int) -> int:
        if task:
            await late.wait()
        return task

    chain = sequential(Agent("waits", wait))
    async with make_hub("ada") as hub:
        runs = [asyncio.create_task(chain.run(task, hub=hub)) for task in range(10)]
        assert await asyncio.wait_for(runs[0], 10) == 0
        late.set()
        assert await asyncio.wait_for(asyncio.gather(*runs), 10) == list(range(10))


@in_loop
async def test_who_gives_up_waiting_takes_the_calls_back(make_hub: MakeHub) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def hang(task: str) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with make_hub("ada") as hub, make_hub("bob") as bob, bob.work(Agent("hangs", hang)):
        running = asyncio.create_task(sequential("hangs").run(hub=hub))
        await asyncio.wait_for(begun.wait(), 10)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await asyncio.wait_for(ended.wait(), 10)


@in_loop
async def test_an_agents_parameters_in_any_graph(make_hub: MakeHub) -> None:
    graph = TaskGraph("plain")
    graph.add("first", lambda: "one")
    graph.add("other", lambda: 1 / 0, optional=True, retries=0)
    graph.add("last", after=["first", "other"], capability="agent")
    seen: list[Any] = []

    def run(task: Any, context: Any, input: Any) -> None:
        seen.append((task, context, input))

    async with make_hub("ada") as hub, hub.work(graph, Agent("agent", run)):
        await (await hub.submit(graph, "x")).result(wait_ms=20_000)
    results = {"first": "one", "other": {"error": "division by zero"}}
    assert seen == [("x", {"task": "x", "results": results}, "x")]


def test_what_cannot_be_a_pattern_is_refused() -> None:
    a = says("a")
    for make, text in (
        (sequential, "of no parts"),
        (parallel, "1 or more are needed"),
        (lambda: parallel(a, "a"), "each with a name of its own"),
        (lambda: sequential(a, says("a")), "two agents are called a"),
        (lambda: sequential(parallel(a), parallel(says("a"))), "two agents are called a"),
        (lambda: sequential(print), "is no agent"),
        (lambda: hierarchical(split=a, merge=a, name="m"), "has no members"),
        (lambda: best_of(a), "takes one of score, voters and judge"),
        (lambda: best_of(a, judge=a, score=len), "takes one of score, voters and judge"),
        (lambda: consensus(a, least=2), "least=2"),
        (lambda: event_driven(a, {"a": ["b"], "b": ["a"]}, name="e"), "goes in a circle: a -> b -> a"),
        (lambda: event_driven(a, {"c": ["b"]}, name="e"), r"\['c'\] publish nothing"),
    ):
        with pytest.raises(BadInput, match=text):
            make()


@in_loop
async def test_what_cannot_be_run_is_refused_before_anything_begins(make_hub: MakeHub) -> None:
    for terms, text in (
        ({"key": "k" * 121}, "120 are the most"),
        ({"max_running": 0}, "max_running=0"),
        ({"timeout_ms": 1.5}, "timeout_ms=1.5"),
        ({"retries": -1}, "retries=-1"),
    ):
        with pytest.raises(BadInput, match=text):
            await run(make_hub, sequential(says("a")), **terms)
