"""Values in and out: every message comes back as it was, and no bytes bring anything but a message or a SchemaError."""

from __future__ import annotations

import io
from typing import Any

import fastavro
import msgspec
import pytest
from accord.schemas.codec import (
    Codec,
    commands_codec,
    confluent_frame,
    deadletters_codec,
    decode_record,
    events_codec,
    fingerprint_of,
)
from accord.schemas.headers import LogRecord
from accord.schemas.messages import Command, Message
from accord.schemas.messages.locks import AcquireLock, LockReleased
from accord.schemas.messages.log import Tick
from accord.schemas.messages.signals import EmitSignal
from hypothesis import given
from hypothesis import strategies as st

from accord.errors import SchemaError
from tests.counts import examples
from tests.schemas.support import CODECS, MESSAGES, held, messages

ids = [codec.subject for codec in CODECS]
each_codec = pytest.mark.parametrize("codec", CODECS, ids=ids)


def codec_of(record: type[Message]) -> Codec:
    return next(codec for codec in CODECS if record in codec._index)


def reason_of(codec: Codec, data: bytes | None) -> str:
    with pytest.raises(SchemaError) as caught:
        codec.decode(data)
    assert str(caught.value)
    return str(caught.value.details["reason"])


@pytest.mark.parametrize("record", MESSAGES, ids=lambda record: record.__name__)
@given(st.data())
@examples(5)
def test_every_message_comes_back(record: type[Message], data: st.DataObject) -> None:
    codec = codec_of(record)
    message = data.draw(messages(record))
    if codec.many:
        assert codec.decode(codec.encode([message])) == (message,)
    else:
        assert codec.decode(codec.encode(message)) == message


@each_codec
@given(st.data())
@examples(8)
def test_values_are_what_avro_says(codec: Codec, data: st.DataObject) -> None:
    """Our quick way of writing unions and arrays against fastavro's own, both ways."""
    value = data.draw(held(codec))

    def datum(message: Message) -> Any:
        fields = msgspec.to_builtins(message, builtin_types=(bytes,))
        return fields if len(codec._types) == 1 else (codec.type_name(message), fields)

    whole = [datum(message) for message in value] if codec.many else datum(value)
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, fastavro.parse_schema(codec.schema), whole)
    assert codec.encode(value) == codec.frame + buffer.getvalue()
    assert codec.decode(codec.frame + buffer.getvalue()) == value


@pytest.mark.parametrize("count", [0, 1, 63, 64, 127, 128, 1_000, 20_000])
def test_decisions_of_any_length_come_back(count: int) -> None:
    codec = events_codec("locks")
    decision = tuple(LockReleased("ada", token) for token in range(count))
    assert codec.decode(codec.encode(decision)) == decision


def test_an_array_in_several_blocks_is_read() -> None:
    """Other writers may cut an array into blocks, with sizes in bytes or without."""
    codec = events_codec("locks")
    one, two = (codec.encode([LockReleased("ada", token)])[10:] for token in (1, 2))
    body = one[1:-1]  # without the count and the end
    in_two_blocks = codec.frame + one[:-1] + two
    assert codec.decode(in_two_blocks) == (LockReleased("ada", 1), LockReleased("ada", 2))
    with_size = codec.frame + b"\x01" + bytes([2 * len(body)]) + body + b"\x00"
    assert codec.decode(with_size) == (LockReleased("ada", 1),)


@each_codec
def test_the_frame_names_the_schema(codec: Codec) -> None:
    assert codec.frame == b"\xc3\x01" + fingerprint_of(codec.schema)
    assert len(codec.frame) == 10


def test_the_fingerprint_is_avros() -> None:
    """The specification's own example, the CRC-64-AVRO of "int"; in single objects its least significant byte first."""
    assert fingerprint_of("int") == (0x7275D51A3F395C8F).to_bytes(8, "little")


@each_codec
def test_frames_of_different_topics_differ(codec: Codec) -> None:
    assert sum(other.frame == codec.frame for other in CODECS) == 1


# -- bad bytes


@each_codec
@pytest.mark.parametrize("data", [None, b""])
def test_an_empty_value(codec: Codec, data: bytes | None) -> None:
    assert reason_of(codec, data) == "undecodable"


@each_codec
@pytest.mark.parametrize(
    "data", [b"{}", b"\xff", b"\xc3", b"\xc3\x02" + b"\x00" * 9, b"\x01\x00\x00\x00\x01", b"\x00", b"\x00\x00\x00"]
)
def test_a_value_without_a_framing(codec: Codec, data: bytes) -> None:
    assert reason_of(codec, data) == "undecodable"


@each_codec
@pytest.mark.parametrize(
    "data", [b"\xc3\x01", b"\xc3\x01\x01\x02", b"\xc3\x01" + b"\x07" * 8, b"\xc3\x01" + b"\x07" * 9]
)
def test_an_unknown_fingerprint(codec: Codec, data: bytes) -> None:
    assert reason_of(codec, data) == "unknown_schema"


def test_an_unknown_fingerprint_is_named() -> None:
    with pytest.raises(SchemaError, match=r"no locks\.commands schema has fingerprint 0707070707070707"):
        commands_codec("locks").decode(b"\xc3\x01" + b"\x07" * 8)


