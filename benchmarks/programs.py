"""The processes that benchmarks start: `python -m benchmarks.programs NAME JSON`.

`worker` is accord's; `echo`, `noop` and `tumbling` are ordinary Faust agents, `responder` is a loop over plain Kafka
clients, `readers` are clients of accord, many in one process; `replayed` reads an archive again; `beating` are agents,
each in a role of its name; `cycling` takes and frees locks as fast as it can.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final, cast

WAIT_S: Final = 0.5
WAIT_MAX_S: Final = 60.0
CLIENT: Final = {"log_level": 3, "enable.auto.commit": False}


def worker(**arguments: Any) -> None:
    """What `accord worker` runs."""
    from accord.streams.runtime.worker import run  # noqa: PLC0415  each process loads what it needs

    from accord.settings import Settings  # noqa: PLC0415

    sys.stdout = sys.stderr  # the worker's log
    sys.exit(run(Settings.load(**arguments)))


def echo(bootstrap_servers: str, requests: str, answers: str) -> None:
    """An ordinary Faust agent that answers every record with itself."""
    app = _faust(bootstrap_servers, f"{requests}-echo")
    answer_topic = _topic(app, answers)

    async def reply(stream: Any) -> None:
        async for event in stream.events():
            await answer_topic.send(key=event.key, value=event.value)

    app.agent(_topic(app, requests))(reply)
    asyncio.run(_serve(app))


def noop(bootstrap_servers: str, topic: str, count: int) -> None:
    """An ordinary Faust agent that does nothing with `count` records; prints how many it took a second."""
    app = _faust(bootstrap_servers, f"{topic}-noop")
    seen, began = 0, 0.0

    async def take(stream: Any) -> None:
        nonlocal seen, began
        async for _ in stream.events():
            seen += 1
            if seen == 1:
                began = time.perf_counter()
            if seen == count:
                print(json.dumps({"per_second": (count - 1) / (time.perf_counter() - began)}), flush=True)

    app.agent(_topic(app, topic))(take)
    asyncio.run(_serve(app))


def tumbling(bootstrap_servers: str, topic: str, count: int, window_ms: int, partitions: int) -> None:
    """An ordinary Faust agent that counts `count` records by a field in a tumbling table; prints how many a second."""
    app = _faust(bootstrap_servers, f"{topic}-tumbling")
    app.conf.topic_allow_declare = True
    app.conf.topic_partitions = partitions
    table = app.Table(f"{topic}-table", default=int, partitions=partitions).tumbling(window_ms / 1_000, expires=60.0)
    seen, began = 0, 0.0

    async def take(stream: Any) -> None:
        nonlocal seen, began
        async for event in stream.events():
            seen += 1
            if seen == 1:
                began = time.perf_counter()
            table[json.loads(event.value)["room"]] += 1
            if seen == count:
                print(json.dumps({"per_second": (count - 1) / (time.perf_counter() - began)}), flush=True)

    app.agent(_topic(app, topic))(take)
    asyncio.run(_serve(app))


def responder(bootstrap_servers: str, requests: str, answers: str, partitions: int) -> None:
    """Two plain clients: every record of one topic goes to the other."""
    from confluent_kafka import OFFSET_END, Consumer, Producer, TopicPartition  # noqa: PLC0415

    consumer = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": "unused"} | CLIENT)
    producer = Producer({"bootstrap.servers": bootstrap_servers, "linger.ms": 0, "acks": "all", "log_level": 3})
    consumer.assign([TopicPartition(requests, p, OFFSET_END) for p in range(partitions)])
    while True:
        message = consumer.poll(1.0)
        if message is not None and message.error() is None:
            producer.produce(answers, message.value(), message.key())
        producer.poll(0)


def replayed(archive: str, what: str) -> None:
    """Rebuilds or verifies an archive, partition by partition; prints the most memory that this process had."""
    from accord.replay.source import open_source  # noqa: PLC0415
    from accord.replay.state import rebuild  # noqa: PLC0415
    from accord.replay.verify import verify  # noqa: PLC0415

    with open_source(archive) as source:
        if what == "verify":
            verify(source)
        else:
            for where in source.all_partitions():
                rebuild(source, *where)
    print(json.dumps({"peak_mb": _peak_mb()}), flush=True)


def _peak_mb() -> float:
    """Peak resident memory of this process. `getrusage` would count what its parent had when it was started."""
    status = Path("/proc/self/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1_024


def readers(settings: dict[str, Any], agents: list[str], commands: int, pause_s: float) -> None:
    """Clients that acquire and release a lock of their own, all at the same rate, once a line comes in.

    Prints a line when all are connected and were answered; then what they read, how many commands were answered and
    the CPU time of it.
    """
    from accord.agents.connection import connection, reader  # noqa: PLC0415
    from accord.schemas.messages.locks import AcquireLock, ReleaseLock  # noqa: PLC0415

    from accord.settings import Settings  # noqa: PLC0415
    from benchmarks.bench import LEASE_MS  # noqa: PLC0415

    # Hundreds of clients on a machine of a few cores leave no time to work if each looks around as often as it should.
    connection.POLL_S, reader.FETCH_WAIT_MS_MAX = WAIT_S, int(WAIT_S * 1_000)
    clients = {agent: connection.Connection(Settings.load(**settings), agent=agent) for agent in agents}
    for client in clients.values():
        client.open()
    tokens = dict.fromkeys(agents, 0)

    def send(agent: str) -> Any:
        acquire = AcquireLock(agent, f"{agent}:1", LEASE_MS, None)
        command = ReleaseLock(agent, tokens[agent]) if tokens[agent] else acquire
        return clients[agent].submit("locks", f"room-of-{agent}", command).decided

    def answered(agent: str, sent: Any) -> None:
        (event,) = sent.result().events
        tokens[agent] = 0 if tokens[agent] else event.token

    def positions() -> dict[tuple[str, str, int], int]:
        """How far each client has read: nobody else's business, so nothing public tells it. Only the client's own
        thread may touch its consumer."""
        asked: dict[str, Future[list[Any]]] = {agent: Future() for agent in agents}
        for agent, client in clients.items():
            source, found = cast(Any, client._answers).consumer, asked[agent]
            client.call_later(0, lambda s=source, f=found: f.set_result(s.position(s.assignment())))  # type: ignore[misc]
        return {
            (agent, at.topic, at.partition): at.offset for agent in agents for at in asked[agent].result(WAIT_MAX_S)
        }

    for agent in agents:
        answered(agent, send(agent))
    print(json.dumps({"ready": len(agents)}), flush=True)
    sys.stdin.readline()
    before, cpu_s, began_s = positions(), time.process_time(), time.monotonic()
    decided = 0
    for turn in range(commands):
        sent = []
        for number, agent in enumerate(agents):
            due_s = began_s + (turn + number / len(agents)) * pause_s
            time.sleep(max(0.0, due_s - time.monotonic()))
            sent.append((agent, send(agent)))
        for agent, submission in sent:
            answered(agent, submission)
            decided += 1
    cpu_s = time.process_time() - cpu_s
    read = [(topic, part, before[agent, topic, part], end) for (agent, topic, part), end in positions().items()]
    print(json.dumps({"read": read, "decided": decided, "cpu_s": cpu_s}), flush=True)
    sys.stdin.readline()  # connected as long as others work


def beating(settings: dict[str, Any], agents: list[str]) -> None:
    """Agents that each have the role of their name until they are killed; prints what their heartbeats are called."""
    from accord.settings import Settings  # noqa: PLC0415
    from accord.sync import Accord  # noqa: PLC0415

    names = {}
    for agent in agents:
        hub = Accord(agent=agent, settings=Settings.load(**settings))
        hub.__enter__()
        hub.role(agent).acquire()
        names[agent] = hub.heartbeat.name
    print(json.dumps(names), flush=True)
    threading.Event().wait()


def cycling(settings: dict[str, Any], chains: int) -> None:
    """Call chains that take and free locks until told to stop; prints when they begin, then the cycles a second."""
    from accord.settings import Settings  # noqa: PLC0415
    from accord.sync import Accord  # noqa: PLC0415

    stopping, counts = threading.Event(), [0] * chains

    def cycle(number: int) -> None:
        while not stopping.is_set():
            with hub.lock(f"load-{number}"):
                counts[number] += 1

    with Accord(agent="load", settings=Settings.load(**settings)) as hub:
        threads = [threading.Thread(target=cycle, args=(number,)) for number in range(chains)]
        began_s = time.monotonic()
        for thread in threads:
            thread.start()
        print(json.dumps({}), flush=True)
        sys.stdin.readline()
        stopping.set()
        for thread in threads:
            thread.join()
        print(json.dumps({"a_second": sum(counts) / (time.monotonic() - began_s)}), flush=True)


def _faust(bootstrap_servers: str, group: str) -> Any:
    import faust  # noqa: PLC0415

    logging.basicConfig(level=logging.ERROR)
    return faust.App(
        group,
        broker=";".join(f"kafka://{server}" for server in bootstrap_servers.split(",")),
        autodiscover=False,
        consumer_auto_offset_reset="earliest",
        datadir=tempfile.mkdtemp(prefix="accord-bench-faust-"),
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
    )


def _topic(app: Any, name: str) -> Any:
    return app.topic(name, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")


async def _serve(app: Any) -> None:
    await app.start()
    await asyncio.Event().wait()


PROGRAMS: Final[dict[str, Callable[..., None]]] = {
    "worker": worker,
    "echo": echo,
    "noop": noop,
    "tumbling": tumbling,
    "responder": responder,
    "readers": readers,
    "replayed": replayed,
    "beating": beating,
    "cycling": cycling,
}

if __name__ == "__main__":
    PROGRAMS[sys.argv[1]](**json.loads(sys.argv[2]))
