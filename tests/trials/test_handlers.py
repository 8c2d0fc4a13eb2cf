"""Simulated agents that react: handlers of events, and what listens by them; and agents that are plain functions."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from accord.agents.client import Accord
from accord.streams.triggers.pattern import sequence

import accord
from accord.testing import TrialFailed, exclusion
from accord.testing.trials.sim import AccordSim
from tests.counts import LONG, long, only_long

SEEDS = 200 if LONG else 25
EVENTS = 3


async def teller(hub: Accord) -> None:
    for number in range(EVENTS):
        await hub.emit("paid", {"number": number})


def listening(handle: Any, **terms: Any) -> AccordSim:
    """A teller and two processes that share a handler; all are done once somebody got all events."""
    sim = AccordSim()
    got: set[int] = set()
    sim.before_each(got.clear)

    async def listener(hub: Accord) -> None:
        @hub.when("paid", name="listener", since="start", **terms)
        async def on_paid(data: Any, event: accord.Event) -> None:
            await handle(sim, data, event)
            got.add(data["number"])

        while len(got) < EVENTS:  # noqa: ASYNC110
            await asyncio.sleep(0.5)

    sim.agent(teller, restarts=True)
    sim.agent(listener, count=2, restarts=True)
    return sim


async def notes(sim: AccordSim, data: Any, event: accord.Event) -> None:
    await asyncio.sleep(0.3)
    sim.note("got", number=data["number"], position=event.position.offset, redelivered=event.redelivered)


@pytest.mark.parametrize("terms", [{}, {"order": "causal"}], ids=["by name", "causes first"])
def test_every_event_comes_whatever_befalls_the_processes(terms: Any) -> None:
    assert listening(notes, **terms).run(seeds=SEEDS).faults > SEEDS


def test_without_faults_every_event_comes_once_and_in_order() -> None:
    sim = listening(notes)
    sim.faults(crashes=0, pauses=0, cuts=0, outages=0)
    sim.finally_(lambda trial: [said["number"] for said in _said(trial)] == list(range(EVENTS)))
    sim.run(seeds=SEEDS)


@only_long
def test_what_another_process_had_in_hand_comes_again_and_says_so() -> None:
    sim = listening(notes)
    again = []

    def second_times(trial: Any) -> bool:
        said = _said(trial)
        again.extend(one for one in said if [other["position"] for other in said].count(one["position"]) > 1)
        return True

    sim.finally_(second_times)
    sim.run(seeds=300)
    assert again
    assert any(said["redelivered"] for said in again)


def _said(trial: Any) -> list[Any]:
    return [one.details for one in trial.history if one.name == "got"]


def test_a_handler_that_counts_twice_is_found() -> None:
    async def counts(sim: AccordSim, data: Any, event: accord.Event) -> None:
        await account.write(await account.read() + 1)

    sim = listening(counts)
    account = sim.resource("account", 0)
    sim.always(lambda trial: "one payment counts twice" if account.value > EVENTS else None)
    with pytest.raises(TrialFailed, match="one payment counts twice") as raised:
        sim.run(seeds=400)
    assert raised.value.faults  # without a fault it is right


def test_a_handler_that_fails_for_good_is_a_violation() -> None:
    async def fails(sim: AccordSim, data: Any, event: accord.Event) -> None:
        raise LookupError("no such account")

    with pytest.raises(TrialFailed, match=r"the handler listener of listener-\d raised LookupError: no such account"):
        listening(fails, retries=0).run(seeds=1)


def test_a_handler_that_cannot_be_simulated_is_told() -> None:
    async def connects(sim: AccordSim, data: Any, event: accord.Event) -> None:
        await asyncio.open_connection("127.0.0.1", 80)

    with pytest.raises(BaseException, match="leaves the process by the event loop"):
        listening(connects).run(seeds=1)


def test_what_is_declared_for_every_hub_ends_with_its_trial() -> None:
    calls: list[int] = []

    async def listener(hub: Accord) -> None:
        @accord.when("paid", name="everywhere", since="start")
        async def on_paid(data: Any) -> None:
            calls.append(data["number"])

        await asyncio.sleep(5)
        await hub.drain()

    sim = AccordSim()
    sim.before_each(calls.clear)
    sim.finally_(lambda trial: len(calls) == EVENTS)
    sim.agent(teller)
    sim.agent(listener)
    sim.faults(crashes=0, pauses=0, cuts=0, outages=0)
    sim.run(seeds=3)


# -- what listens by handlers


def test_voters_vote() -> None:
    outcomes: list[bool] = []

    async def voter(hub: Accord) -> None:
        async with hub.voter(lambda question: "yes"):
            await asyncio.sleep(30)

    async def proposer(hub: Accord) -> None:
        await asyncio.sleep(1)
        asked = await hub.propose("ship", voters=[hub.agent, "voter-1", "voter-2"])
        outcomes.append((await asked.outcome()).approved)

    sim = AccordSim()
    sim.agent(voter, count=2)
    sim.agent(proposer)
    sim.faults(crashes=0, pauses=0, cuts=0)
    sim.run(seeds=5)
    assert set(outcomes) == {True}


def test_bidders_bid_and_work() -> None:
    results: list[str] = []

    async def bidder(hub: Accord) -> None:
        async with hub.bidder(lambda work: f"done by {hub.agent}", capabilities=["paint"], base_price=10):
            await asyncio.sleep(60)

    async def seller(hub: Accord) -> None:
        await asyncio.sleep(1)
        auction = await hub.auction("paint", agents=["bidder-1", "bidder-2"], deadline_ms=5_000)
        results.append(await auction.result())

    sim = AccordSim()
    sim.agent(bidder, count=2)
    sim.agent(seller)
    sim.faults(crashes=0, pauses=0, cuts=0, outages=0)
    sim.run(seeds=5)
    assert {str(result)[:14] for result in results} == {"done by bidder"}


def test_sagas_are_served_by_whoever_is_there() -> None:
    done: list[str] = []

    async def book(input: str) -> str:
        await asyncio.sleep(0.01)
        done.append(input)
        return f"booked {input}"

    saga = accord.Saga("trip").step(book)

    async def server(hub: Accord) -> None:
        async with hub.serve_sagas(saga):
            await asyncio.sleep(120)

    async def traveller(hub: Accord) -> None:
        assert (await (await hub.begin_saga(saga, "bonn", id="trip of bonn")).outcome()).status == "completed"

    sim = AccordSim()
    sim.agent(server, count=2, restarts=True, forever=True)
    sim.agent(traveller, restarts=True)
    sim.run(seeds=SEEDS)
    assert done


def test_triggers_call() -> None:
    sim = AccordSim()
    called: list[Any] = []
    sim.before_each(called.clear)

    async def watcher(hub: Accord) -> None:
        @hub.on(sequence("ordered", "paid").within_ms(60_000), name="both")
        async def both(data: Any) -> None:
            called.append(data["trigger"])

        await hub.emit("ordered", {})
        await hub.emit("paid", {})
        while not called:  # noqa: ASYNC110
            await asyncio.sleep(0.1)

    sim.agent(watcher)
    sim.faults(crashes=0)
    sim.run(seeds=5)


# -- plain functions


def books(hub: accord.sync.Accord, room: Any) -> None:
    with hub.lock("room") as grant:
        if room.sync.read(grant) is None:
            room.sync.write(hub.agent, grant)


@pytest.mark.parametrize("fenced", [True, False])
def test_a_plain_function_may_block(fenced: bool) -> None:
    sim = AccordSim()
    room = sim.resource("room", fenced=fenced)
    sim.agent(books, room, count=2)
    sim.always(exclusion("room"))
    sim.finally_(lambda trial: room.value is not None or any(agent.status == "crashed" for agent in trial.agents))
    if fenced:
        sim.run(seeds=2 * SEEDS)
    else:
        with pytest.raises(TrialFailed, match=r"is paused for [\d,]+ ms at books, line \d+") as raised:
            sim.run(seeds=300)
        assert len(raised.value.faults) == 1


def listens(hub: accord.sync.Accord, sim: AccordSim) -> None:
    @hub.when("paid", name="plain", since="start")
    def on_paid(data: Any) -> None:
        with hub.lock("account"):
            hub.emit("thanked", data).wait()
            sim.note("thanked", **data)

    hub.drain()


@long
def test_a_plain_handler_may_block() -> None:
    sim = AccordSim()
    sim.agent(teller)
    sim.agent(listens, sim)
    sim.run(seeds=SEEDS)


def test_an_async_agent_that_blocks_stops_its_own_loop_alone() -> None:
    sim = AccordSim()

    async def blocks(hub: Accord) -> None:
        beats = 0

        async def beat() -> None:
            nonlocal beats
            while True:
                beats += 1
                await asyncio.sleep(0.001)

        beating = asyncio.create_task(beat())
        await asyncio.sleep(0.01)
        before = beats
        accord.emit("greeted", {}).wait()  # 10 ms and more
        assert beats == before
        await asyncio.sleep(0.01)
        assert beats > before
        beating.cancel()

    async def goes_on(hub: Accord) -> None:
        for _ in range(3):
            await hub.emit("counted", {})

    sim.agent(blocks)
    sim.agent(goes_on)
    sim.faults(crashes=0)
    sim.run(seeds=5)


def test_tasks_of_the_sync_client_are_refused() -> None:
    def works(hub: accord.sync.Accord) -> None:
        graph = accord.TaskGraph("letters", team="letters")
        graph.add("draft", lambda input: f"dear {input}")
        with hub.work(graph):
            pass

    sim = AccordSim()
    sim.agent(works)
    with pytest.raises(TrialFailed, match=r"in an event loop of its own .* cannot be simulated: use accord.Accord"):
        sim.run(seeds=1)