@each_codec
@given(st.data())
@examples(5)
def test_bytes_after_the_message(codec: Codec, data: st.DataObject) -> None:
    value, tail = data.draw(held(codec)), data.draw(st.binary(min_size=1, max_size=5))
    assert reason_of(codec, codec.encode(value) + tail) == "undecodable"


@each_codec
@given(st.data())
@examples(8)
def test_a_value_that_is_cut_short(codec: Codec, data: st.DataObject) -> None:
    whole = codec.encode(data.draw(held(codec)))
    cut = data.draw(st.integers(0, len(whole) - 1))
    if len(whole) > 10 or codec.many:
        assert reason_of(codec, whole[:cut]) in ("undecodable", "unknown_schema")


def test_a_branch_that_the_union_does_not_have() -> None:
    codec = commands_codec("locks")
    for branch in (b"\x0e", b"\x7e", b"\x01", b"\x03", b"\x80\x01"):
        assert reason_of(codec, codec.frame + branch) == "undecodable"


def test_a_string_that_is_not_utf8_or_longer_than_the_value() -> None:
    codec = commands_codec("signals")
    head = codec.encode(EmitSignal("", "", ()))[:11]
    for agent in (b"\x04\xff\xfe", b"\xfe\xff\xff\xff\x0f", b"\x01", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"):
        assert reason_of(codec, head + agent + b"\x00\x00") == "undecodable"


def test_a_huge_count_ends_at_the_end_of_the_bytes() -> None:
    huge = b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01"
    assert reason_of(events_codec("locks"), events_codec("locks").frame + huge) == "undecodable"
    head = commands_codec("signals").encode(EmitSignal("a", "{}", ()))[:-1]
    assert reason_of(commands_codec("signals"), head + huge) == "undecodable"


@each_codec
@given(st.binary(max_size=80))
@examples(20)
def test_any_bytes_behind_the_frame_give_a_value_or_a_schema_error(codec: Codec, tail: bytes) -> None:
    try:
        value = codec.decode(codec.frame + tail)
    except SchemaError as error:
        assert error.details["reason"] == "undecodable"
        return
    for message in value if codec.many else (value,):
        assert type(message) in codec._index
    assert codec.decode(codec.encode(value)) == value, "what was read can be written"


@each_codec
@given(st.data())
@examples(8)
def test_a_value_with_a_few_bytes_changed_gives_a_value_or_a_schema_error(codec: Codec, data: st.DataObject) -> None:
    damaged = bytearray(codec.encode(data.draw(held(codec))))
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        codec.decode(bytes(damaged))
    except SchemaError as error:
        assert error.details["reason"] in ("undecodable", "unknown_schema")


@given(st.sampled_from(CODECS), st.binary(max_size=40))
@examples(200)
def test_any_bytes_at_all(codec: Codec, data: bytes) -> None:
    try:
        codec.decode(data)
    except SchemaError as error:
        assert error.details["reason"] in ("undecodable", "unknown_schema")


# -- where they lie


def test_bad_bytes_name_their_place() -> None:
    record = LogRecord(1842, 0, 1, b"room", b"garbage", ())
    with pytest.raises(SchemaError) as caught:
        decode_record(events_codec("locks"), "shop.locks.events.v1", 3, record)
    error = caught.value
    assert error.position == "locks/3@1842"
    assert str(error) == (
        "shop.locks.events.v1, partition 3, offset 1842: undecodable: "
        "the value starts with 6761, which is no framing of Avro."
    )
    place = {"topic": "shop.locks.events.v1", "partition": 3, "offset": 1842, "reason": "undecodable"}
    assert place.items() <= error.as_json().items()


def test_the_place_of_a_command_and_of_a_dead_letter() -> None:
    record = LogRecord(977, 0, 1, b"room", b"\xc3\x01" + b"\x07" * 8, ())
    with pytest.raises(SchemaError, match="offset 977: unknown_schema") as caught:
        decode_record(commands_codec("locks"), "accord.locks.commands.v1", 3, record)
    assert caught.value.position == "locks.commands/3@977"
    with pytest.raises(SchemaError, match=r"accord\.dlq\.v1, partition 0, offset 977: unknown_schema") as caught:
        decode_record(deadletters_codec(), "accord.dlq.v1", 0, record)
    assert caught.value.position is None


def test_a_good_record_is_just_read() -> None:
    codec = commands_codec("locks")
    command = AcquireLock("ada", "ada/1", 5_000, None)
    record = LogRecord(0, 0, 1, b"room", codec.encode(command), ())
    assert decode_record(codec, "accord.locks.commands.v1", 0, record) == command


# -- what cannot be written


class Stranger(Command, frozen=True):
    pass


def test_a_message_of_another_topic_cannot_be_written() -> None:
    for codec in (commands_codec("locks"), deadletters_codec()):
        with pytest.raises(KeyError):
            codec.encode(Stranger())
    with pytest.raises(KeyError):
        events_codec("locks").encode([Tick()])


def test_confluent_framing_on_demand() -> None:
    assert commands_codec("locks").encode(Tick(), frame=confluent_frame(7)) == b"\x00\x00\x00\x00\x07\x00"
