"""Tasks by programs: graphs, agents at work, what becomes of steps that fail, hang or are left."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from accord.agents.agent import Agent
from accord.agents.client import Accord
from accord.agents.tasks.call import Terms, call
from accord.agents.tasks.graph import GiveUp, Run, TaskGraph
from accord.agents.tasks.handle import Handle
from accord.schemas.messages.roster import ReadTeam

from accord import sync
from accord.embedded import Embedded
from accord.errors import (
    BadInput,
    NotConnected,
    NotFound,
    Overloaded,
    TaskCancelledError,
    TaskFailedError,
    TermsDiffer,
    Unavailable,
)
from tests.agents.support import run, with_

ANSWERS = ("events", "inbox")
LEASE_MS = 86_400_000
"""Of members: the tests move the log's clock."""

MakeHub = Callable[..., Accord]


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """An async test as pytest runs it."""

    @functools.wraps(test)
    def wrapped(**fixtures: Any) -> None:
        run(test(**fixtures))

    return wrapped


def graph_of(name: str, *steps: Callable[..., Any], **terms: Any) -> TaskGraph:
    """A chain of steps."""
    graph = TaskGraph(name, team=name)
    for before, step in zip((None, *steps), steps, strict=False):
        graph.add(step.__name__, step, after=[before] if before else [], **terms)
    return graph


async def outcome(hub: Accord, graph: TaskGraph, input: Any = None, **submit: Any) -> Any:
    handle = await hub.submit(graph, input, **submit)
    return await handle.result(wait_ms=20_000)


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 (other threads bring it about)
            await asyncio.sleep(0.01)


async def until_step(handle: Handle, status: str) -> dict[str, Any]:
    """The first of the steps that were not completed, once it has this status."""
    async with asyncio.timeout(20):
        while True:
            failed = (await handle.record())["failed_steps"]
            if failed and failed[0]["status"] == status:
                return dict(failed[0])
            await asyncio.sleep(0.02)


@pytest.mark.each_source
@in_loop
async def test_steps_run_one_after_the_other_each_with_the_results_before(make_hub: MakeHub) -> None:
    def research(input: dict[str, str]) -> dict[str, Any]:
        return {"facts": [input["topic"]], "thread": threading.current_thread() is threading.main_thread()}

    async def write(research: dict[str, Any], input: Any, step: Run) -> str:
        assert step.inputs == {"research": research} and step.errors == {} and step.key == "cats/write"
        return f"about {research['facts'][0]} by {step.name}"

    async def edit(write: str) -> dict[str, Any]:
        return {"final_article": write.upper(), "word_count": len(write.split())}

    graph = graph_of("content_creation", research, write, edit)
    async with make_hub("ada") as hub, hub.work(graph):
        handle = await hub.submit(graph, {"topic": "cats"}, key="cats")
        article = {"final_article": "ABOUT CATS BY WRITE", "word_count": 4}
        assert await handle.result(wait_ms=20_000) == article
        record = await handle.record()
        assert record | {"steps": [], "created_at": "", "completed_at": ""} == {
            "id": "cats",
            "type": "content_creation",
            "status": "completed",
            "input": {"topic": "cats"},
            "created_at": "",
            "steps": [],
            "failed_steps": [],
            "result": article,
            "completed_at": "",
            "error": "",
        }
        assert [step["name"] for step in record["steps"]] == ["research", "write", "edit"]
        assert record["steps"][0]["result"] == {"facts": ["cats"], "thread": False}, "a plain function has a thread"
        assert record["steps"][2]["completed_at"] == record["completed_at"] > record["created_at"]
        later = await hub.task("cats")
        assert await later.result() == article
        assert not await later.cancel("too late")


@pytest.mark.each_source
@in_loop
async def test_what_does_not_wait_for_each_other_runs_at_once(make_hub: MakeHub) -> None:
    together = asyncio.Barrier(4)
    graph = TaskGraph("wide", team="wide")

    async def meet(step: Run) -> str:
        async with together:
            return step.name

    for number in range(4):
        graph.add(f"part{number}", meet)
    graph.add("join", lambda step: dict(step.inputs), after=[f"part{n}" for n in range(4)])
    async with make_hub("ada") as hub, make_hub("bob") as other, hub.work(graph, slots=2), other.work(graph, slots=2):
        assert await outcome(hub, graph) == {f"part{n}": f"part{n}" for n in range(4)}


