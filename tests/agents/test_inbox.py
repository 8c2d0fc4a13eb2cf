"""Answers from the inbox: what comes again, what is missing, what is no notice."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from accord.agents.client import Accord
from accord.agents.connection.connection import Answer, Connection
from accord.agents.connection.inbox_reader import InboxReader
from accord.schemas.headers import LogRecord
from accord.schemas.inbox import address_in, address_of, inbox_of
from accord.schemas.messages.locks import AcquireLock, LockGranted, LockReleased, ReleaseLock
from accord.schemas.topics import inbox_topic
from accord.streams.runtime.worker import EmbeddedWorker

from accord.embedded import Embedded
from accord.errors import AccordError, BadInput, ConfigError
from accord.kafka import bounds, producer, read, reader
from accord.mock import MockCluster
from accord.settings import Settings
from tests.agents.support import detached, queued, run, until, with_

ANSWERS = ("inbox",)

Connect = Callable[..., Connection]
MakeHub = Callable[..., Accord]

ACQUIRE = AcquireLock("ada", "owner", 10_000, None)


def sent_to(settings: Settings, agent: str) -> list[LogRecord]:
    """What lies in the inbox that the agent reads."""
    topic, partition = inbox_topic(settings.topics.prefix), inbox_of(address_of(agent), 4)
    client = reader(settings.kafka)
    try:
        return list(read(client, topic, partition, *bounds(client, topic, partition)))
    finally:
        client.close()


def send_to(settings: Settings, agent: str, notice: LogRecord) -> None:
    """Puts a record into the inbox that the agent reads."""
    sender = producer(settings.kafka)
    headers: Any = list(notice.headers)
    topic = inbox_topic(settings.topics.prefix)
    sender.produce(topic, notice.value, notice.key, inbox_of(address_of(agent), 4), headers=headers)
    assert sender.flush(10) == 0


def test_commands_carry_the_address_of_their_agent(connect: Connect) -> None:
    submission = connect("ada").submit("locks", "address", ACQUIRE)
    assert address_in(submission.id) == address_of("ada")
    assert submission.decided.result().decision.command_id == submission.id


def test_only_those_are_told_whom_a_decision_concerns(connect: Connect, settings: Settings) -> None:
    """Those who read in the same partition drop what is for others, and decode nothing of it."""
    ada, bob = connect("ada"), connect(_neighbour("ada"))
    seen: list[Answer] = []
    bob.watch("locks", "between", seen.append)
    answer = ada.submit("locks", "between", ACQUIRE).decided.result()
    mine = bob.submit("locks", "between", AcquireLock(bob.agent, "o", 10_000, 0)).decided.result()
    assert [found.position for found in seen] == [mine.position], "bob's inbox held ada's answer before his own"
    keys = [notice.key for notice in sent_to(settings, "ada")]
    assert address_of("ada").encode() in keys and answer.position != mine.position


def _neighbour(agent: str) -> str:
    """Another agent who reads the same partition."""
    mine = inbox_of(address_of(agent), 4)
    return next(name for n in range(1_000) if inbox_of(address_of(name := f"bob-{n}"), 4) == mine)


def test_notices_that_come_again_are_dropped(connect: Connect, settings: Settings) -> None:
    """After a failover all since the checkpoint come again, the oldest first."""
    connection = connect("ada")
    seen: list[Answer] = []
    connection.watch("locks", "again", seen.append)
    granted = connection.submit("locks", "again", ACQUIRE).decided.result()
    (event,) = granted.events
    assert isinstance(event, LockGranted)
    connection.submit("locks", "again", ReleaseLock("ada", event.token)).decided.result()
    for notice in sent_to(settings, "ada"):
        send_to(settings, "ada", notice)
    connection.submit("locks", "again", ACQUIRE).decided.result()
    assert [type(answer.events[0]) for answer in seen] == [LockGranted, LockReleased, LockGranted]


def test_what_is_no_notice_is_passed_over(
    connect: Connect, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    connection = connect("ada")
    mine = address_of("ada").encode()
    for headers in ([], [("accord-at", b"locks/0@9"), ("accord-chain", b"99999 1 ab")], [("accord-at", b"\xff")]):
        send_to(settings, "ada", LogRecord(0, 0, 0, mine, b"?", headers))
    assert connection.submit("locks", "passed-over", ACQUIRE).decided.result().events
    assert caplog.text.count("what lies in the inbox is no notice") == 3


def test_an_id_with_another_address_is_refused(connect: Connect) -> None:
    connection = connect("ada")
    for foreign in ("m1", connect("bob").new_id()):
        with pytest.raises(BadInput, match="was not made for agent ada"):
            connection.submit("locks", "k", ACQUIRE, message_id=foreign)
    assert connection.load == {"underway": 0, "partitions": 0, "watches": 0}


def test_who_reads_events_is_served_beside_those_who_read_an_inbox(make_hub: MakeHub, embedded: Embedded) -> None:
    async def main() -> None:
        other = Accord(agent="eve")
        other.use(with_(embedded.settings, "client", answers="events"), embedded.timestamp_ms)
        async with make_hub("ada") as ada, other as eve:
            async with ada.lock("mixed"):
                waiting = detached(eve.lock("mixed").acquire())
                await queued(eve, 1)
            grant = await waiting
            again = detached(ada.lock("mixed").acquire())
            await queued(ada, 1)
            await grant.release()
            await (await again).release()

    run(main())


def test_without_an_inbox_the_connection_does_not_open(lonely: Settings) -> None:
    connection = Connection(with_(lonely, "client", answers="inbox"), agent="ada")
    with pytest.raises(ConfigError, match=r"t\d+\.inbox\.v1 does not exist\. accord topics init --inbox"):
        connection.open()


@pytest.mark.parametrize("late", [False, True], ids=["at once", "after the first look"])
def test_a_worker_that_sends_no_notices_is_found_out(
    lonely: Settings, bare_cluster: MockCluster, tmp_path: Any, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    """It was started before there was an inbox."""
    looks: list[AccordError | None] = []
    look = InboxReader._untold

    def looked(*args: Any) -> AccordError | None:
        looks.append(look(*args))
        return looks[-1]

    monkeypatch.setattr(InboxReader, "_untold", looked)
    settings = with_(lonely, "worker", data_dir=tmp_path, session_timeout_ms=2_000)
    worker = EmbeddedWorker(settings, timestamps="create", static=False)
    worker.start()
    try:
        bare_cluster.create_topic(inbox_topic(settings.topics.prefix), 4)
        settings = with_(settings, "client", answers="inbox", worker_wait_ms=20_000)
        connection = Connection(settings, agent="ada")
        connection.open()
        with ThreadPoolExecutor(1) as held:
            if late:
                held.submit(worker.run, lambda _: until(lambda: bool(looks)))
            submission = connection.submit("locks", "k", ACQUIRE)
        with pytest.raises(ConfigError, match=r"the worker that decided locks/\d@\d+ sends no notices\. Restart"):
            submission.decided.result(15)
        with pytest.raises(ConfigError):
            connection.submit("locks", "k", ACQUIRE)
        assert (looks[0] is None) == late
        connection.close()
    finally:
        worker.stop()


def test_a_slow_answer_is_no_reason_to_fail(lonely: Settings, bare_cluster: MockCluster, tmp_path: Any) -> None:
    """No worker has decided it yet; when one has, it is told."""
    bare_cluster.create_topic(inbox_topic(lonely.topics.prefix), 4)
    settings = with_(with_(lonely, "worker", data_dir=tmp_path), "client", answers="inbox", worker_wait_ms=20_000)
    connection = Connection(settings, agent="ada")
    connection.open()
    submission = connection.submit("locks", "k", ACQUIRE)
    until(lambda: any(underway.look_s for underway in connection._underway.values()))
    worker = EmbeddedWorker(settings, timestamps="create", static=False)
    worker.start()
    try:
        assert submission.decided.result(15).events
    finally:
        connection.close()
        worker.stop()
