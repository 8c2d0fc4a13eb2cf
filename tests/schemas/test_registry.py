"""Confluent framing through a schema registry, against one of our own over HTTP."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import pytest
from accord.schemas.codec import Codec, commands_codec, confluent_frame, events_codec
from accord.schemas.messages import log
from accord.schemas.messages.locks import COMMANDS, AcquireLock, LockReleased
from accord.schemas.messages.log import Tick

from accord.errors import ConfigError, SchemaError, Unavailable
from accord.registry import COMPATIBILITY, UNKNOWN_MAX, UNKNOWN_MS, Registry, codecs
from tests.schemas.registry_server import RegistryServer

ACQUIRE = AcquireLock("ada", "ada/1", 5_000, None)


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    with RegistryServer() as running:
        yield running


@pytest.fixture
def codec() -> Codec:
    """A codec of the test's own: those of the process are shared."""
    return Codec("locks.commands", (*log.COMMANDS, *COMMANDS), many=False)


def reason_of(codec: Codec, data: bytes) -> str:
    with pytest.raises(SchemaError) as caught:
        codec.decode(data)
    return str(caught.value.details["reason"])


def test_todays_schemas_are_registered_by_topic_name(server: RegistryServer) -> None:
    ids = Registry(server.url).register("shop")
    assert set(ids) == {
        "shop.locks.commands.v1",
        "shop.locks.events.v1",
        "shop.signals.commands.v1",
        "shop.signals.events.v1",
        "shop.limits.commands.v1",
        "shop.limits.events.v1",
        "shop.waits.commands.v1",
        "shop.waits.events.v1",
        "shop.tasks.commands.v1",
        "shop.tasks.events.v1",
        "shop.roster.commands.v1",
        "shop.roster.events.v1",
        "shop.llm.commands.v1",
        "shop.llm.events.v1",
        "shop.proposals.commands.v1",
        "shop.proposals.events.v1",
        "shop.auctions.commands.v1",
        "shop.auctions.events.v1",
        "shop.hierarchy.commands.v1",
        "shop.hierarchy.events.v1",
        "shop.state.commands.v1",
        "shop.state.events.v1",
        "shop.transactions.commands.v1",
        "shop.transactions.events.v1",
        "shop.conflicts.commands.v1",
        "shop.conflicts.events.v1",
        "shop.triggers.commands.v1",
        "shop.triggers.events.v1",
        "shop.sagas.commands.v1",
        "shop.sagas.events.v1",
        "shop.dlq.v1",
    }
    assert set(server.subjects) == {f"{topic}-value" for topic in ids}
    assert set(server.compatibility.items()) == {(f"{topic}-value", COMPATIBILITY) for topic in ids}
    for topic, codec in codecs("shop"):
        assert json.loads(server.schemas[ids[topic] - 1]["schema"]) == codec.schema
    assert Registry(server.url).register("shop") == ids, "registering again finds them there"


def test_values_in_confluent_framing_are_read(server: RegistryServer, codec: Codec) -> None:
    registry = Registry(server.url)
    ids = registry.register()
    codec.registry = registry
    framed = codec.encode(ACQUIRE, frame=confluent_frame(ids["accord.locks.commands.v1"]))
    assert framed[:1] == b"\x00"
    assert codec.decode(framed) == ACQUIRE
    assert codec.decode(codec.encode(ACQUIRE)) == ACQUIRE, "a reader takes both framings"


def test_attached_codecs_read_decisions(server: RegistryServer) -> None:
    registry = Registry(server.url)
    ids = registry.register()
    try:
        registry.attach()
        codec = events_codec("locks")
        framed = codec.encode([LockReleased("ada", 2)], frame=confluent_frame(ids["accord.locks.events.v1"]))
        assert codec.decode(framed) == (LockReleased("ada", 2),)
    finally:
        for _, codec in codecs():
            codec.registry = None


def test_a_schema_is_asked_for_once(server: RegistryServer, codec: Codec) -> None:
    registry = Registry(server.url)
    ids = registry.register()
    codec.registry = registry
    server.requests.clear()
    for lease_ms in range(1_000, 1_050):
        codec.decode(
            codec.encode(AcquireLock("a", "o", lease_ms, 0), frame=confluent_frame(ids["accord.locks.commands.v1"]))
        )
    assert len(server.requests) <= 1


def test_a_writers_schema_of_its_own_is_resolved(server: RegistryServer, codec: Codec) -> None:
    """Another program's union in another order: the registry's schema tells, not ours."""
    reordered = codec.schema[::-1]
    schema_id = server.add(json.dumps(reordered))
    codec.registry = Registry(server.url)
    at = len(codec.schema) - 1
    assert codec.decode(confluent_frame(schema_id) + bytes([2 * at])) == Tick()


