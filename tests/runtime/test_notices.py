"""What a worker sends to the inbox: all that is confirmed, in order, whatever happens to workers and to the inbox."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from accord.schemas.headers import INBOX
from accord.schemas.inbox import address_in, address_of, inbox_of, with_address
from accord.schemas.messages.locks import AcquireLock
from accord.schemas.topics import events_topic, inbox_topic
from accord.streams.notices import place_of
from accord.streams.runtime import followups, output, processor
from accord.streams.runtime.worker import EmbeddedWorker
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from accord import kafka
from accord.mock import MockCluster
from tests.runtime.harness import PARTITIONS, Log, on_either, owned, until
from tests.topics import create

INBOXES = 3
AGENTS = [f"agent-{n}" for n in range(10)]


@on_either
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Log]:
    if request.param == "mock":
        with MockCluster() as mock:
            log = Log(mock.bootstrap_servers, tmp_path, mock, INBOXES)
            yield log
            log.close()
    else:
        log = Log(request.getfixturevalue("accord_kafka"), tmp_path, None, INBOXES)
        yield log
        log.close()


@pytest.fixture
def real_log(accord_kafka: str, tmp_path: Path) -> Iterator[Log]:
    log = Log(accord_kafka, tmp_path, None, INBOXES)
    yield log
    log.close()


def ask(log: Log, count: int) -> None:
    """Tries once for locks, in the name of several agents that want notices."""
    for _ in range(count):
        agent = AGENTS[log.sent % len(AGENTS)]
        message_id = with_address(f"m{log.sent}", address_of(agent))
        log.send(f"room-{log.sent}", AcquireLock(agent, agent, 60_000, 0), message_id=message_id)


def told(log: Log) -> dict[tuple[str, int], list[int]]:
    """The numbers of the decisions that agents were told of, by agent and partition of locks, in order."""
    found: dict[tuple[str, int], list[int]] = {}
    topic = inbox_topic(log.prefix)
    for inbox in range(INBOXES):
        for notice in kafka.read(log.reader, topic, inbox, *kafka.bounds(log.reader, topic, inbox)):
            position, seq = place_of(notice)
            for agent in AGENTS:
                if address_of(agent).encode() in (notice.key or b""):
                    assert inbox_of(address_of(agent), INBOXES) == inbox
                    found.setdefault((agent, position.partition), []).append(seq)
    return found


def expected(log: Log) -> dict[tuple[str, int], list[int]]:
    """What they should have been told of."""
    found: dict[tuple[str, int], list[int]] = {}
    for partition in range(PARTITIONS):
        for decision in log.decisions(partition):
            if address_in(decision.command_id) is None:  # the genesis, ticks
                continue
            agent = AGENTS[int(decision.command_id[1:].partition(".")[0]) % len(AGENTS)]
            found.setdefault((agent, partition), []).append(decision.seq)
    return found


def heard(numbers: list[int]) -> list[int]:
    """What a client takes: what is above the last one."""
    taken: list[int] = []
    for number in numbers:
        if number > (taken[-1] if taken else 0):
            taken.append(number)
    return taken


def all_told(log: Log) -> bool:
    return log.decided() and {who: heard(numbers) for who, numbers in told(log).items()} == expected(log)


def test_everybody_is_told_once_and_in_order(log: Log) -> None:
    with log.worker():
        ask(log, 700)
        until(lambda: all_told(log))
    assert told(log) == expected(log), "nothing comes twice without a failure"


def test_a_decision_says_that_its_writer_sends_notices(log: Log) -> None:
    with log.worker():
        ask(log, 10)
        until(log.decided)
    topic = events_topic("locks", log.prefix)
    for partition in range(PARTITIONS):
        for record in kafka.read(log.reader, topic, partition, *kafka.bounds(log.reader, topic, partition)):
            assert dict(record.headers)[INBOX] == b"%d" % INBOXES


@pytest.mark.parametrize("keeps_data", [True, False])
def test_what_was_not_told_before_a_crash_is_told_after_it(
    log: Log, monkeypatch: pytest.MonkeyPatch, keeps_data: bool
) -> None:
    """The checkpoint waits for it; without a checkpoint, the latest decisions are told again."""
    send = followups.Followups.send
    with log.worker(checkpoint_ms=100) as worker:
        ask(log, 300)
        until(lambda: all_told(log))
        until(lambda: all(one.checkpoint is not None for one in owned(worker).values()))
        monkeypatch.setattr(followups.Followups, "send", lambda self, confirmed: None)
        ask(log, 300)
        until(log.decided)
        time.sleep(0.5)  # several times a checkpoint is due, which must not be written now
        for one in owned(worker).values():
            assert one.checkpoint is not None and one.checkpoint.seq <= one.owner.partition.head.seq - 100
        worker.run(lambda w: [p.owned.clear() for p in w.processors.values()])  # as if it were killed: no more is done
    monkeypatch.setattr(followups.Followups, "send", send)
    assert not all_told(log)
    if not keeps_data:
        shutil.rmtree(log.data_dir / "w1")
    with log.worker("w1" if keeps_data else "w2"):
        until(lambda: all_told(log))


def test_without_its_inbox_a_partition_stops_at_the_bound_and_goes_on_with_it(
    real_log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And does not hold up the worker, which can still be stopped."""
    log = real_log
    monkeypatch.setattr(followups, "UNSENT_MAX", 1_000)
    monkeypatch.setattr(processor, "ROOM_S", 0.1)
    monkeypatch.setattr(processor, "REVOKE_S", 0.3)  # stopping takes as long as it may
    monkeypatch.setattr(output, "FLUSH_S", 0.5)
    topic = inbox_topic(log.prefix)
    admin = AdminClient({"bootstrap.servers": log.bootstrap_servers})

    def heads(worker: EmbeddedWorker) -> list[int]:
        return [one.owner.partition.head.seq for one in owned(worker).values()]

    with log.worker() as worker:
        ask(log, 100)
        until(lambda: all_told(log))
        for deleted in admin.delete_topics([topic]).values():
            deleted.result()
        ask(log, 5_000)
        log.producer.flush(10)
        until(lambda: min(heads(worker)) > 500)
        until(lambda: all(one.paused is not None for one in owned(worker).values()))
        assert max(heads(worker)) < 2_000, "some were told before the inbox was gone, and then 1,000 are the most"
    with log.worker():  # there is no inbox, so it sends no notices
        until(log.decided)
        create(log.bootstrap_servers, NewTopic(topic, INBOXES, 1))
    ask(log, 100)
    with log.worker():
        until(lambda: log.decided() and sum(map(len, told(log).values())) >= 100)


def test_an_inbox_that_is_made_again_is_served_again(real_log: Log) -> None:
    log = real_log
    topic = inbox_topic(log.prefix)
    admin = AdminClient({"bootstrap.servers": log.bootstrap_servers})
    with log.worker():
        ask(log, 100)
        until(lambda: all_told(log))
        for deleted in admin.delete_topics([topic]).values():
            deleted.result()
        ask(log, 100)
        until(log.decided)
        create(log.bootstrap_servers, NewTopic(topic, INBOXES, 1))
        ask(log, 100)
        until(lambda: log.decided() and sum(map(len, told(log).values())) >= 200, 60)
