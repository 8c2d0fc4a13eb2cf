"""The connection: answers by decision only, every wait bounded, every failure told."""

import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from accord.agents.connection import lookups
from accord.agents.connection.connection import Answer, Connection
from accord.agents.connection.sender import Sender
from accord.agents.connection.underway import Underway
from accord.schemas import headers as h
from accord.schemas.clock import ENTRIES_MAX, VectorClock
from accord.schemas.codec import commands_codec, events_codec
from accord.schemas.messages.locks import AcquireLock, LockGranted, ReleaseLock, RenewLease, WithdrawRequest
from accord.schemas.messages.signals import EmitSignal, SignalEmitted
from accord.schemas.position import Position
from accord.schemas.topics import commands_topic, events_topic, partition_of
from accord.streams.runtime.worker import EmbeddedWorker
from confluent_kafka import Consumer, TopicPartition

from accord.errors import (
    BadInput,
    Degraded,
    KafkaUnreachable,
    LogGap,
    NotConnected,
    NoWorker,
    OutcomeUnknown,
    Overloaded,
    Rejected,
    TopicMismatch,
)
from accord.kafka import consumer, producer, read
from accord.mock import MockCluster
from accord.settings import Settings
from tests.agents.support import until, with_

ANSWERS = ("events", "inbox")

Connect = Callable[..., Connection]

OUT_OF_ORDER_SEQUENCE_NUMBER = 45
"""Kafka's error code."""
ACQUIRE = AcquireLock("ada", "owner", 10_000, 0)


def signal(text: str = "{}") -> EmitSignal:
    return EmitSignal("ada", text, ())


@pytest.mark.each_source
def test_answer_is_the_accepted_decision(connect: Connect) -> None:
    answer = connect().submit("locks", "answer", ACQUIRE, task="t-1", trace="00-ab-cd-01").decided.result()
    (granted,) = answer.events
    assert isinstance(granted, LockGranted)
    assert granted.token == answer.decision.seq
    assert answer.position == Position("locks", partition_of(b"answer", 4), answer.decision.offset)
    assert answer.decision.task == b"t-1"
    assert answer.decision.trace == b"00-ab-cd-01"


@pytest.mark.each_source
def test_commands_to_one_aggregate_keep_their_order(connect: Connect) -> None:
    """Also the first ones, which wait until the partition is followed."""
    connection = connect()
    submitted = [connection.submit("signals", "ordered", signal(f'{{"n":{n}}}')) for n in range(50)]
    causes = [submission.decided.result().decision.cause for submission in submitted]
    assert causes == sorted(causes)


def test_clock_advances_at_each_send_and_merges_what_was_told(connect: Connect) -> None:
    first, second = connect("ada"), connect("bob")
    early = VectorClock.decode(first.submit("signals", "clock", signal()).decided.result().decision.clock)
    seen = VectorClock.decode(second.submit("signals", "clock", signal()).decided.result().decision.clock)
    later = VectorClock.decode(first.submit("signals", "clock", signal()).decided.result().decision.clock)
    assert early.compare(seen) == early.compare(later) == seen.compare(later) == "before"
    mine = [name for name in later.entries if name.startswith("ada#")]
    assert len(mine) == 1
    assert later.entries[mine[0]] > early.entries[mine[0]]


@pytest.mark.each_source
def test_watch_gets_every_decision_of_its_key_in_order(connect: Connect) -> None:
    watching, sending = connect("ada"), connect("ada")
    seen: list[Answer] = []
    unwatch = watching.watch("signals", "watched", seen.append)
    watching.submit("signals", "watched", signal('{"n":0}')).decided.result()  # from here on the watch is on
    for n in range(1, 20):
        sending.submit("signals", "watched", signal(f'{{"n":{n}}}'))
        sending.submit("signals", "other", signal())
    until(lambda: len(seen) == 20)
    assert [answer.events for answer in seen] == [(SignalEmitted("ada", f'{{"n":{n}}}', ()),) for n in range(20)]
    unwatch()
    unwatch()
    watching.submit("signals", "watched", signal()).decided.result()
    assert len(seen) == 20
    assert watching.load == {"underway": 0, "partitions": 0, "watches": 0}