def test_an_unknown_id_is_an_unknown_schema_and_asked_for_again_later(server: RegistryServer, codec: Codec) -> None:
    now_ms = [0.0]
    codec.registry = Registry(server.url, now_ms=lambda: now_ms[0])
    data = confluent_frame(1) + b"\x00"
    for _ in range(5):
        assert reason_of(codec, data) == "unknown_schema"
    assert len(server.requests) == 1, "garbage does not become a request a record"
    server.add(json.dumps(codec.schema))
    assert reason_of(codec, data) == "unknown_schema"
    now_ms[0] = UNKNOWN_MS
    assert codec.decode(data) == Tick()


def test_unknown_ids_take_bounded_room(server: RegistryServer) -> None:
    registry = Registry(server.url)
    for schema_id in range(2, UNKNOWN_MAX + 12):
        registry._missing(schema_id, "no")
    assert len(registry._unknown) == UNKNOWN_MAX


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ('{"type": "object"}', "JSON"),
        ('syntax = "proto3";', "PROTOBUF"),
        ("not json", "AVRO"),
        ('{"type": "record"}', "AVRO"),
        ('{"type": "nonsense"}', "AVRO"),
        ("[]", "AVRO"),
        ("{}", "AVRO"),
        ("7", "AVRO"),
    ],
)
def test_a_schema_that_is_none_of_ours_is_unknown(server: RegistryServer, codec: Codec, schema: str, kind: str) -> None:
    codec.registry = Registry(server.url)
    schema_id = server.add(schema, kind)
    assert reason_of(codec, confluent_frame(schema_id) + b"\x00") in ("unknown_schema", "undecodable")


def test_a_schema_that_is_not_avro_is_unknown_whatever_it_reads_like(server: RegistryServer, codec: Codec) -> None:
    codec.registry = Registry(server.url)
    schema_id = server.add('"string"', "JSON")
    with pytest.raises(SchemaError) as caught:
        codec.decode(confluent_frame(schema_id) + b"\x06ada")
    assert caught.value.details["reason"] == "unknown_schema"


def test_a_schema_of_something_else_is_undecodable(server: RegistryServer, codec: Codec) -> None:
    codec.registry = Registry(server.url)
    person = {"type": "record", "name": "Person", "fields": [{"name": "name", "type": "string"}]}
    schema_id = server.add(json.dumps(person))
    assert reason_of(codec, confluent_frame(schema_id) + b"\x06ada") == "undecodable"


def test_without_a_registry_an_id_is_an_unknown_schema() -> None:
    assert reason_of(commands_codec("locks"), confluent_frame(1) + b"\x00") == "unknown_schema"


@pytest.mark.parametrize("data", [b"\x00", b"\x00\x00", b"\x00\x00\x00\x00"])
def test_a_frame_cut_short_does_not_reach_the_registry(server: RegistryServer, codec: Codec, data: bytes) -> None:
    codec.registry = Registry(server.url)
    assert reason_of(codec, data) == "undecodable"
    assert server.requests == []


def test_a_registry_that_fails_is_no_verdict_on_the_value(server: RegistryServer, codec: Codec) -> None:
    registry = Registry(server.url)
    ids = registry.register()
    fresh = Registry(server.url)
    codec.registry = fresh
    data = codec.encode(ACQUIRE, frame=confluent_frame(ids["accord.locks.commands.v1"]))
    server.broken = True
    with pytest.raises(Unavailable, match="did not answer for schema 1"):
        codec.decode(data)
    with pytest.raises(Unavailable):
        fresh.register()
    server.broken = False
    assert codec.decode(data) == ACQUIRE


def test_a_registry_that_is_not_there(codec: Codec) -> None:
    with RegistryServer() as gone:
        url = gone.url
    codec.registry = Registry(url)
    with pytest.raises(Unavailable, match="Start it, or correct ACCORD_SCHEMA_REGISTRY_URL"):
        codec.decode(confluent_frame(1) + b"\x00")


def test_a_registry_that_refuses_todays_schemas(server: RegistryServer) -> None:
    server.refuse = True
    with pytest.raises(ConfigError, match=r"refuses accord\.locks\.commands\.v1-value: Schema being"):
        Registry(server.url).register()


def test_an_address_that_is_none() -> None:
    with pytest.raises(ConfigError, match="schema_registry_url"):
        Registry("registry:8081")


def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "confluent_kafka.schema_registry", None)
    with pytest.raises(ConfigError, match=r"pip install 'accord\[registry\]'"):
        Registry("http://127.0.0.1:1")
