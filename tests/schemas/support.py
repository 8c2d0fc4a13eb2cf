"""Strategies made from the message classes and their schemas."""

from __future__ import annotations

import json
from functools import cache
from importlib import import_module, resources
from typing import Any

from accord.schemas.codec import Codec, commands_codec, deadletters_codec, events_codec
from accord.schemas.messages import (
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
from hypothesis import strategies as st

MESSAGES: tuple[type[Message], ...] = (
    *log.COMMANDS,
    *log.EVENTS,
    *locks.COMMANDS,
    *locks.EVENTS,
    *signals.COMMANDS,
    *signals.EVENTS,
    *limits.COMMANDS,
    *limits.EVENTS,
    *waits.COMMANDS,
    *waits.EVENTS,
    *tasks.COMMANDS,
    *tasks.EVENTS,
    *roster.COMMANDS,
    *roster.EVENTS,
    *llm.COMMANDS,
    *llm.EVENTS,
    *proposals.COMMANDS,
    *proposals.EVENTS,
    *auctions.COMMANDS,
    *auctions.EVENTS,
    *hierarchy.COMMANDS,
    *hierarchy.EVENTS,
    *state.COMMANDS,
    *state.EVENTS,
    *transactions.COMMANDS,
    *transactions.EVENTS,
    *conflicts.COMMANDS,
    *conflicts.EVENTS,
    *triggers.COMMANDS,
    *triggers.EVENTS,
    *sagas.COMMANDS,
    *sagas.EVENTS,
    deadletters.DeadLetter,
)
CODECS: list[Codec] = [
    *[made(domain) for domain in DOMAINS for made in (commands_codec, events_codec)],
    deadletters_codec(),
]
_BY_TYPE: dict[str, st.SearchStrategy[Any]] = {
    "null": st.none(),
    "boolean": st.booleans(),
    "int": st.integers(-(2**31), 2**31 - 1),
    "long": st.integers(-(2**63), 2**63 - 1),
    "string": st.text(),
    "bytes": st.binary(),
}
_made: dict[type[Any], st.SearchStrategy[Any]] = {}


@cache
def avsc(record: type[Message]) -> dict[str, Any]:
    folder = record.__module__.rpartition(".")[2]
    text = resources.files("accord.schemas").joinpath("avro", folder, f"{record.__name__}.avsc").read_text()
    schema: dict[str, Any] = json.loads(text)
    return schema


def record_of(kind: dict[str, Any]) -> Any:
    """The class of a record that stands in a message."""
    domain = kind["namespace"].split(".")[1]
    return getattr(import_module(f"accord.schemas.messages.{domain}"), kind["name"])


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Values of an Avro type, as a message holds them."""
    if isinstance(kind, list):
        return st.one_of([values(branch) for branch in kind])
    if isinstance(kind, dict):
        if kind["type"] == "record":
            return messages(record_of(kind), kind)
        assert kind["type"] == "array", kind
        return st.lists(values(kind["items"]), max_size=5).map(tuple)
    if kind not in _BY_TYPE:  # a record by its name, which stands earlier in the file
        return messages(*named(kind))
    return _BY_TYPE[kind]


@cache
def named(name: str) -> tuple[type[Any], dict[str, Any]]:
    """A record by its full name."""
    _, domain, _, kind = name.split(".")
    folder = resources.files("accord.schemas").joinpath("avro", domain)
    found = [_record_in(json.loads(file.read_text()), name) for file in folder.iterdir()]
    return getattr(import_module(f"accord.schemas.messages.{domain}"), kind), next(one for one in found if one)


def _record_in(schema: Any, name: str) -> dict[str, Any] | None:
    """Where a schema spells a record out."""
    match schema:
        case {"type": "record", "namespace": str(namespace), "name": str(kind), "fields": fields}:
            if f"{namespace}.{kind}" == name:
                return dict(schema)
            return next((one for field in fields if (one := _record_in(field["type"], name))), None)
        case list():
            return next((one for branch in schema if (one := _record_in(branch, name))), None)
        case {"items": items}:
            return _record_in(items, name)
    return None


def messages(record: type[Any], schema: dict[str, Any] | None = None) -> st.SearchStrategy[Any]:
    """Messages, or records that stand in them, with their schema. Made once: Hypothesis looks into each strategy."""
    if record not in _made:
        fields = (schema or avsc(record))["fields"]
        _made[record] = st.builds(record, **{field["name"]: values(field["type"]) for field in fields})
    return _made[record]


@cache
def held(codec: Codec) -> st.SearchStrategy[Any]:
    """What a value of the codec's topic may hold."""
    one = st.one_of([messages(record) for record in codec._types.values()])
    return st.lists(one, max_size=5).map(tuple) if codec.many else one