def test_watcher_that_raises_harms_nobody(connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    connection = connect()
    seen: list[Answer] = []
    connection.watch("signals", "raises", lambda _: 1 / 0)
    connection.watch("signals", "raises", seen.append)
    connection.submit("signals", "raises", signal()).decided.result()
    connection.submit("signals", "raises", signal()).decided.result()
    assert len(seen) == 2
    assert "a callback failed" in caplog.text


@pytest.mark.each_source
def test_rejected_command_is_an_error_that_says_why(connect: Connect) -> None:
    decided = connect().submit("locks", "rejected", AcquireLock("ada", "o", 5, None)).decided
    with pytest.raises(
        Rejected, match=r"AcquireLock rejected \(locks.commands/\d@\d+\) was rejected: invalid: lease_ms=5"
    ):
        decided.result()
    assert isinstance(error := decided.exception(), Rejected)
    assert error.details["reason"] == "invalid"
    assert error.position is not None


@pytest.mark.each_source
def test_repeat_is_answered_by_the_first_decision(connect: Connect) -> None:
    connection = connect("ada")
    same = connection.new_id()
    first = connection.submit("locks", "repeat", ACQUIRE, message_id=same).decided.result()
    again = connect("ada").submit("locks", "repeat", ACQUIRE, message_id=same).decided.result()
    assert _told(again) == _told(first)


@pytest.mark.each_source
def test_repeat_far_back_is_found_from_a_confirmed_decision(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = connect("ada")
    for _ in range(30):
        connection.submit("signals", "far", signal()).decided.result()
    far = connection.new_id()
    first = connection.submit("signals", "far", signal(), message_id=far).decided.result()
    for _ in range(5):
        connection.submit("signals", "far", signal()).decided.result()
    monkeypatch.setattr(lookups, "RECALL_RECORDS", 20)
    again = connect("ada").submit("signals", "far", signal(), message_id=far).decided.result()
    assert _told(again) == _told(first)


@pytest.mark.each_source
def test_repeat_of_a_forgotten_command_is_outcome_unknown(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = connect("ada")
    lost = connection.new_id()
    first = connection.submit("signals", "lost", signal(), message_id=lost).decided.result()
    for _ in range(30):
        connection.submit("signals", "lost", signal()).decided.result()
    monkeypatch.setattr(lookups, "RECALL_RECORDS", 3)
    decided = connect("ada").submit("signals", "lost", signal(), message_id=lost).decided
    with pytest.raises(OutcomeUnknown, match=f"signals.commands/{first.position.partition}@{first.decision.cause}"):
        decided.result()
    assert isinstance(error := decided.exception(), OutcomeUnknown)
    assert error.details["command_id"] == lost


def _told(answer: Answer) -> object:
    """What an answer tells of its decision; what its writer had seen confirmed and followed is not told in an inbox."""
    return answer.position, answer.events, msgspec.structs.replace(answer.decision, pointer=None, followed_by=None)


def test_same_id_under_way_is_one_command(lonely: Settings) -> None:
    connection = _open(lonely)
    one = connection.submit("locks", "k", ACQUIRE, message_id="one")
    assert connection.submit("locks", "k", ACQUIRE, message_id="one").decided is one.decided
    assert connection.load["underway"] == 1
    connection.close()


@pytest.mark.each_source
def test_answer_that_comes_before_submit_returns(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sending thread can be stopped for longer than an answer takes."""
    connection = connect()
    connection.submit("signals", "quick", signal()).decided.result()
    send = Sender.send

    def slow_send(sender: Sender, underway: Underway) -> None:
        send(sender, underway)
        time.sleep(0.1)

    monkeypatch.setattr(Sender, "send", slow_send)
    submission = connection.submit("signals", "quick", signal())
    assert submission.decided.result(30).decision.command_id == submission.id
    assert connection.load["underway"] == 0


@pytest.mark.each_source
def test_many_threads_share_a_connection(connect: Connect) -> None:
    connection = connect()

    def send(n: int) -> list[int]:
        return [connection.submit("signals", f"t{n}", signal()).decided.result().decision.cause for _ in range(25)]

    with ThreadPoolExecutor(8) as pool:
        for causes in pool.map(send, range(8)):
            assert causes == sorted(causes)
    assert connection.load["underway"] == 0


@pytest.mark.parametrize("key", ["", "k" * 256, "ü" * 128, "\ud800"])
def test_bad_keys_are_refused_before_anything_is_sent(connect: Connect, key: str) -> None:
    connection = connect()
    with pytest.raises(BadInput):
        connection.submit("locks", key, ACQUIRE)
    with pytest.raises(BadInput):
        connection.watch("locks", key, lambda _: None)
    assert connection.load["underway"] == 0


@pytest.mark.parametrize(
    "extra", [{"message_id": "a b"}, {"message_id": ""}, {"task": "t" * 513}, {"trace": "t" * 513}]
)
def test_bad_headers_are_refused(connect: Connect, extra: dict[str, str]) -> None:
    with pytest.raises(BadInput):
        connect().submit("locks", "k", ACQUIRE, **extra)  # type: ignore[arg-type]


@pytest.mark.parametrize("agent", ["", "a" * 256])
def test_bad_agent_names_are_refused(agent: str) -> None:
    with pytest.raises(BadInput, match="1 to 255 bytes"):
        Connection(Settings.load(), agent=agent)


# -- brokers and workers that are not there


def test_no_broker_at_start() -> None:
    with socket.socket() as taken:  # bound but not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        connection = Connection(
            Settings.load(kafka={"bootstrap_servers": address, "connect_timeout_ms": 300}), agent="ada"
        )
        with pytest.raises(KafkaUnreachable) as raised:
            connection.open()
    assert str(raised.value).startswith(f"no broker at {address} (ACCORD_KAFKA__BOOTSTRAP_SERVERS) in 0.3 s.")
    assert "accord.local()" in str(raised.value)
    with pytest.raises(NotConnected):
        connection.submit("locks", "k", ACQUIRE)
    connection.close()


def test_wrong_partition_count(lonely: Settings) -> None:
    with pytest.raises(TopicMismatch) as raised:
        _open(with_(lonely, "topics", partitions=6))
    assert str(raised.value) == (
        f"{lonely.topics.prefix}.locks.commands.v1 has 4 partitions, settings say 6 (auto-created?). "
        "If empty, delete it, then: accord topics init."
    )


def test_missing_topics(lonely: Settings) -> None:
    with pytest.raises(TopicMismatch, match=r"nowhere.locks.commands.v1 does not exist. .*accord topics init"):
        _open(with_(lonely, "topics", prefix="nowhere"))


def test_no_worker(lonely: Settings, caplog: pytest.LogCaptureFixture) -> None:
    connection = _open(lonely)
    submission = connection.submit("locks", "room_12", ACQUIRE, withdrawal=lambda i: WithdrawRequest("ada", i))
    with pytest.raises(NoWorker) as raised:
        submission.decided.result(30)
    told = re.fullmatch(
        rf"AcquireLock room_12 \(locks.commands/{partition_of(b'room_12', 4)}@0\): "
        r"no worker has read it for ([\d.]+) s\. Start one: accord worker\. Request withdrawn\.",
        str(raised.value),
    )
    assert told is not None, raised.value
    assert float(told[1]) >= lonely.client.worker_wait_ms / 1_000
    assert "delivered, but not decided yet" in caplog.text
    connection.close()
    sent = _commands(lonely, "room_12")
    assert [type(command) for command in sent] == [AcquireLock, WithdrawRequest]
    assert sent[1] == WithdrawRequest("ada", submission.id)


def test_no_worker_for_what_cannot_be_withdrawn(lonely: Settings) -> None:
    connection = _open(lonely)
    submission = connection.submit("signals", "k", signal())
    with pytest.raises(Degraded, match=f"It may be decided later; sending it again as {submission.id} is safe."):
        submission.decided.result(30)
    connection.close()


def test_what_is_not_essential_is_tried_by_one_while_nobody_decides(lonely: Settings) -> None:
    """All others are refused at once and write nothing; what is essential is sent and waited for."""
    connection = _open(with_(lonely, "client", worker_warning_ms=200))
    assert connection.health["status"] == "healthy"
    with pytest.raises(Degraded):
        connection.submit("signals", "k", signal()).decided.result(30)
    health = connection.health
    assert health["status"] == "degraded" and health["off"] == [f"signals/{partition_of(b'k', 4)}"]
    tried, refused = (connection.submit("signals", "k", signal()) for _ in range(2))
    with pytest.raises(
        Degraded, match=r"Signal k was not sent: signals is off: .*Still working: reading the log"
    ) as told:
        refused.decided.result(0)
    assert told.value.details["off"] == health["off"][0]
    urgent = connection.submit("signals", "k", signal(), urgent=True)
    asked = connection.submit("locks", "k", ACQUIRE)
    for waiting, error in ((tried, Degraded), (urgent, Degraded), (asked, NoWorker)):
        with pytest.raises(error):
            waiting.decided.result(30)
    connection.close()
    assert len(_commands(lonely, "k", "signals")) == 3


def test_what_was_off_is_on_with_the_first_decision(lonely: Settings) -> None:
    connection = _open(lonely)
    with pytest.raises(Degraded):
        connection.submit("signals", "k", signal()).decided.result(30)
    worker = EmbeddedWorker(lonely, timestamps="create", static=False)
    worker.start()
    try:
        connection.submit("signals", "k", signal()).decided.result(10)
        assert connection.health["status"] == "healthy" and connection.health["works"] == ["signals"]
    finally:
        connection.close()
        worker.stop()


def test_answer_ms_ends_the_wait_earlier(lonely: Settings) -> None:
    connection = _open(with_(lonely, "client", worker_wait_ms=60_000))
    with pytest.raises(NoWorker):
        connection.submit("locks", "k", ACQUIRE, answer_ms=100).decided.result(30)
    connection.close()


def test_too_many_under_way(lonely: Settings) -> None:
    connection = _open(with_(lonely, "client", unsent_max=3))
    for n in range(3):
        connection.submit("locks", f"k{n}", ACQUIRE)
    with pytest.raises(Overloaded, match="3 commands are under way already"):
        connection.submit("locks", "k3", ACQUIRE)
    connection.close()


@pytest.mark.parametrize("followed", [True, False])
def test_broker_down_in_the_middle(bare_cluster: MockCluster, lonely: Settings, followed: bool) -> None:
    """What is asked meanwhile is told in time; when the broker is back, so are answers."""
    connection = _open(lonely)
    if followed:
        with pytest.raises(NoWorker):
            connection.submit("locks", "k", ACQUIRE).decided.result(30)
    bare_cluster.set_down(True)
    submission = connection.submit("locks", "k", ACQUIRE)
    with pytest.raises(KafkaUnreachable, match="was not delivered within") as raised:
        submission.decided.result(30)
    assert raised.value.details["command_id"] == submission.id
    assert "Is the broker up?" in str(raised.value)
    bare_cluster.set_down(False)
    deadline = time.monotonic() + 15
    while True:
        with pytest.raises((NoWorker, KafkaUnreachable)) as again:
            connection.submit("locks", "k", ACQUIRE).decided.result(30)
        if isinstance(again.value, NoWorker):
            break  # it was delivered
        assert time.monotonic() < deadline
    connection.close()


def test_producer_that_failed_for_good_is_replaced(bare_cluster: MockCluster, lonely: Settings) -> None:
    connection = _open(with_(with_(lonely, "kafka", idempotent=True), "client", worker_wait_ms=1_500))
    with pytest.raises(NoWorker):
        connection.submit("locks", "k", ACQUIRE, answer_ms=900).decided.result(30)
    bare_cluster.fail_next(0, OUT_OF_ORDER_SEQUENCE_NUMBER)
    with pytest.raises(KafkaUnreachable, match=r"was not delivered: .*out of order sequence.*Sending it again as"):
        connection.submit("locks", "k", ACQUIRE).decided.result(30)
    with pytest.raises(NoWorker, match=r"\(locks.commands/\d@1\)"):
        connection.submit("locks", "k", ACQUIRE).decided.result(30)
    connection.close()


# -- logs that cannot be followed


def test_broken_log_fails_the_connection_and_everybody_on_it(lonely: Settings) -> None:
    connection = _open(lonely)
    waiting = connection.submit("locks", "k", ACQUIRE)
    other = connection.submit("signals", "k", signal())
    failures: list[Exception] = []
    connection.on_failure(failures.append)
    until(lambda: _end(lonely, commands_topic("locks", lonely.topics.prefix), b"k") == 1)
    _write_decision(lonely, seq=7, command_id="y")
    _write_decision(lonely, seq=5, command_id="x", confirmed=f"0 4 {'00' * 16}")  # seq 1 to 4 are not there
    for submission in (waiting, other):
        with pytest.raises(LogGap, match="Decision 1 is missing or was changed"):
            submission.decided.result(30)
    with pytest.raises(LogGap):
        connection.submit("locks", "k", ACQUIRE)
    with pytest.raises(LogGap):
        connection.watch("locks", "k", lambda _: None)
    until(lambda: [type(failure) for failure in failures] == [LogGap])
    connection.close()


def test_what_does_not_continue_the_chain_is_no_answer(lonely: Settings) -> None:
    """A decision on my command that the chain does not accept: a fork, a zombie's, a forgery."""
    connection = _open(lonely)
    waiting = connection.submit("locks", "k", ACQUIRE, message_id="mine")
    until(lambda: _end(lonely, commands_topic("locks", lonely.topics.prefix), b"k") == 1)
    _write_decision(lonely, seq=7, command_id="mine")
    until(lambda: _end(lonely, events_topic("locks", lonely.topics.prefix), b"k") == 1)
    with pytest.raises(NoWorker):
        waiting.decided.result(30)
    connection.close()


# -- opening and closing


def test_not_open_yet() -> None:
    with pytest.raises(NotConnected, match="The connection is not open"):
        Connection(Settings.load(), agent="ada").submit("locks", "k", ACQUIRE)


def test_close_tells_who_waits_and_is_idempotent(lonely: Settings) -> None:
    connection = _open(lonely)
    waiting = connection.submit("locks", "k", ACQUIRE)
    failures: list[Exception] = []
    connection.on_failure(failures.append)
    connection.close()
    connection.close()
    with pytest.raises(NotConnected, match="closed before the command was decided"):
        waiting.decided.result(0)
    assert [type(failure) for failure in failures] == [NotConnected]
    with pytest.raises(NotConnected, match="The connection is closed"):
        connection.submit("locks", "k", ACQUIRE)


def test_close_delivers_what_was_sent(connect: Connect) -> None:
    connection, other = connect("ada"), connect("bob")
    token = connection.submit("locks", "closing", ACQUIRE).decided.result().decision.seq
    connection.submit("locks", "closing", ReleaseLock("ada", token))
    connection.close()
    assert isinstance(other.submit("locks", "closing", ACQUIRE).decided.result().events[0], LockGranted)


def test_closed_before_opened() -> None:
    connection = Connection(Settings.load(), agent="ada")
    connection.close()
    with pytest.raises(NotConnected):
        connection.open()


@pytest.mark.each_source
def test_nothing_leaks(connect: Connect) -> None:
    connect("warm-up").submit("locks", "k", RenewLease("ada", 1, 1_000)).decided.result()
    connection = connect("warm-up, too")
    connection.submit("locks", "k", RenewLease("ada", 1, 1_000)).decided.result()
    connection.close()
    threads, handles = threading.active_count(), _open_handles()
    for n in range(30):
        connection = connect(f"agent-{n}")
        if n % 10 == 0:
            connection.submit("locks", "k", RenewLease("ada", 1, 1_000)).decided.result()
        connection.close()
    assert threading.active_count() <= threads
    # librdkafka ends its sockets in the background, and the worker in this process opens some of its own meanwhile.
    until(lambda: _open_handles() < handles + 25)


def test_idle_partitions_are_let_go_and_followed_again(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accord.agents.connection.connection.IDLE_S", 0.05)
    connection = connect()
    connection.submit("signals", "idle", signal()).decided.result()
    until(lambda: not connection._followed)
    submission = connection.submit("signals", "idle", signal())
    assert submission.decided.result().decision.command_id == submission.id
    assert connection.load["partitions"] <= 1


# -- helpers


def _open(settings: Settings) -> Connection:
    connection = Connection(settings, agent="ada")
    connection.open()
    return connection


def _open_handles() -> int:
    """Sockets, pipes and what wakes threads, as clients open them; the files are those of the worker's tables."""
    found = 0
    for one in Path("/proc/self/fd").glob("*"):
        with contextlib.suppress(OSError):  # it was closed meanwhile
            found += not one.readlink().is_absolute()
    return found


def _end(settings: Settings, topic: str, key: bytes) -> int:
    client: Consumer = consumer(settings.kafka)
    try:
        client.list_topics(timeout=5)
        return int(client.get_watermark_offsets(TopicPartition(topic, partition_of(key, 4)), timeout=5)[1])
    finally:
        client.close()


def _commands(settings: Settings, key: str, domain: str = "locks") -> list[object]:
    topic, partition = commands_topic(domain, settings.topics.prefix), partition_of(key.encode(), 4)
    client = consumer(settings.kafka)
    try:
        client.list_topics(timeout=5)
        end = client.get_watermark_offsets(TopicPartition(topic, partition), timeout=5)[1]
        return [commands_codec(domain).decode(record.value) for record in read(client, topic, partition, 0, end)]
    finally:
        client.close()


def _write_decision(settings: Settings, *, seq: int, command_id: str, confirmed: str = "") -> None:
    """Appends a decision out of nowhere to the locks events that hold the key `k`."""
    topic, partition = events_topic("locks", settings.topics.prefix), partition_of(b"k", 4)
    headers = {
        h.ID: "m",
        h.SOURCE: "forger",
        h.TYPE: "accord.locks.v1.Nothing",
        h.CLOCK: "0|",
        h.CAUSE: f"{seq} {command_id}",
        h.CHAIN: f"{seq} 1 {'00' * 16}",
        h.RULES: "1",
    }
    if confirmed:
        headers[h.CONFIRMED] = confirmed
    sender = producer(settings.kafka)
    encoded = [(name, text.encode()) for name, text in headers.items()]
    sender.produce(topic, events_codec("locks").encode([]), b"k", partition, headers=encoded)
    assert sender.flush(5) == 0


def test_an_agent_that_hears_of_many_keeps_its_own_count() -> None:
    """What it was told of between two commands may be more than a clock holds."""
    settings = Settings(kafka={"bootstrap_servers": "127.0.0.1:1"})  # type: ignore[arg-type]
    sender = Sender(settings, "ada", None, lambda underway, error, message: None)
    sender._clock = VectorClock({sender.incarnation: 7}, 7)
    for number in range(2 * ENTRIES_MAX):
        sender.received(VectorClock({f"other-{number}": 1, sender.incarnation: 6}, 9).encode())
    assert sender._clock.entries[sender.incarnation] == 7
    sender.close(0)