@pytest.mark.each_source
@in_loop
async def test_a_call_that_is_made_again_is_the_same(make_hub: MakeHub) -> None:
    told: list[str] = []

    def run(task: str) -> str:
        told.append(task)
        if task == "bad":
            raise GiveUp("no ink")
        return f"done {task}"

    terms = Terms(30_000, 1, "callers")
    async with make_hub("ada") as hub, make_hub("bob") as other, hub.work(Agent("worker", run), team="callers"):
        for caller in (hub, other):
            good = await call(caller, "worker", "good", terms, key="call-good")
            bad = await call(caller, "worker", "bad", terms, key="call-bad")
            assert (good.status, good.value, list(good.runs)) == ("completed", "done good", [])
            assert (bad.status, bad.value) == ("failed", {"error": "no ink"}) and bad.failure is bad.value
            assert [(run.agent, run.status, run.error) for run in bad.runs] == [("ada", "failed", "no ink")]
        with pytest.raises(TermsDiffer, match="call-good is another task"):
            await call(hub, "worker", "other", terms, key="call-good")
    assert sorted(told) == ["bad", "good"]


@pytest.mark.parametrize("here", [False, True])
def test_an_agent_that_is_away_is_not_asked_unless_it_is_the_callers_own(here: bool, make_hub: MakeHub) -> None:
    terms, count = Terms(60_000, 0, f"away-{here}"), 5 + here

    async def waiting(hub: Accord) -> int:
        answer = await asyncio.wrap_future(hub.connection.submit("roster", terms.team, ReadTeam("ada")).decided)
        return int(answer.events[-1].waiting)  # type: ignore[attr-defined]

    @in_loop
    async def main() -> None:
        async with make_hub("ada") as hub:
            keys = [f"away-{here}-{number}" for number in range(count)]
            asked = [asyncio.create_task(call(hub, "ghost", "x", terms, key=key, here=here)) for key in keys]
            async with asyncio.timeout(20):
                while await waiting(hub) < count:  # noqa: ASYNC110 (the log brings it about)
                    await asyncio.sleep(0.01)
            if not here:
                found = await call(hub, "ghost", "x", terms, key="one too many")
                assert found.status == "skipped"
                assert found.value == {"error": "ghost was not asked: it failed too often of late"}
            async with hub.work(Agent("ghost", lambda task: "boo"), team=terms.team):
                assert {one.value for one in await asyncio.wait_for(asyncio.gather(*asked), 20)} == {"boo"}

    main()


@in_loop
async def test_several_last_steps_are_a_result_together(make_hub: MakeHub) -> None:
    graph = TaskGraph("two", team="two")
    graph.add("one", lambda: 1)
    graph.add("other", lambda: None)
    async with make_hub("ada") as hub, hub.work(graph):
        assert await outcome(hub, graph) == {"one": 1, "other": None}


@in_loop
async def test_who_is_able_gets_the_step(make_hub: MakeHub) -> None:
    graph = TaskGraph("typed", team="typed")
    ran: list[str] = []

    @graph.step(capability="research")
    async def research() -> None:
        ran.append("research")

    @graph.step(after=[research], capability="write")
    async def write() -> None:
        ran.append("write")

    async with make_hub("ada") as hub, make_hub("bob") as other:
        async with hub.work(graph, capabilities=["research"]) as researcher:
            handle = await hub.submit(graph)
            await until(lambda: ran)
            with pytest.raises(Unavailable, match="has not ended within 100 ms"):
                await handle.result(wait_ms=100)
            async with other.work(graph, capabilities=["write"]) as writer:
                assert await handle.result(wait_ms=20_000) is None
        assert ran == ["research", "write"]
        assert (researcher.capabilities, writer.capabilities) == (("research",), ("write",))


