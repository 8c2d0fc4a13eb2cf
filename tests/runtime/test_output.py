"""The worker's producer: who hears what of a record."""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from collections.abc import Callable
from functools import partial

from accord.streams.runtime.output import Output
from confluent_kafka.cimpl import NewTopic

from accord.mock import MockCluster
from accord.settings import Settings
from tests.topics import create


async def until(holds: Callable[[], bool], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110  what it waits for is set from callbacks
            await asyncio.sleep(0.01)


def settings_of(cluster: MockCluster) -> Settings:
    return Settings.load(kafka={"bootstrap_servers": cluster.bootstrap_servers, "idempotent": False})


def test_those_hear_that_ask_for_it_of_success_and_of_failure() -> None:
    async def run(cluster: MockCluster) -> None:
        output = Output(settings_of(cluster))
        heard: list[tuple[str, int | None]] = []

        def send(name: str | None) -> None:
            report = partial(lambda name, offset: heard.append((name, offset)), name) if name else None
            output.send("events", 0, b"k", b"v", [], report)

        send(None)
        send("second")
        await until(lambda: bool(heard))
        assert heard == [("second", 1)]

        heard.clear()
        cluster.close()
        send(None)
        send("fourth")
        output._producer.purge()
        await until(lambda: bool(heard))
        assert heard == [("fourth", None)]
        output.close()

    with MockCluster() as cluster:
        cluster.create_topic("events", 1)
        asyncio.run(run(cluster))


def test_no_record_arrives_after_a_gap(accord_kafka: str) -> None:
    """A record that the broker refuses takes those after it along: the last one's report tells."""
    topic = f"gap-{uuid.uuid4().hex[:8]}"
    create(accord_kafka, NewTopic(topic, 1, 1, config={"max.message.bytes": "1000"}))

    async def run() -> None:
        output = Output(Settings.load(kafka={"bootstrap_servers": accord_kafka}))
        heard: list[int | None] = []
        output.send(topic, 0, b"k", b"fits", [], heard.append)
        await until(lambda: heard == [0])
        output.send(topic, 0, b"k", os.urandom(2_000), [])
        time.sleep(0.1)  # noqa: ASYNC251  refused by now, and nobody on this loop has heard of it
        output.send_all(topic, 0, [(b"k", b"fits", [])] * 2, heard.append)
        await until(lambda: len(heard) == 2)
        assert heard == [0, None]
        output.send(topic, 0, b"k", b"by the next producer", [], heard.append)
        await until(lambda: len(heard) == 3)
        assert heard[2] == 1, "nothing lies between"
        output.close()

    asyncio.run(run())
