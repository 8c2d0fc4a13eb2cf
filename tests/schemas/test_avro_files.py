"""The contracts as files: every field explained, every class with its file, names and types as the rules say."""

from __future__ import annotations

import json
from functools import reduce
from importlib import resources
from operator import or_
from pathlib import Path
from typing import Any, get_type_hints

import fastavro
import pytest
from accord.schemas import codec
from accord.schemas.messages import (
    Command,
    Event,
    Message,
    auctions,
    conflicts,
    deadletters,
    hierarchy,
    limits,
    llm,
    locks,
    log,
    proposals,
    roster,
    sagas,
    signals,
    state,
    tasks,
    transactions,
    triggers,
    waits,
)
from accord.schemas.topics import DOMAINS

from tests.schemas.support import MESSAGES, avsc, record_of

AVRO = Path(codec.__file__).parent / "avro"
FILES = sorted(AVRO.glob("*/*.avsc"))
each_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
PYTHON: dict[str, Any] = {"int": int, "long": int, "string": str, "bytes": bytes, "boolean": bool, "null": type(None)}


@each_file
def test_every_record_and_field_is_explained(file: Path) -> None:
    schema = json.loads(file.read_text())
    fastavro.parse_schema(json.loads(file.read_text()))
    assert schema["type"] == "record"
    assert schema["name"] == file.stem
    assert schema["namespace"] == f"accord.{file.parent.name}.v1"
    assert schema["doc"].strip().endswith(".")
    for field in schema["fields"]:
        assert field.get("doc", "").strip(), f"{file.stem}.{field['name']} has no doc"


@each_file
def test_units_stand_in_names_and_docs(file: Path) -> None:
    for field in json.loads(file.read_text())["fields"]:
        if field["name"].endswith("_ms"):
            assert "ms" in field["doc"], f"{file.stem}.{field['name']} does not say its unit"


def test_every_class_has_its_file_and_every_file_its_class() -> None:
    classes = {(record.__module__.rpartition(".")[2], record.__name__) for record in MESSAGES}
    assert {(file.parent.name, file.stem) for file in FILES} == classes


@pytest.mark.parametrize("record", MESSAGES, ids=lambda record: record.__name__)
def test_class_and_file_agree_in_fields_and_types(record: type[Message]) -> None:
    hints = get_type_hints(record)
    fields = avsc(record)["fields"]
    assert [field["name"] for field in fields] == list(record.__struct_fields__)
    for field in fields:
        assert hints[field["name"]] == python_type(field["type"]), field["name"]


def python_type(kind: Any) -> Any:
    if isinstance(kind, list):
        assert "null" not in kind[1:], "an optional field has null first, so that null can be its default"
        return reduce(or_, [None if branch == "null" else python_type(branch) for branch in reversed(kind)])
    if isinstance(kind, dict) and kind["type"] == "record":
        record = record_of(kind)
        assert [field["name"] for field in kind["fields"]] == list(record.__struct_fields__)
        assert {field["name"]: python_type(field["type"]) for field in kind["fields"]} == get_type_hints(record)
        return record
    if isinstance(kind, dict):
        return tuple[python_type(kind["items"]), ...]
    return (
        PYTHON[kind]
        if kind in PYTHON
        else record_of(dict(zip(("namespace", "name"), kind.rsplit(".", 1), strict=True)))
    )


def test_commands_and_events_are_what_they_say() -> None:
    work = (tasks, roster, llm, proposals, auctions, hierarchy, state, transactions, conflicts, triggers, sagas)
    for module in (log, locks, signals, limits, waits, *work):
        assert all(issubclass(record, Command) for record in module.COMMANDS)
        assert all(issubclass(record, Event) for record in module.EVENTS)
    assert issubclass(deadletters.DeadLetter, Event)


def test_every_domain_has_messages() -> None:
    folders = {folder.name for folder in resources.files("accord.schemas").joinpath("avro").iterdir()}
    assert folders - {"log", "deadletters"} == set(DOMAINS)


def test_a_class_that_differs_from_its_file_does_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    class Tick(Command, frozen=True):
        extra: int

    monkeypatch.setattr(Tick, "__module__", "accord.schemas.messages.log")
    with pytest.raises(TypeError, match=r"Tick has the fields \('extra',\), its schema has \(\)"):
        codec._load(Tick)