@in_loop
async def test_a_failed_step_is_run_again_after_5_10_and_15_s_then_given_up(
    make_hub: MakeHub, embedded: Embedded
) -> None:
    tries: list[tuple[str, int]] = []

    async def flaky(input: int, step: Run) -> str:
        tries.append((step.key, step.tries))
        if len(tries) <= input:
            raise ValueError(f"try {len(tries)}")
        return "done"

    def after(flaky: str) -> str:
        return flaky + " and after"

    graph = graph_of("flaky", flaky, after)
    async with make_hub("ada") as hub, hub.work(graph, lease_ms=LEASE_MS):
        handle = await hub.submit(graph, 2, key="twice")
        for count, wait_ms in ((1, 5_000), (2, 10_000)):
            await until(lambda count=count: len(tries) == count)
            await asyncio.sleep(0.1)  # its failure is told
            await asyncio.to_thread(embedded.advance, wait_ms)
        assert await handle.result(wait_ms=20_000) == "done and after"
        assert tries == [("twice/flaky", 0), ("twice/flaky", 1), ("twice/flaky", 2)]
        tries.clear()
        handle = await hub.submit(graph, 9)
        for count in range(1, 4):
            await until(lambda count=count: len(tries) == count)
            await asyncio.sleep(0.1)
            await asyncio.to_thread(embedded.advance, 15_000)
        with pytest.raises(TaskFailedError, match=r"failed at its step flaky \(MaxRetriesExceeded\)") as failed:
            await handle.result(wait_ms=20_000)
        assert failed.value.details == {"step": "flaky", "reason": "MaxRetriesExceeded"}
        assert len(tries) == 4
        record = await handle.record()
        assert record["status"] == "failed" and record["result"] is None
        assert record["failed_steps"] == [
            {"name": "flaky", "status": "failed", "error": "try 4"},
            {"name": "after", "status": "blocked", "error": ""},
        ]
        with pytest.raises(TaskFailedError, match="MaxRetriesExceeded"):
            await (await hub.task(handle.id)).result()


@in_loop
async def test_what_cannot_succeed_is_given_up_at_once(make_hub: MakeHub) -> None:
    def hopeless(input: str) -> object:
        if input == "give up":
            raise GiveUp("no such topic")
        return {"db": object()}

    graph = graph_of("hopeless", hopeless)
    async with make_hub("ada") as hub, hub.work(graph):
        for input, error in (
            ("give up", "no such topic"),
            ("object", "hopeless() returned an object at $.db; a result is JSON"),
        ):
            handle = await hub.submit(graph, input)
            with pytest.raises(TaskFailedError, match="Failed"):
                await handle.result(wait_ms=20_000)
            (step,) = (await handle.record())["failed_steps"]
            assert step["error"].startswith(error)


@pytest.mark.each_source
@in_loop
async def test_a_join_goes_on_without_what_is_optional_and_its_deadline_is_kept(
    make_hub: MakeHub, embedded: Embedded
) -> None:
    cancelled = asyncio.Event()
    graph = TaskGraph("parallel", team="parallel")

    @graph.step(optional=True, deadline_ms=30_000)
    async def web() -> str:
        return "found"

    @graph.step(optional=True, deadline_ms=30_000, retries=0)
    async def academic() -> str:
        raise ValueError("no access")

    @graph.step(optional=True, deadline_ms=30_000)
    async def news() -> str:
        try:
            await asyncio.sleep(3_600)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return "late"

    @graph.step(after=[web, academic, news], need=1)
    def join(web: str, academic: str | None, step: Run) -> Any:
        assert academic is None
        return [web, dict(step.inputs), dict(step.errors)]

    async with make_hub("ada") as hub, hub.work(graph, lease_ms=LEASE_MS):
        handle = await hub.submit(graph)
        await until_step(handle, "failed")
        await asyncio.to_thread(embedded.advance, 30_000)
        errors = {"academic": "no access", "news": "not done by its deadline"}
        assert await handle.result(wait_ms=20_000) == ["found", {"web": "found"}, errors]
        await asyncio.wait_for(cancelled.wait(), 20)


@in_loop
async def test_a_run_that_takes_too_long_has_failed(make_hub: MakeHub) -> None:
    async def slow() -> None:
        await asyncio.sleep(3_600)

    graph = graph_of("slow", slow, timeout_ms=200, retries=0)
    async with make_hub("ada") as hub, hub.work(graph):
        handle = await hub.submit(graph)
        with pytest.raises(TaskFailedError, match="MaxRetriesExceeded"):
            await handle.result(wait_ms=20_000)
        assert (await handle.record())["failed_steps"][0]["error"].endswith("took more than 200 ms")


