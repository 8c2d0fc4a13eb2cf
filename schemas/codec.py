"""Avro in and out.

A commands topic holds one record of the domain's union, an events topic an array of the domain's events (one
decision), the dead-letter topic one record. Values are framed as Avro single objects (`C3 01` and the CRC-64-AVRO
fingerprint of the topic's schema) or, with a schema registry, in Confluent's way (`00` and the id): a reader takes
both, by the first byte. Every schema ever released stays readable (`released/`, BACKWARD_TRANSITIVE).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from importlib import import_module, resources
from io import BytesIO
from typing import Any, Final, Protocol

import fastavro
import msgspec
from accord.schemas.flat import kinds_of, read_flat, write_flat
from accord.schemas.messages import Command, Event, Message, deadletters, log
from accord.schemas.position import Position
from accord.schemas.structs import prepared
from fastavro.schema import fingerprint, parse_schema, to_parsing_canonical_form

from accord.errors import SchemaError

SINGLE_OBJECT: Final = b"\xc3\x01"
CONFLUENT: Final = b"\x00"

_read_record: Final = fastavro.schemaless_reader
_write_record: Final = fastavro.schemaless_writer
_NAMED: Final[dict[str, Any]] = {"return_record_name": True, "return_record_name_override": True}
"""Of a union of several records, which one it is."""
_values: Final = msgspec.structs.astuple
_SINGLE_OBJECT_BYTES: Final = 10
_CONFLUENT_BYTES: Final = 5
_NEWEST: Final = (None, _SINGLE_OBJECT_BYTES)


class SchemaRegistry(Protocol):
    """Where Confluent framing finds the schema of an id."""

    def schema(self, schema_id: int) -> Any:
        """The parsed JSON of the schema.

        Raises:
            LookupError: the registry does not know the id, or its schema is not Avro.
            Unavailable: the registry does not answer; the value may be fine.
        """


class Codec:
    """Encodes and decodes the values of one kind of topic.

    Args:
        subject: what the topic holds, as `locks.commands`.
        records: the messages that may stand in it, in the order of the union.
        many: a value is an array of messages, not one.
    """

    def __init__(self, subject: str, records: Sequence[type[Message]], *, many: bool) -> None:
        self.subject = subject
        self.many = many
        branches = [_load(prepared(record)) for record in records]
        named: set[str] = set()
        union = [_named_once(branch, named) for branch in branches] if len(branches) > 1 else branches[0]
        self.schema: Any = {"type": "array", "items": union} if many else union
        self._parsed: Any = _parsed(self.schema)
        self._single = len(branches) == 1
        parsed = [_parsed(branch) for branch in branches]
        self._index_bytes = 0 if self._single else 1
        self._by_index = {
            bytes([2 * i])[: self._index_bytes]: (record, branch, kinds_of(branch))
            for i, (record, branch) in enumerate(zip(records, parsed, strict=True))
        }
        self._index = {record: (index, branch, kinds) for index, (record, branch, kinds) in self._by_index.items()}
        self._names: dict[type[Message], str] = {
            record: branch["namespace"] + "." + branch["name"] for record, branch in zip(records, branches, strict=True)
        }
        self._types = {name: record for record, name in self._names.items()}
        self.frame = SINGLE_OBJECT + fingerprint_of(self.schema)
        self._writers: dict[bytes, Any] = {self.frame: None}
        for schema in _released(subject):
            self._writers.setdefault(SINGLE_OBJECT + fingerprint_of(schema), _parsed(schema))
        self.registry: SchemaRegistry | None = None

    def type_name(self, message: Message) -> str:
        """The full Avro name of a message's type, as `accord.locks.v1.LockGranted`."""
        return self._names[type(message)]

    def encode(self, value: Message | Sequence[Message], *, frame: bytes | None = None) -> bytes:
        """One message, or the messages of one decision, framed.

        Args:
            frame: Confluent framing (`00` and the schema id) instead of the single object's.
        """
        data = bytearray(frame or self.frame)
        if self.many:
            self._write_block(data, value)  # type: ignore[arg-type]
        else:
            self._write(data, value)  # type: ignore[arg-type]
        return bytes(data)

    def _write_block(self, data: bytearray, messages: Sequence[Message]) -> None:
        """An Avro array in one block, as fastavro writes it; handed the whole array, it would search the union for
        each message (5 us against 2)."""
        if messages:
            data += _SMALL[len(messages)] if len(messages) < len(_SMALL) else _zigzag(len(messages))
            for message in messages:
                self._write(data, message)
        data += b"\0"

    def _write(self, data: bytearray, message: Message) -> None:
        """The branch of the union is one byte (2 x index), then comes the record."""
        index, schema, kinds = self._index[type(message)]
        data += index
        if kinds is None or not write_flat(data, _values(message), kinds):
            buffer = BytesIO()
            _write_record(buffer, schema, _plain(message))
            data += buffer.getvalue()

    def decode(self, data: bytes | None) -> Any:
        """The message of a value, or the tuple of messages of a decision.

        Raises:
            SchemaError: with `reason` `unknown_schema` or `undecodable` among its details.
            Unavailable: the schema registry is needed and does not answer.
        """
        if not data:
            raise _error("undecodable", "the value is empty")
        writer, size = _NEWEST if data.startswith(self.frame) else self._writer_of(data)
        try:
            if writer is None and not self.many:
                message, end = self._read(data, size)
                _check_end(data, end)
                return message
            if writer is None and (messages := self._read_block(data, size)) is not None:
                return messages
            return self._read_any(data, size, writer)
        except Exception as error:  # fastavro raises whatever the bytes lead it to
            raise _error("undecodable", f"{type(error).__name__}: {error}") from error

    def _writer_of(self, data: bytes) -> tuple[Any, int]:
        """The schema that a value was written with (None: the newest), and how many bytes its frame takes."""
        if data[:2] == SINGLE_OBJECT:
            frame = data[:_SINGLE_OBJECT_BYTES]
            if frame not in self._writers:
                raise _error("unknown_schema", f"no {self.subject} schema has fingerprint {frame[2:].hex()}")
        elif data[:1] == CONFLUENT and len(data) >= _CONFLUENT_BYTES:
            frame = data[:_CONFLUENT_BYTES]
            if frame not in self._writers:
                self._writers[frame] = self._from_registry(frame)
        else:
            raise _error("undecodable", f"the value starts with {data[:2].hex()}, which is no framing of Avro")
        return self._writers[frame], len(frame)

    def _read_block(self, data: bytes, start: int) -> tuple[Message, ...] | None:
        """The messages of an array in one short block, as `encode` writes it; None for any other form."""
        count = data[start]
        if count % 2 or count > _ONE_BYTE_MAX:
            return None
        if count == 2:  # one event, as most decisions have
            message, end = self._read(data, start + 1)
            return (message,) if data[end:] == b"\0" else None
        messages, end = [], start + 1
        for _ in range(count // 2):
            message, end = self._read(data, end)
            messages.append(message)
        return tuple(messages) if data[end:] == (b"\0" if count else b"") else None

    def _read(self, data: bytes, start: int) -> tuple[Message, int]:
        """A message, and where it ends. Its class takes the fields in the order in which the schema has them."""
        begin = start + self._index_bytes
        record, schema, kinds = self._by_index[data[start:begin]]
        if kinds is not None and (found := read_flat(data, begin, kinds)) is not None:
            values, end = found
            return record(*values), end
        buffer = BytesIO(data)
        buffer.seek(begin)
        fields: Any = _read_record(buffer, schema, None)
        return _made(record, fields), buffer.tell()

    def _read_any(self, data: bytes, start: int, writer: Any) -> Any:
        """What another schema wrote, or an array in a form that `encode` does not write."""
        buffer = BytesIO(data)
        buffer.seek(start)
        if writer is None:
            datum: Any = _read_record(buffer, self._parsed, None, **_NAMED)
        else:
            datum = _read_record(buffer, writer, self._parsed, **_NAMED)
        _check_end(data, buffer.tell())
        if self.many:
            return tuple([self._message(branch) for branch in datum])
        return self._message(datum)

    def _message(self, branch: Any) -> Message:
        if self._single:
            (record,) = self._types.values()
            return _made(record, branch)
        name, fields = branch
        return _made(self._types[name], fields)

    def _from_registry(self, frame: bytes) -> Any:
        schema_id = int.from_bytes(frame[1:], "big")
        if self.registry is None:
            raise _error("unknown_schema", f"schema id {schema_id} needs a schema registry and none is configured")
        try:
            schema = self.registry.schema(schema_id)
        except LookupError as error:
            raise _error("unknown_schema", f"the schema registry has no schema {schema_id}") from error
        try:
            return None if fingerprint_of(schema) == self.frame[2:] else _parsed(schema)
        except Exception as error:  # fastavro raises whatever a broken schema leads it to
            raise _error("unknown_schema", f"schema id {schema_id} is no Avro schema: {error}") from error


@cache
def commands_codec(domain: str) -> Codec:
    """The codec of a domain's commands: one message a value."""
    return Codec(f"{domain}.commands", (*log.COMMANDS, *_domain(domain).COMMANDS), many=False)


@cache
def events_codec(domain: str) -> Codec:
    """The codec of a domain's events: the tuple of one decision a value."""
    return Codec(f"{domain}.events", (*log.EVENTS, *_domain(domain).EVENTS), many=True)


@cache
def deadletters_codec() -> Codec:
    return Codec("deadletters", (deadletters.DeadLetter,), many=False)


def confluent_frame(schema_id: int) -> bytes:
    """What stands before a value in Confluent's framing."""
    return CONFLUENT + schema_id.to_bytes(_CONFLUENT_BYTES - 1, "big")


class Stored(Protocol):
    """A record, or a decision that was parsed from one."""

    @property
    def offset(self) -> int: ...
    @property
    def value(self) -> bytes | None: ...


def decode_record(codec: Codec, topic: str, partition: int, record: Stored) -> Any:
    """What a record holds, for readers that must say where the bad bytes lie.

    Raises:
        SchemaError: its text names topic, partition, offset and reason, and so do its details; `position` is set where
            the topic belongs to a domain.
        Unavailable: the schema registry is needed and does not answer.
    """
    try:
        return codec.decode(record.value)
    except SchemaError as error:
        domain, _, kind = codec.subject.partition(".")
        position = Position(domain, partition, record.offset, commands=kind == "commands")
        reason = error.details["reason"]
        raise SchemaError(
            f"{topic}, partition {partition}, offset {record.offset}: {reason}: {error}",
            position=str(position) if kind else None,
            topic=topic,
            partition=partition,
            offset=record.offset,
            reason=reason,
        ) from error


class _Domain(Protocol):
    COMMANDS: tuple[type[Command], ...]
    EVENTS: tuple[type[Event], ...]


def _domain(domain: str) -> _Domain:
    module: Any = import_module(f"accord.schemas.messages.{domain}")
    return module  # type: ignore[no-any-return]


def _load(record: type[Message]) -> dict[str, Any]:
    """The schema of a message's class, after checking that both name the same fields."""
    folder = record.__module__.rpartition(".")[2]
    text = resources.files("accord.schemas").joinpath("avro", folder, f"{record.__name__}.avsc").read_text()
    schema: dict[str, Any] = json.loads(text)
    fields = tuple(field["name"] for field in schema["fields"])
    if fields != record.__struct_fields__:
        raise TypeError(f"{record.__name__} has the fields {record.__struct_fields__}, its schema has {fields}")
    return schema


def _released(subject: str) -> list[Any]:
    """Every schema that a release wrote under this subject, oldest first; `script/release_schemas.py` records them."""
    file = resources.files("accord.schemas").joinpath("released", f"{subject}.json")
    return [entry["schema"] for entry in json.loads(file.read_text())] if file.is_file() else []


def fingerprint_of(schema: Any) -> bytes:
    """CRC-64-AVRO of the parsing canonical form, in the byte order of Avro's single objects."""
    return bytes.fromhex(fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO"))


def _parsed(schema: Any) -> Any:
    """The schema as fastavro's writer wants it.

    fastavro marks only records as parsed and goes through everything else again at each call (30 us for the locks
    events); its marker on an array saves that.
    """
    named: dict[str, Any] = {}
    parsed: Any = parse_schema(schema, named)
    if isinstance(parsed, dict) and parsed["type"] == "array":
        parsed |= {"__fastavro_parsed": True, "__named_schemas": named}
    return parsed


_ONE_BYTE_MAX: Final = 127


def _zigzag(count: int) -> bytes:
    """A count as Avro writes a long."""
    rest = 2 * count
    digits = bytearray()
    while rest > _ONE_BYTE_MAX:
        digits.append(rest % 128 + 128)
        rest //= 128
    digits.append(rest)
    return bytes(digits)


_SMALL: Final = [_zigzag(count) for count in range(8)]


def _check_end(data: bytes, end: int) -> None:
    if end != len(data):
        raise ValueError(f"{len(data) - end} bytes follow the message")


def _plain(message: Message) -> dict[str, Any]:
    """A message as fastavro writes it, the records in it included."""
    plain: dict[str, Any] = msgspec.to_builtins(message, builtin_types=(bytes,))
    return plain


def _named_once(schema: Any, named: set[str]) -> Any:
    """The schema with each record written out where it stands first: Avro defines a name once in a union, while every
    file is whole by itself."""
    match schema:
        case list():
            return [_named_once(branch, named) for branch in schema]
        case {"type": "record", "name": str(name), "namespace": str(namespace), "fields": fields}:
            if f"{namespace}.{name}" in named:
                return f"{namespace}.{name}"
            named.add(f"{namespace}.{name}")
            return schema | {"fields": [field | {"type": _named_once(field["type"], named)} for field in fields]}
        case {"type": "array", "items": items}:
            return schema | {"items": _named_once(items, named)}
    return schema


def _made(record: type[Message], fields: dict[str, Any]) -> Message:
    """A message from what fastavro has read."""
    for value in fields.values():
        if type(value) in (list, dict):
            return msgspec.convert(fields, record)
    return record(**fields)


def _error(reason: str, description: str) -> SchemaError:
    return SchemaError(f"{description}.", reason=reason)
