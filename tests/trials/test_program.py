"""What simulated agents may use of accord, and what they are told that they may not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from accord.agents.client import Accord

import accord
from accord.testing import NotSimulated, TrialFailed
from accord.testing.trials.sim import AccordSim
from tests.counts import LONG, long

Program = Callable[[Accord], Awaitable[Any]]
SEEDS = 20 if LONG else 4


async def lock_family(hub: Accord) -> None:
    async with hub.rwlock("rw").read():
        await asyncio.sleep(0.01)
    async with hub.rwlock("rw").write(), hub.semaphore("s", permits=2):
        await asyncio.sleep(0.01)
    async with hub.locks(["a", "b"]):
        await asyncio.sleep(0.01)


async def conditions(hub: Accord) -> None:
    async with hub.lock("c"):
        await hub.condition("c").wait(wait_ms=500)
        await hub.condition("c").notify_all()


async def limits(hub: Accord) -> None:
    async with hub.limit("api"):
        await asyncio.sleep(0.01)


async def shared_state(hub: Accord) -> None:
    scope = hub.state("counts")
    await scope.increment("total")
    await scope.update("mine", lambda value: (value or 0) + 1, attempts=50)
    assert (await scope.get("total")).value >= 1


async def transactions(hub: Accord) -> None:
    async def move(tx: Any) -> None:
        left, right = tx.scope("left"), tx.scope("right")
        value = (await left.get("n")).value or 0
        left.put("n", value + 1)
        right.put("n", value + 1)

    await hub.run_transaction(move, attempts=50)


async def tasks(hub: Accord) -> None:
    graph = accord.TaskGraph(f"letters of {hub.agent}", team="letters")
    graph.add("draft", lambda input: f"dear {input}")

    async def sign(draft: str) -> str:
        await asyncio.sleep(0.01)
        return f"{draft}, yours"

    graph.add("sign", sign, after=["draft"])
    async with hub.work(graph):
        assert await (await hub.submit(graph, "bob")).result() == "dear bob, yours"


async def sagas(hub: Accord) -> None:
    async def book(input: str) -> str:
        await asyncio.sleep(0.01)
        return f"booked {input}"

    async def pay(book: str) -> None:
        raise LookupError(book)

    done: list[str] = []

    async def cancel(book: str) -> None:
        done.append(book)

    saga = accord.Saga("trip").step(book, undo=cancel).step(pay, retries=0)
    assert (await hub.run_saga(saga, "bonn")).status == "compensated"
    assert done[-1] == "booked bonn"


async def rounds(hub: Accord) -> None:
    auction = await hub.auction("paint", agents=["nobody"], deadline_ms=500)
    with pytest.raises(accord.Unsold):
        await auction.result()
    await hub.barrier(f"of {hub.agent}", parties=1).wait()


async def events(hub: Accord) -> None:
    await accord.emit("greeted", {"by": hub.agent})
    hub.emit("greeted", {"by": hub.agent})
    await hub.drain()


async def coordinated(hub: Accord) -> None:
    @accord.coordinate("book", "room")
    async def book() -> int:
        await asyncio.sleep(0.01)
        return 1

    assert await book() == 1


async def opens_its_own(hub: Accord) -> None:
    async with accord.Accord("kafka.example:9092") as own:
        assert own.agent == hub.agent
        async with own.lock("room"):
            await asyncio.sleep(0.01)


async def asks_the_loop(hub: Accord) -> None:
    began = asyncio.get_running_loop().time()
    async with asyncio.timeout(100):
        await asyncio.gather(asyncio.sleep(0.2), asyncio.to_thread(lambda: 1))
    assert asyncio.get_running_loop().time() - began > 0.19


@pytest.mark.parametrize(
    "program",
    [
        lock_family,
        conditions,
        limits,
        shared_state,
        transactions,
        tasks,
        sagas,
        rounds,
        events,
        coordinated,
        opens_its_own,
        asks_the_loop,
    ],
)
@long
def test_programs_run_on_the_hub_that_they_know(program: Program) -> None:
    sim = AccordSim()
    sim.agent(program, count=2)
    assert sim.run(seeds=SEEDS).trials == SEEDS


async def opens_a_socket(hub: Accord) -> None:
    await asyncio.open_connection("127.0.0.1", 80)


def test_what_cannot_be_simulated_is_told() -> None:
    sim = AccordSim()
    sim.agent(opens_a_socket)
    what = r"leaves the process by the event loop \(create_connection\) cannot be simulated: give"
    with pytest.raises(TrialFailed, match=what) as raised:
        sim.run(seeds=1)
    assert isinstance(raised.value.trial.agents[0].error, NotSimulated)


def test_a_plain_function_that_returns_something_to_await_is_no_program() -> None:
    sim = AccordSim()
    sim.agent(lambda hub: conditions(hub), name="plain")  # noqa: PLW0108
    with pytest.raises(TrialFailed, match="a plain function that returns something to await"):
        sim.run(seeds=1)


def test_nothing_of_a_trial_stays_open() -> None:
    async def leaves_it_open(hub: Accord) -> None:
        await accord.Accord().__aenter__()
        await asyncio.sleep(100)

    sim = AccordSim()
    sim.agent(leaves_it_open, count=2, forever=True)
    sim.agent(opens_its_own)
    sim.run(seeds=3)
    with pytest.raises(accord.NotConnected, match="no hub is open"):
        accord.emit("greeted", {})