@pytest.mark.each_source
@in_loop
async def test_cancelling_a_task_cancels_its_steps(make_hub: MakeHub) -> None:
    began, cancelled = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        began.set()
        try:
            await asyncio.sleep(3_600)
        finally:
            cancelled.set()

    graph = graph_of("cancelled", slow)
    async with make_hub("ada") as hub, make_hub("bob") as other, other.work(graph):
        handle = await hub.submit(graph)
        await asyncio.wait_for(began.wait(), 20)
        assert await handle.cancel("not needed")
        with pytest.raises(TaskCancelledError, match="was cancelled by ada: not needed"):
            await handle.result(wait_ms=20_000)
        await asyncio.wait_for(cancelled.wait(), 20)
        assert (await handle.record())["status"] == "cancelled"
        assert not await handle.cancel()


@in_loop
async def test_a_key_names_one_task(make_hub: MakeHub) -> None:
    ran: list[int] = []

    def count(input: int) -> int:
        ran.append(input)
        return input

    graph = graph_of("keyed", count)
    async with make_hub("ada") as hub, hub.work(graph):
        assert await outcome(hub, graph, 7, key="order-7") == 7
        assert await outcome(hub, graph, 7, key="order-7") == 7
        assert ran == [7]
        with pytest.raises(TermsDiffer, match="order-7 is another task of keyed"):
            await hub.submit(graph, 8, key="order-7")


@in_loop
async def test_a_task_that_is_not_there(make_hub: MakeHub, embedded: Embedded) -> None:
    graph = graph_of("short", lambda_step := _named(lambda: 1, "one"))
    assert lambda_step.__name__ == "one"
    async with make_hub("ada") as hub, hub.work(graph, lease_ms=LEASE_MS):
        with pytest.raises(NotFound, match="there is no task nowhere"):
            await hub.task("nowhere")
        handle = await hub.submit(graph, keep_ms=1_000)
        assert await handle.result(wait_ms=20_000) == 1
        await asyncio.to_thread(embedded.advance, 1_000)
        for ask in (handle.record, handle.cancel):
            with pytest.raises(NotFound):
                await ask()


@pytest.mark.each_source
@in_loop
async def test_who_leaves_gives_back_what_runs_and_another_takes_it(make_hub: MakeHub) -> None:
    began: list[str] = []
    free = asyncio.Event()

    async def wait(step: Run) -> int:
        began.append(step.key)
        await free.wait()
        return step.tries

    graph = graph_of("handed", wait)
    async with make_hub("ada") as hub, make_hub("bob") as other:
        async with hub.work(graph, drain_ms=50):
            handle = await hub.submit(graph)
            await until(lambda: began)
        async with other.work(graph):
            await until(lambda: len(began) == 2)
            free.set()
            assert await handle.result(wait_ms=20_000) == 1
    assert began[0] == began[1], "the same idempotency key"


@pytest.mark.each_source
@in_loop
async def test_who_lost_its_membership_joins_again_and_its_steps_run_anew(
    make_hub: MakeHub, embedded: Embedded
) -> None:
    began: list[int] = []
    free = asyncio.Event()

    async def wait(step: Run) -> str:
        began.append(step.tries)
        await free.wait()
        return "done"

    graph = graph_of("lost", wait, wait_ms=86_400_000, timeout_ms=86_400_000)
    async with make_hub("ada") as hub, hub.work(graph, lease_ms=3_600_000):
        handle = await hub.submit(graph)
        await until(lambda: began == [0])
        await asyncio.to_thread(embedded.advance, 3_600_000)
        await until(lambda: began == [0, 1])
        free.set()
        assert await handle.result(wait_ms=20_000) == "done"


@in_loop
async def test_who_only_works_is_told_when_the_connection_is_gone(make_hub: MakeHub) -> None:
    began, cancelled = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        began.set()
        try:
            await asyncio.sleep(3_600)
        finally:
            cancelled.set()

    graph = graph_of("alone", wait)
    async with make_hub("ada") as hub, make_hub("bob") as other, other.work(graph) as work:
        working = asyncio.create_task(work.wait())
        await hub.submit(graph)
        await asyncio.wait_for(began.wait(), 20)
        await asyncio.to_thread(other.connection.close)
        with pytest.raises(NotConnected):
            await asyncio.wait_for(working, 20)
        await asyncio.wait_for(cancelled.wait(), 20)


