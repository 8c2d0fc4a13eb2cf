"""The fixture `accord_kafka` and the native broker behind it."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Consumer, Producer, TopicPartition
from confluent_kafka.admin import NewTopic

from accord.testing.broker import NativeKafka, kafka_for_tests
from accord.testing.kafka_jars import KafkaUnavailable
from tests import topics
from tests.counts import only_long


def test_the_broker_stamps_records_with_its_own_clock(accord_kafka: str) -> None:
    _create_topic(accord_kafka, "native-broker-stamps")
    _produce(accord_kafka, "native-broker-stamps", ["a", "b"])
    stamps = [stamp for _, stamp in _consume(accord_kafka, "native-broker-stamps", count=2)]
    now_ms = time.time() * 1000
    assert all(kind == TIMESTAMP_LOG_APPEND_TIME and now_ms - ms < 60_000 for kind, ms in stamps)


@only_long  # the fault run kills one at once, and would miss its data
def test_data_and_port_survive_a_kill() -> None:
    with NativeKafka() as kafka:
        _create_topic(kafka.bootstrap_servers, "kept")
        _produce(kafka.bootstrap_servers, "kept", ["before"])
        kafka.kill()
        assert kafka.pid is None
        kafka.restart()
        _produce(kafka.bootstrap_servers, "kept", ["after"])
        assert [value for value, _ in _consume(kafka.bootstrap_servers, "kept", count=2)] == [
            "before",
            "after",
        ]
        assert "Kafka Server started" in kafka.log_path.read_text()
    assert not kafka.log_path.parent.exists()


def test_the_broker_dies_with_its_owner() -> None:
    program = (
        "import os, signal\n"
        "from accord.testing.broker import NativeKafka\n"
        "kafka = NativeKafka().__enter__()\n"
        "print(kafka.pid, kafka.log_path.parent, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    pid, directory = run.stdout.split()
    deadline = time.monotonic() + 10
    while _is_running(int(pid)) or Path(directory).exists():
        assert time.monotonic() < deadline, f"broker {pid} outlived its owner"
        time.sleep(0.05)


def test_a_machine_without_any_kafka_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KAFKA_BOOTSTRAP_SERVERS", "JAVA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    with pytest.raises(KafkaUnavailable, match="install a JDK 17"), kafka_for_tests():
        pass


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # Where nothing reaps orphans a killed process stays as a zombie: it has ended all the same.
    return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()


def _create_topic(servers: str, name: str) -> None:
    topic = NewTopic(name, 1, 1, config={"message.timestamp.type": "LogAppendTime"})
    topics.create(servers, topic)


def _produce(servers: str, topic: str, values: list[str]) -> None:
    producer = Producer({"bootstrap.servers": servers})
    for value in values:
        producer.produce(topic, value.encode(), timestamp=1)
    assert producer.flush(10) == 0


def _consume(servers: str, topic: str, count: int) -> list[tuple[str, tuple[int, int]]]:
    consumer = Consumer({"bootstrap.servers": servers, "group.id": topic, "auto.offset.reset": "earliest"})
    consumer.assign([TopicPartition(topic, 0, 0)])
    read = []
    deadline = time.monotonic() + 30
    while len(read) < count:
        assert time.monotonic() < deadline, f"read {len(read)} of {count} records of {topic}"
        message = consumer.poll(1)
        if message is not None:
            assert message.error() is None, message.error()
            read.append((message.value().decode(), message.timestamp()))
    consumer.close()
    return read
