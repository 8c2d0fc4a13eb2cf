"""BACKWARD_TRANSITIVE: today's code reads what every release wrote."""

from __future__ import annotations

import copy
import io
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fastavro
import msgspec
import pytest
from accord.schemas import codec as codec_module
from accord.schemas.codec import SINGLE_OBJECT, Codec, _named_once, fingerprint_of
from accord.schemas.messages import Event, Message, log
from accord.schemas.messages.locks import EVENTS, LockGranted, LockReleased
from fastavro.utils import generate_many

import accord
from tests.schemas.support import CODECS

RELEASED = Path(codec_module.__file__).parent / "released"
each_codec = pytest.mark.parametrize("codec", CODECS, ids=[codec.subject for codec in CODECS])


def releases(subject: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads((RELEASED / f"{subject}.json").read_text())
    return entries


def number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def branches(schema: Any) -> Iterator[dict[str, Any]]:
    """The record types that a value may hold."""
    if isinstance(schema, dict) and schema["type"] == "array":
        schema = schema["items"]
    yield from written_out(schema if isinstance(schema, list) else [schema], {})


def written_out(kind: Any, named: dict[str, Any]) -> Any:
    """A schema in which each record stands where its name does: in a union it is written out only once."""
    match kind:
        case list():
            return [written_out(branch, named) for branch in kind]
        case {"type": "record", "name": str(name), "namespace": str(namespace), "fields": fields}:
            fields = [field | {"type": written_out(field["type"], named)} for field in fields]
            return named.setdefault(f"{namespace}.{name}", kind | {"fields": fields})
        case {"type": "array", "items": items}:
            return kind | {"items": written_out(items, named)}
    return named.get(kind, kind) if isinstance(kind, str) else kind


def listed(value: Any) -> Any:
    """A value as Avro has it: sequences are lists."""
    match value:
        case dict():
            return {name: listed(one) for name, one in value.items()}
        case list() | tuple():
            return [listed(one) for one in value]
    return value


def test_every_subject_was_released_and_no_other() -> None:
    assert {file.stem for file in RELEASED.glob("*.json")} == {codec.subject for codec in CODECS}


@each_codec
def test_todays_schema_is_the_last_released_or_of_a_version_to_come(codec: Codec) -> None:
    last = releases(codec.subject)[-1]
    if fingerprint_of(last["schema"]) != fingerprint_of(codec.schema):
        assert number(last["version"]) < number(accord.__version__), "run script/release_schemas.py"


@each_codec
def test_versions_only_grow(codec: Codec) -> None:
    versions = [number(entry["version"]) for entry in releases(codec.subject)]
    assert versions == sorted(set(versions))
    assert versions[-1] <= number(accord.__version__)


@each_codec
def test_every_released_schema_is_read_record_by_record(codec: Codec) -> None:
    """Random data of each old record type, written with the old schema, read with today's."""
    for entry in releases(codec.subject):
        old = entry["schema"]
        parsed = fastavro.parse_schema(copy.deepcopy(old))
        frame = SINGLE_OBJECT + fingerprint_of(old)
        records = list(branches(old))
        for record in records:
            name = f"{record['namespace']}.{record['name']}"
            for datum in generate_many(_named_once(record, set()), 20):
                one: Any = datum if len(records) == 1 else (name, datum)
                buffer = io.BytesIO()
                fastavro.schemaless_writer(buffer, parsed, [one] if codec.many else one)
                read = codec.decode(frame + buffer.getvalue())
                message: Message = read[0] if codec.many else read
                assert codec.type_name(message) == name
                for field in record["fields"]:
                    written = datum[field["name"]]
                    now = msgspec.to_builtins(getattr(message, field["name"]), builtin_types=(bytes,))
                    assert listed(now) == written


@each_codec
def test_no_record_type_that_was_released_is_gone(codec: Codec) -> None:
    today = {record["name"] for record in branches(codec.schema)}
    for entry in releases(codec.subject):
        assert {record["name"] for record in branches(entry["schema"])} <= today


# -- F-2: a field is added


class LockGrantedNext(Event, frozen=True):
    """LockGranted as a later release may have it: one more field, with a default."""

    request: str
    agent: str
    owner: str
    token: int
    lease_ms: int
    deadline_ms: int
    permits: int | None = None
    shared: int = 0


def next_codec(monkeypatch: pytest.MonkeyPatch, default: Any) -> Codec:
    """The codec of a release whose LockGranted has one more field."""
    load = codec_module._load

    def loaded(record: type[Message]) -> dict[str, Any]:
        if record is not LockGrantedNext:
            return load(record)
        schema = copy.deepcopy(load(LockGranted))
        schema["fields"].append({"name": "shared", "type": "int", "doc": "One more field."} | default)
        return schema

    monkeypatch.setattr(codec_module, "_load", loaded)
    records = [LockGrantedNext if record is LockGranted else record for record in (*log.EVENTS, *EVENTS)]
    return Codec("locks.events", records, many=True)


def test_a_recorded_log_reads_after_a_field_is_added(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values written today, read by a release to come: the new field has its default, all else is as it was."""
    old = codec_module.events_codec("locks")
    recorded = [
        old.encode([LockGranted(f"r-{i}", "ada", "ada/1", i, 5_000, 6_000), LockReleased("ada", i)]) for i in range(3)
    ]
    new = next_codec(monkeypatch, {"default": 7})
    assert new.frame != old.frame
    for i, value in enumerate(recorded):
        granted, released = new.decode(value)
        assert granted == LockGrantedNext(f"r-{i}", "ada", "ada/1", i, 5_000, 6_000, shared=7)
        assert released == LockReleased("ada", i)
    with pytest.raises(codec_module.SchemaError, match="1 bytes follow the message"):
        new.decode(recorded[0] + b"\x00")
    written = (LockGrantedNext("r", "ada", "ada/1", 1, 5_000, 6_000, shared=3),)
    assert new.decode(new.encode(written)) == written


def test_the_check_fails_for_a_field_without_a_default(monkeypatch: pytest.MonkeyPatch) -> None:
    new = next_codec(monkeypatch, {})
    with pytest.raises(codec_module.SchemaError, match="shared"):
        test_every_released_schema_is_read_record_by_record(new)


def test_the_check_fails_for_a_record_type_that_is_gone() -> None:
    fewer = Codec("locks.events", (*log.EVENTS, *EVENTS[1:]), many=True)
    with pytest.raises((codec_module.SchemaError, AssertionError)):
        test_every_released_schema_is_read_record_by_record(fewer)
    with pytest.raises(AssertionError):
        test_no_record_type_that_was_released_is_gone(fewer)


def test_a_new_record_type_at_the_end_is_compatible(monkeypatch: pytest.MonkeyPatch) -> None:
    class LockLent(Event, frozen=True):
        agent: str

    load = codec_module._load
    schema = {
        "type": "record",
        "name": "LockLent",
        "namespace": "accord.locks.v1",
        "doc": "New.",
        "fields": [{"name": "agent", "type": "string", "doc": "Name."}],
    }
    monkeypatch.setattr(codec_module, "_load", lambda record: schema if record is LockLent else load(record))
    more = Codec("locks.events", (*log.EVENTS, *EVENTS, LockLent), many=True)
    test_every_released_schema_is_read_record_by_record(more)
    assert more.decode(more.encode([LockLent("ada")])) == (LockLent("ada"),)


def test_released_schemas_of_all_subjects_have_frames_of_their_own() -> None:
    frames = [(codec.subject, fingerprint_of(entry["schema"])) for codec in CODECS for entry in releases(codec.subject)]
    for (subject, one), (other, two) in itertools.combinations(frames, 2):
        assert subject == other or one != two