@in_loop
async def test_large_results_are_asked_for(make_hub: MakeHub) -> None:
    graph = TaskGraph("large", team="large")
    for number in range(3):
        graph.add(f"part{number}", lambda step: step.name * 40_000)
    graph.add("join", lambda step: sum(map(len, step.inputs.values())), after=["part0", "part1", "part2"])
    async with make_hub("ada") as hub, hub.work(graph):
        handle = await hub.submit(graph, "x" * 200_000)
        assert await handle.result(wait_ms=20_000) == 3 * 5 * 40_000
        assert [len(step["result"]) for step in (await handle.record())["steps"][:3]] == [200_000] * 3


@in_loop
async def test_what_a_graph_cannot_be_is_said_where_it_is_defined(make_hub: MakeHub) -> None:
    graph = TaskGraph("bad")

    @graph.step
    def first(input: Any) -> None: ...

    with pytest.raises(BadInput, match="graph bad: the step 'first' is defined twice"):
        graph.step(first)
    with pytest.raises(BadInput, match=r"'second' comes after 'nothing', which is no step\. There is: first"):
        graph.add("second", after=["nothing"])
    with pytest.raises(BadInput, match="has the parameter facts, but comes after no such step"):
        graph.add("second", lambda facts: facts, after=["first"])
    with pytest.raises(BadInput, match=r"has the parameter \*\*rest"):
        graph.add("second", lambda **rest: rest)
    with pytest.raises(BadInput, match="retries=101: a whole number of 0 to 100"):
        graph.add("second", retries=101)
    with pytest.raises(BadInput, match="which is no function"):
        graph.add("second", 5)  # type: ignore[arg-type]
    assert [step.name for step in graph.steps] == ["first"], "what is refused is not there"
    with pytest.raises(BadInput, match="graph empty has no steps"):
        TaskGraph("empty").check()
    hub = make_hub("ada")
    with pytest.raises(NotConnected):
        await hub.submit(graph)
    async with hub:
        with pytest.raises(BadInput, match=r"the input of bad has an object at \$; it must be JSON"):
            await hub.submit(graph, object())
        with pytest.raises(BadInput, match="0 capabilities: 1 to 100 are needed"):
            hub.work(TaskGraph("nothing"))
        with pytest.raises(BadInput, match="graphs of 2 teams"):
            hub.work(graph, TaskGraph("other", team="other"))


