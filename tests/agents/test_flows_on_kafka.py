"""Flows on a real Kafka: processes that are killed while they run them, and one that is frozen past its time.

What must be on the log is known from the log: the events, in the order of its time, folded once without any process.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from accord.schemas.codec import events_codec
from accord.schemas.messages.signals import ResultEmitted, SignalEmitted
from accord.schemas.topics import partition_of
from accord.streams.chain import Chain, genesis
from accord.streams.flows.flow import Flow
from accord.streams.flows.fold import Fold, Result, Taken

from accord import Accord, replay
from accord.settings import Settings
from tests.agents.on_kafka import PARTITIONS, environment, worker_on
from tests.agents.shop_flows import FLOWS
from tests.counts import LONG, long

PROGRAM = str(Path(sys.executable).with_name("accord"))
ROOT = Path(__file__).parents[2]
PAID = 800 if LONG else 200
KILLS = 8 if LONG else 2


class Recorded(NamedTuple):
    """An event of the log; `result` is its number if it is one of a flow."""

    at_ms: int
    partition: int
    offset: int
    name: str
    event: SignalEmitted
    result: ResultEmitted | None


@pytest.fixture(scope="module")
def settings(accord_kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with worker_on(accord_kafka, tmp_path_factory.mktemp("worker"), "signals") as settings:
        yield settings


def recorded(settings: Settings) -> tuple[list[Recorded], list[int]]:
    """All events of the log in the order of its time, and the clock of each partition."""
    found, clocks = [], []
    with replay.open(settings) as log:
        source = log.source
        for number in range(PARTITIONS):
            chain = Chain(genesis(source.cluster, f"{settings.topics.prefix}.signals.events.v1", number))
            clocks.append(-1)
            for record in source.read("signals", number, 0):
                if (decision := chain.accept(record)) is None:
                    continue
                clocks[-1] = decision.now_ms
                events = events_codec("signals").decode(decision.value)
                if events and isinstance(events[0], SignalEmitted):
                    result = next((event for event in events if isinstance(event, ResultEmitted)), None)
                    name = decision.key.decode()
                    found.append(Recorded(decision.now_ms, number, decision.offset, name, events[0], result))
    return sorted(found, key=lambda one: one[:3]), clocks


def expected(flow: Flow, events: list[Recorded], clocks: list[int]) -> list[Result]:
    fold, results = Fold(flow), []
    for one in events:
        if one.name in flow.names:
            position = f"signals/{one.partition}@{one.offset}"
            results += fold.take(Taken(one.at_ms, one.name, one.event.data, position, one.event.trail))
    partitions = {partition_of(name.encode(), PARTITIONS) for name in flow.names}
    return results + fold.advance(min(clocks[number] for number in partitions))


def emitted(flow: Flow, events: list[Recorded], name: str) -> list[Result]:
    return [
        Result(name, one.result.number, one.event.data, one.event.trail)
        for one in events
        if one.name == name and one.result is not None and one.result.flow == flow.name
    ]


def run_flows(settings: Settings, log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as file:
        return subprocess.Popen(
            [PROGRAM, "flows", "run", "tests.agents.shop_flows"],
            env=environment(settings), cwd=ROOT, stdout=file, stderr=file,
        )  # fmt: skip


async def shop(settings: Settings, dice: random.Random) -> None:
    """Orders and payments, some of them late by their own time, one or another never."""
    async with Accord(settings=settings, agent="shop") as hub:
        for number in range(PAID):
            if dice.random() < 0.9:
                hub.emit("ordered", {"id": number})
            own_ms = time.time_ns() // 1_000_000 - dice.choice((0, 0, 10, 90, 700))
            hub.emit("paid", {"id": number, "room": dice.choice("xyz"), "amount": dice.randint(-1, 9), "at": own_ms})
            await asyncio.sleep(dice.choice((0, 0.01, 0.04)))


@long
def test_every_window_and_every_pair_is_emitted_once_though_processes_are_killed(
    settings: Settings, tmp_path: Path
) -> None:
    dice = random.Random(7)
    processes = [run_flows(settings, tmp_path / "flows.log") for _ in range(2)]

    async def main() -> None:
        shopping = asyncio.create_task(shop(settings, dice))
        for kill in range(KILLS):
            await asyncio.sleep(2 + dice.random())
            victim = processes.pop(0)
            if LONG and kill % 2:  # it wakes up when another has long taken over
                victim.send_signal(signal.SIGSTOP)
                asyncio.get_running_loop().call_later(6, os.kill, victim.pid, signal.SIGCONT)
                processes.append(victim)
            else:
                victim.kill()
                victim.wait()
                processes.append(run_flows(settings, tmp_path / "flows.log"))
        await shopping
        async with asyncio.timeout(60):
            while not await asyncio.to_thread(everything_is_told):  # noqa: ASYNC110
                await asyncio.sleep(0.3)

    def everything_is_told() -> bool:
        events, clocks = recorded(settings)
        return all(
            emitted(flow, events, name) == [one for one in expected(flow, events, clocks) if one.event == name]
            and not open_windows(flow, events, clocks)
            for flow in FLOWS
            for name in flow.emits
        )

    try:
        asyncio.run(asyncio.wait_for(main(), 110))
    except TimeoutError:
        pytest.fail((tmp_path / "flows.log").read_text()[-4_000:])
    finally:
        for process in processes:
            process.kill()
            process.wait()
    events, _ = recorded(settings)
    totals, settled = FLOWS
    told = emitted(totals, events, "room.told")
    paid = [json.loads(one.event.data) for one in events if one.name == "paid"]
    late = [json.loads(one.data)["data"]["id"] for one in emitted(totals, events, "room.told.late")]
    counted = [id_ for one in told for id_ in json.loads(one.data)["seen"]]
    by_hand: list[Any] = [one["id"] for one in paid if one["amount"] >= 0 and one["id"] not in late]
    assert sorted(set(counted)) == sorted(by_hand) and late
    assert len({(json.loads(one.data)["room"], json.loads(one.data)["from_ms"]) for one in told}) == len(told)
    assert 0 < len(emitted(settled, events, "order.settled")) <= len(paid)


def open_windows(flow: Flow, events: list[Recorded], clocks: list[int]) -> bool:
    """Whether something will be told yet when the time has moved on."""
    return expected(flow, events, clocks) != expected(flow, events, [clock + 10_000 for clock in clocks])
