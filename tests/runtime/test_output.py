"""The worker's producer: who hears what of a record."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from accord.streams.runtime.output import Output

from accord.mock import MockCluster
from accord.settings import Settings


async def until(holds: Callable[[], bool], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110  what it waits for is set from callbacks
            await asyncio.sleep(0.01)


def settings_of(cluster: MockCluster) -> Settings:
    return Settings.load(kafka={"bootstrap_servers": cluster.bootstrap_servers, "idempotent": False})


def test_of_success_only_those_hear_that_ask_for_it_of_failure_all() -> None:
    async def run(cluster: MockCluster) -> None:
        output = Output(settings_of(cluster))
        heard: list[tuple[str, int | None]] = []

        def send(name: str, *, only_failure: bool) -> None:
            report = partial(lambda name, offset: heard.append((name, offset)), name)
            output.send("events", 0, b"k", b"v", [], report, only_failure=only_failure)

        send("quiet", only_failure=True)
        send("loud", only_failure=False)
        await until(lambda: bool(heard))
        assert heard == [("loud", 1)], "the quiet one lies at offset 0, and nobody was called"

        heard.clear()
        cluster.close()
        send("quiet", only_failure=True)
        send("loud", only_failure=False)
        output._producer.purge()
        await until(lambda: len(heard) == 2)
        assert heard == [("quiet", None), ("loud", None)]
        output.close()

    with MockCluster() as cluster:
        cluster.create_topic("events", 1)
        asyncio.run(run(cluster))
