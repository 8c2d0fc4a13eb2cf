"""Flat records are read as fastavro reads them, or left to it."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import fastavro
import msgspec
import pytest
from accord.schemas.flat import kinds_of, read_flat, write_flat
from accord.schemas.messages import Message
from accord.schemas.messages.locks import AcquireLock, LockGranted
from accord.schemas.messages.signals import EmitSignal
from accord.schemas.messages.tasks import Artifact, CompleteStep
from hypothesis import given
from hypothesis import strategies as st

from tests.counts import examples
from tests.schemas.support import MESSAGES, avsc, messages

KINDS = {record: kinds_of(avsc(record)) for record in MESSAGES}
FLAT = [record for record, kinds in KINDS.items() if kinds is not None]


def written(message: Message) -> bytes:
    buffer = BytesIO()
    schema: Any = avsc(type(message))
    fastavro.schemaless_writer(buffer, schema, msgspec.to_builtins(message))
    return buffer.getvalue()


def by_fastavro(record: type[Message], data: bytes) -> tuple[list[Any], int]:
    buffer = BytesIO(data)
    schema: Any = avsc(record)
    fields: Any = fastavro.schemaless_reader(buffer, schema, None)
    return list(fields.values()), buffer.tell()


def test_which_records_are_flat() -> None:
    assert {LockGranted, AcquireLock} <= set(FLAT)
    assert KINDS[EmitSignal] is None, "it holds an array"
    assert kinds_of({"fields": [{"type": "string"}, {"type": ["string", "null"]}]}) is None
    assert kinds_of({"fields": [{"type": "double"}]}) is None


@pytest.mark.parametrize(
    "message",
    [
        AcquireLock("ada", "ada/1", 5_000, None),
        AcquireLock("ada", "ada/1", 5_000, -1),
        AcquireLock("ä" * 10_000, "", 0, 2**62 - 1),
        AcquireLock("ada", "ada/1", 64, -(2**62)),
        LockGranted("r", "ada", "ada/1", 2**40, 5_000, 1_700_000_000_000),
        CompleteStep("ada", "write", 7, '"a text, and no artifact"'),
    ],
)
def test_a_flat_record_is_read(message: Message) -> None:
    data = written(message)
    kinds = KINDS[type(message)]
    assert kinds is not None
    assert read_flat(data, 0, kinds) == by_fastavro(type(message), data)
    assert read_flat(b"xy" + data + b"z", 2, kinds) == (list(msgspec.structs.astuple(message)), len(data) + 2)


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"\x06ad",
        b"\x06ada",
        b"\x06ada\x80",
        b"\x04\xff\xfe\x02",  # no UTF-8
        b"\x01\x02",  # a length below 0
        b"\xff" * 40,
        b"\x00" + b"\xff" * 9 + b"\x01",  # -2**63
    ],
)
def test_what_is_out_of_the_ordinary_is_left_to_fastavro(damaged: bytes) -> None:
    kinds = kinds_of({"fields": [{"type": "string"}, {"type": "long"}]})
    assert kinds is not None and read_flat(damaged, 0, kinds) is None


def test_a_record_instead_of_a_text_is_left_to_fastavro() -> None:
    message = CompleteStep("ada", "write", 7, Artifact("sha256:00", 3, "text/plain"))
    kinds = KINDS[CompleteStep]
    assert kinds is not None
    assert read_flat(written(message), 0, kinds) is None
    data = bytearray(b"before")
    assert not write_flat(data, msgspec.structs.astuple(message), kinds) and data == b"before"


@given(st.sampled_from(FLAT).flatmap(messages), st.data())
@examples(60)
def test_damaged_bytes_are_read_as_fastavro_does_or_left_to_it(message: Message, data: st.DataObject) -> None:
    damaged = bytearray(written(message))
    for _ in range(data.draw(st.integers(0, 3)) if damaged else 0):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    del damaged[data.draw(st.just(len(damaged)) | st.integers(0, len(damaged))) :]
    kinds = KINDS[type(message)]
    assert kinds is not None
    found = read_flat(bytes(damaged), 0, kinds)
    assert found is None or found == by_fastavro(type(message), bytes(damaged))


@given(st.sampled_from(FLAT).flatmap(messages))
@examples(60)
def test_a_flat_record_is_written_as_fastavro_writes_it_or_left_to_it(message: Message) -> None:
    kinds = KINDS[type(message)]
    assert kinds is not None
    data = bytearray(b"before")
    done = write_flat(data, msgspec.structs.astuple(message), kinds)
    assert data == b"before" + (written(message) if done else b"")
    left = [value for value in msgspec.structs.astuple(message) if not isinstance(value, str | None)]
    assert done or any(isinstance(value, Artifact) or value.bit_length() > 62 for value in left)


@pytest.mark.parametrize("value", ["5", None, True, 5.0, 2**62, -(2**62) - 1])
def test_a_value_that_is_not_of_its_fields_type_is_left_to_fastavro(value: object) -> None:
    data = bytearray()
    assert not write_flat(data, ["ada", value], bytes([1, 0])) and not data
    assert not write_flat(data, [b"ada", 5], bytes([1, 0])) and not data
