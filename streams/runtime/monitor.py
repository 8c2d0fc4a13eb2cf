"""Watches a worker: gathers what `health` judges, logs each change of its mode, answers `/health` and `/ready`.

Whether a broker answers is asked of the brokers, every `PROBE_S`, through the worker's own producer: that nothing
comes may also mean that nobody asks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import Any, Final

from accord.streams.runtime.app import StreamApp
from accord.streams.runtime.health import SERVICE, Facts, Health, PartitionFact, State, judge
from accord.streams.runtime.output import Output
from accord.streams.runtime.owned import Owned
from accord.streams.runtime.processor import Processor
from confluent_kafka import KafkaException

from accord import logs
from accord.metrics import Page

logger = logs.get("accord.worker")

LOOK_S: Final = 1.0
PROBE_S: Final = 2.0
AWAY_S: Final = 5.0
"""Brokers that have not answered for this long are away."""
ANSWER_S: Final = 5.0
"""A worker whose event loop does not answer within this is stuck."""


class Monitor:
    """Of one worker; lives on its event loop from `start` to `stop`.

    Args:
        processors: the worker's, by domain.
        topic: asked for to see whether a broker answers; one that exists.
    """

    def __init__(self, app: StreamApp, processors: Mapping[str, Processor], output: Output, topic: str) -> None:
        self._app = app
        self._processors = processors
        self._output = output
        self._topic = topic
        self._loop = asyncio.get_running_loop()
        self._heard_s = time.monotonic()
        self._why = ""
        self._told: tuple[Any, ...] = ("", "", ())
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._probe_forever()), asyncio.create_task(self._look_forever())]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def health(self) -> Health:
        """On the worker's event loop."""
        failure = self._app.failure
        silent_s = time.monotonic() - self._heard_s
        return judge(
            Facts(
                assigned=self._app.assigned,
                failure="" if failure is None else f"{type(failure).__name__}: {failure}",
                kafka=f"no broker has answered for {silent_s:.0f} s: {self._why}" if silent_s > AWAY_S else "",
                partitions=list(self._partitions()),
                in_memory={
                    f"{name}/{partition}": why
                    for name, processor in self._processors.items()
                    for partition, why in processor.in_memory.items()
                },
            )
        )

    @property
    def pages(self) -> dict[str, Page]:
        """`/health` and `/ready`, for other threads."""
        return {"/health": self._page(lambda health: health.serves), "/ready": self._page(lambda health: health.ready)}

    def _page(self, is_well: Callable[[Health], bool]) -> Page:
        def page() -> tuple[int, Mapping[str, Any]]:
            asked = asyncio.run_coroutine_threadsafe(self._gather(), self._loop)
            try:
                health = asked.result(ANSWER_S)
            except TimeoutError:
                asked.cancel()
                why = f"its event loop has not answered for {ANSWER_S:g} s"
                told = {"status": "unhealthy", "service": SERVICE, "ready": False}
                reason = {"what": "worker", "where": "", "why": why}
                return HTTPStatus.SERVICE_UNAVAILABLE, {**told, "reasons": [reason], "reasons_count": 1}
            return HTTPStatus.OK if is_well(health) else HTTPStatus.SERVICE_UNAVAILABLE, health.as_json()

        return page

    async def _gather(self) -> Health:
        return self.health()

    def _partitions(self) -> Iterator[PartitionFact]:
        for name, processor in self._processors.items():
            recovering = processor.delivery.recovering
            for partition in sorted(recovering | processor.owned.keys()):
                owned = processor.owned.get(partition)
                if owned is not None and owned.halted is not None:
                    why = f"{type(owned.halted).__name__}: {owned.halted}"
                    yield PartitionFact(name, partition, "halted", why)
                elif owned is None or partition in recovering:
                    yield PartitionFact(name, partition, "recovering", behind=True)
                else:
                    yield PartitionFact(name, partition, *_state(owned))

    async def _look_forever(self) -> None:
        while True:
            health = self.health()
            told = health.status, health.stage, tuple((reason.what, reason.where) for reason in health.reasons)
            if told != self._told:
                worse = logger.info if health.status in ("healthy", "recovering") else logger.warning
                reasons = [" ".join(filter(None, reason)) for reason in health.reasons[:3]]
                worse(f"worker is {health.status}", was=self._told[0] or None, stage=health.stage, reasons=reasons)
                self._told = told
            await asyncio.sleep(LOOK_S)

    async def _probe_forever(self) -> None:
        while True:
            try:
                await self._loop.run_in_executor(None, self._output.probe, self._topic, PROBE_S)
                self._heard_s = time.monotonic()
            except KafkaException as error:
                self._why = error.args[0].str()
            await asyncio.sleep(PROBE_S)


def _state(owned: Owned) -> tuple[State, str, bool]:
    if owned.waits_for:
        return "waiting", owned.waits_for, True
    return "deciding", "", owned.owner.next_command < owned.catch_up_to