def _named(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    function.__name__ = name
    return function


def test_tasks_of_plain_programs(make_hub: MakeHub) -> None:
    graph = TaskGraph("plain", team="plain")

    @graph.step
    def double(input: int) -> int:
        return 2 * input

    with make_hub("ada", sync.Accord) as hub:
        with hub.work(graph):
            handle = hub.submit(graph, 4, key="plain-4")
            assert handle.result(wait_ms=20_000) == 8
            assert hub.task("plain-4").result() == 8
            assert handle.record()["status"] == "completed" and not handle.cancel()
        with pytest.raises(BadInput):
            hub.submit(graph, object())
        waiting = hub.submit(graph, 5)
        assert waiting.cancel("enough")
        with pytest.raises(TaskCancelledError):
            waiting.result(wait_ms=20_000)
    with pytest.raises(NotConnected):
        hub.submit(graph, 4)


@in_loop
async def test_several_agents_are_asked_at_once_and_the_deadline_leaves_out_who_is_late(
    make_hub: MakeHub, embedded: Embedded
) -> None:
    asked: list[str] = []

    async def search(input: str, step: Run) -> dict[str, str]:
        asked.append(step.name)
        if step.name == "slow":
            await asyncio.sleep(3_600)
        if step.name == "broken":
            raise GiveUp("no access")
        return {"summary": f"{step.name} on {input}"}

    web, others = Agent("web", search), Agent("news", search, capabilities=["slow", "broken"])
    async with make_hub("ada") as hub, make_hub("bob") as other:
        async with hub.work(web, lease_ms=LEASE_MS), other.work(others, lease_ms=LEASE_MS):
            assert await hub.fan_out("kafka", agents=[web, "news"]) == {
                "query": "kafka",
                "sources": [{"agent": name, "data": {"summary": f"{name} on kafka"}} for name in ("web", "news")],
                "summary": "web on kafka\n\nnews on kafka",
                "completed_agents": 2,
                "timed_out": False,
                "skipped_agents": [],
            }
            asking = asyncio.create_task(hub.fan_out("faust", agents=["web", "slow", "broken"]))
            await until(lambda: len(asked) == 5)
            await asyncio.sleep(0.2)  # the others' answers are on their way
            await asyncio.to_thread(embedded.advance, 30_000)
            late = await asyncio.wait_for(asking, 20)
            assert late["sources"] == [
                {"agent": "web", "data": {"summary": "web on faust"}},
                {"agent": "slow", "error": "not done by its deadline"},
                {"agent": "broken", "error": "no access"},
            ]
            assert (late["completed_agents"], late["timed_out"]) == (1, True)
            with pytest.raises(TaskFailedError, match="none of 1 agents has answered") as failed:
                await hub.fan_out("x", agents=["broken"])
            assert failed.value.details["sources"] == [{"agent": "broken", "error": "no access"}]
        with pytest.raises(BadInput, match="fan_out\\(\\) to no agents"):
            await hub.fan_out("x", agents=[])
        with pytest.raises(BadInput, match="'web' is defined twice"):
            await hub.fan_out("x", agents=["web", web])


@in_loop
async def test_who_waits_to_try_again_holds_up_nobody(make_hub: MakeHub, embedded: Embedded) -> None:
    """One slot: in the 15 s before the third retry other tasks are done."""
    failures: list[Any] = []

    def work(input: str) -> str:
        if input == "bad" and len(failures) < 3:
            failures.append(input)
            raise ValueError("not yet")
        return input

    graph = graph_of("patient", work)
    async with make_hub("ada") as hub, hub.work(graph, slots=1, lease_ms=LEASE_MS):
        handle = await hub.submit(graph, "bad")
        while len(failures) < 3:
            await asyncio.to_thread(embedded.advance, 1_000)
        assert [await outcome(hub, graph, name) for name in "abcdefgh"] == list("abcdefgh")
        assert (await handle.record())["status"] == "in_progress"
        while (await handle.record())["status"] == "in_progress":
            await asyncio.to_thread(embedded.advance, 1_000)
        assert await handle.result() == "bad"


async def until_waiting(hub: Accord, team: str, count: int) -> None:
    """Waits until so many steps wait for an agent: the team is asked for one after the task has begun."""
    async with asyncio.timeout(20):
        while True:
            submission = hub.connection.submit("roster", team, ReadTeam(hub.agent))
            (read,) = (await asyncio.wrap_future(submission.decided)).events
            if read.waiting == count:
                return


@pytest.mark.each_source
@in_loop
async def test_while_too_much_waits_nothing_more_is_begun(make_hub: MakeHub) -> None:
    graph = TaskGraph("crowd", team="crowd")
    graph.add("work", lambda input: input)
    async with make_hub("ada") as hub:
        handles = [await hub.submit(graph, number, waiting_max=3) for number in range(3)]
        await until_waiting(hub, "crowd", 3)
        with pytest.raises(
            Overloaded, match="3 steps wait for an agent of the team crowd, which has 0 slots"
        ) as caught:
            await hub.submit(graph, 3, waiting_max=3)
        assert (caught.value.details["retry_after_ms"], caught.value.key) == (60_000, "crowd")
        assert caught.value.position is not None and caught.value.position.startswith("roster/")
        handles += [await hub.submit(graph, 3, waiting_max=4), await hub.submit(graph, 4)]
        with pytest.raises(BadInput, match="waiting_max=-1"):
            await hub.submit(graph, 5, waiting_max=-1)
        async with hub.work(graph, slots=2):
            assert [await handle.result(wait_ms=20_000) for handle in handles] == [0, 1, 2, 3, 4]
            assert await (await hub.submit(graph, 5, waiting_max=1)).result(wait_ms=20_000) == 5


@in_loop
async def test_a_setting_bounds_what_waits(make_hub: MakeHub, embedded: Embedded) -> None:
    graph = TaskGraph("queue", team="queue")
    graph.add("work", lambda input: input)
    hub = Accord(agent="ada")
    hub.use(with_(embedded.settings, "client", waiting_max=1), embedded.timestamp_ms)
    async with hub:
        await hub.submit(graph, 1)
        await until_waiting(hub, "queue", 1)
        with pytest.raises(Overloaded, match="1 steps wait"):
            await hub.submit(graph, 2)
        await hub.submit(graph, 2, waiting_max=0)
