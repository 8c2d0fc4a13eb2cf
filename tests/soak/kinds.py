"""The kinds of operations of a soak: what one of each is, and which domains decide it.

Names come again and again, as in a program that runs for long: what an operation leaves behind by its nature, as a key
of a scope, is there after the first ones. What is remembered for a while after its end is so for `KEEP_MS`: on a busy
machine an answer comes that late.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, NamedTuple

from accord import Accord, Bid, Member, Saga, TaskGraph
from accord.settings import LlmSettings
from accord.testing.model_server import MODEL, ModelServer
from accord.triggers import sequence

KEEP_MS = 10_000
NAMES = 40
SLOTS = 8
"""Steps at a time: as many threads are there after the first tasks."""
LEASE_MS = 10_000

Do = Callable[[int], Awaitable[Any]]
"""Does the operation of a number."""
DOMAINS_OF = {
    "lock": ("locks",),
    "semaphore": ("locks",),
    "rwlock": ("locks",),
    "locks": ("locks",),
    "condition": ("locks",),
    "barrier": ("locks",),
    "limit": ("limits",),
    "pool": ("limits",),
    "signal": ("signals",),
    "trigger": ("signals", "triggers"),
    "state": ("state",),
    "transaction": ("state", "transactions"),
    "task": ("tasks", "roster"),
    "saga": ("sagas", "signals"),
    "proposal": ("proposals", "signals"),
    "auction": ("auctions", "signals"),
    "intention": ("conflicts",),
    "decision": ("hierarchy", "signals"),
    "model call": ("llm",),
}
"""The kinds by name, in the order in which they are done."""


REMEMBERED = {"transaction": 1}
"""So many aggregates of each operation stay for longer than a kind takes: ten minutes, in which who committed can ask
again what came of it."""


class Kind(NamedTuple):
    """`open` gives what does one operation; what it needs is there while it is open."""

    name: str
    domains: tuple[str, ...]
    open: Callable[[Accord], AbstractAsyncContextManager[Do]]
    remembered: int = 0


def kinds() -> list[Kind]:
    return [Kind(name, domains, OPEN[name], REMEMBERED.get(name, 0)) for name, domains in DOMAINS_OF.items()]


def _plain(make: Callable[[Accord], Do]) -> Callable[[Accord], AbstractAsyncContextManager[Do]]:
    """For a kind that needs nothing but the hub."""

    @asynccontextmanager
    async def opened(hub: Accord) -> AsyncIterator[Do]:
        yield make(hub)

    return opened


def _within(take: Callable[[int], AbstractAsyncContextManager[Any]]) -> Do:
    """An operation that takes something and gives it back."""

    async def do(number: int) -> None:
        async with take(number):
            pass

    return do


def _lock(hub: Accord) -> Do:
    return _within(lambda n: hub.lock(f"lock-{n % NAMES}", lease_ms=LEASE_MS))


def _semaphore(hub: Accord) -> Do:
    return _within(lambda n: hub.semaphore(f"semaphore-{n % 4}", 4, lease_ms=LEASE_MS))


def _rwlock(hub: Accord) -> Do:
    def take(number: int) -> AbstractAsyncContextManager[Any]:
        lock = hub.rwlock(f"rwlock-{number % 4}", lease_ms=LEASE_MS)
        return lock.read() if number % 5 else lock.write()

    return _within(take)


def _locks(hub: Accord) -> Do:
    return _within(lambda n: hub.locks([f"many-{n % NAMES}", f"many-{(n + 7) % NAMES}"], lease_ms=LEASE_MS))


def _condition(hub: Accord) -> Do:
    async def do(number: int) -> None:
        changed, there = hub.condition(f"condition-{number % NAMES}", lease_ms=LEASE_MS), []

        async def take() -> None:
            async with changed:
                await changed.wait_for(lambda: there)

        async def put() -> None:
            async with changed:
                there.append(number)
                await changed.notify_all()

        await asyncio.gather(take(), put())

    return do


def _barrier(hub: Accord) -> Do:
    async def do(number: int) -> None:
        barriers = [hub.barrier(f"barrier-{number % NAMES}", 2, lease_ms=LEASE_MS) for _ in range(2)]
        await asyncio.gather(*[barrier.wait() for barrier in barriers])

    return do


def _limit(hub: Accord) -> Do:
    return _within(lambda n: hub.limit(f"limit-{n % NAMES}", lease_ms=LEASE_MS))


@asynccontextmanager
async def _pool(hub: Accord) -> AsyncIterator[Do]:
    for number in range(4):
        await hub.pool(f"pool-{number}").configure(capacity=8)
    yield _within(lambda n: hub.pool(f"pool-{n % 4}").request(1 + n % 3))


@asynccontextmanager
async def _signal(hub: Accord) -> AsyncIterator[Do]:
    seen: dict[int, asyncio.Event] = {}

    @hub.when("soak_event")
    async def handle(event_data: Any) -> None:
        if (waited := seen.pop(event_data["number"], None)) is not None:
            waited.set()

    async def do(number: int) -> None:
        seen[number] = mine = asyncio.Event()
        await hub.emit("soak_event", {"number": number})
        await asyncio.wait_for(mine.wait(), 60)

    yield do


@asynccontextmanager
async def _trigger(hub: Accord) -> AsyncIterator[Do]:
    waiting: dict[str, asyncio.Event] = {}
    pattern = sequence("soak_first", "soak_second").by("key").within_ms(60_000).late_ms(0)

    @hub.on(pattern, name="soak")
    async def found(event_data: Any) -> None:
        if (waited := waiting.get(event_data["key"])) is not None:
            waited.set()

    lanes = [asyncio.Lock() for _ in range(NAMES)]

    async def do(number: int) -> None:
        lane = number % NAMES
        async with lanes[lane]:
            waiting[f"key-{lane}"] = mine = asyncio.Event()
            await hub.emit("soak_first", {"key": f"key-{lane}"})
            await hub.emit("soak_second", {"key": f"key-{lane}"})
            await asyncio.wait_for(mine.wait(), 60)

    yield do


def _state(hub: Accord) -> Do:
    async def do(number: int) -> None:
        await hub.state(f"scope-{number % 4}").put(f"key-{number % NAMES}", number)

    return do


def _transaction(hub: Accord) -> Do:
    async def do(number: int) -> None:
        lane = number % NAMES

        async def transfer(tx: Any) -> None:
            tx.scope(f"from-{lane}").put("balance", number)
            tx.scope(f"to-{lane}").put("balance", -number)

        await hub.run_transaction(transfer)

    return do


@asynccontextmanager
async def _task(hub: Accord) -> AsyncIterator[Do]:
    graph = TaskGraph("soak", team="soak")
    graph.add("first", lambda input: input)
    graph.add("second", lambda first: first + 1, after=["first"])

    async def do(number: int) -> None:
        handle = await hub.submit(graph, number, keep_ms=KEEP_MS)
        assert await handle.result() == number + 1

    async with hub.work(graph, slots=SLOTS):
        yield do


def _saga(hub: Accord) -> Do:
    async def reserve(input: int) -> int:
        return input

    async def cancel(reserve: int) -> None: ...

    async def pay(reserve: int) -> int:
        return reserve + 1

    saga = Saga("soak").step(reserve, undo=cancel).step(pay)

    async def do(number: int) -> None:
        outcome = await hub.run_saga(saga, number, keep_ms=KEEP_MS)
        assert outcome.result == number + 1

    return do


@asynccontextmanager
async def _proposal(hub: Accord) -> AsyncIterator[Do]:
    async def do(number: int) -> None:
        proposal = await hub.propose(f"{number}?", voters=[hub.agent, "voter"], keep_ms=KEEP_MS)
        assert (await proposal.outcome()).status == "approved"

    async with hub.voter(lambda question: "yes", name="voter"):
        yield do


@asynccontextmanager
async def _auction(hub: Accord) -> AsyncIterator[Do]:
    async def do(number: int) -> None:
        auction = await hub.auction("anything", agents=["bidder"], keep_ms=KEEP_MS)
        assert await auction.result() == "done"

    async with hub.bidder(lambda work: "done", bid=lambda offer: Bid("bidder", 10, 1, 0.9), name="bidder"):
        yield do


@asynccontextmanager
async def _intention(hub: Accord) -> AsyncIterator[Do]:
    for number in range(4):
        await hub.ground(f"ground-{number}").configure(keep_ms=KEEP_MS)
    yield _within(lambda n: hub.ground(f"ground-{n % 4}").intend("write", target=f"file-{n % NAMES}"))


@asynccontextmanager
async def _decision(hub: Accord) -> AsyncIterator[Do]:
    organisation = hub.hierarchy("soak")
    top = Member("ada", decides={"spend": 1_000})
    await organisation.define([top, Member(hub.agent, "ada", decides={"spend": 100})])

    async def do(number: int) -> None:
        decision = await organisation.decide("spend", 80, f"chair {number % NAMES}")
        assert (await decision.verdict()).decider == hub.agent
        await decision.report("success", "it stands")

    yield do


@asynccontextmanager
async def _model(hub: Accord) -> AsyncIterator[Do]:
    with ModelServer() as server:
        settings = LlmSettings(base_url=server.base_url, model=MODEL, api_key="none")
        async with hub.model(settings) as model:

            async def do(number: int) -> None:
                await model.ask(f"How much is {number}?", ttl_ms=KEEP_MS)

            yield do


OPEN: dict[str, Callable[[Accord], AbstractAsyncContextManager[Do]]] = {
    "lock": _plain(_lock),
    "semaphore": _plain(_semaphore),
    "rwlock": _plain(_rwlock),
    "locks": _plain(_locks),
    "condition": _plain(_condition),
    "barrier": _plain(_barrier),
    "limit": _plain(_limit),
    "pool": _pool,
    "signal": _signal,
    "trigger": _trigger,
    "state": _plain(_state),
    "transaction": _plain(_transaction),
    "task": _task,
    "saga": _plain(_saga),
    "proposal": _proposal,
    "auction": _auction,
    "intention": _intention,
    "decision": _decision,
    "model call": _model,
}
