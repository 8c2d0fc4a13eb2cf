"""Whatever command reaches whatever aggregate, its domain's rules answer: an exception would stop the partition."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from accord.schemas.messages import Command, log
from accord.streams.decider import At
from accord.streams.domains import DOMAINS
from hypothesis import given
from hypothesis import strategies as st

from tests.counts import examples
from tests.schemas.support import avsc, named, record_of

TEXTS = st.sampled_from(
    ["", "a", "b", "c/1", "c/1/1", "d/1", "d/1/2", "locks", "limits", "shared", "exclusive", "x" * 300]
)
NUMBERS = st.sampled_from([-1, 0, 1, 2, 3, 5, 1_000, 5_000, 10**12])
KINDS: dict[Any, st.SearchStrategy[Any]] = {
    "null": st.none(), "string": TEXTS, "long": NUMBERS, "int": NUMBERS, "boolean": st.booleans(), "bytes": st.binary()
}  # fmt: skip


def values(kind: Any) -> st.SearchStrategy[Any]:
    if isinstance(kind, list):
        return st.one_of([values(branch) for branch in kind])
    if isinstance(kind, dict):
        if kind["type"] == "record":
            return records(record_of(kind), kind)
        return st.lists(values(kind["items"]), max_size=3).map(tuple)
    return KINDS[kind] if kind in KINDS else records(*named(kind))  # a record by its name, as it stands earlier


def records(record: Any, schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    return st.builds(record, **{field["name"]: values(field["type"]) for field in schema["fields"]})


@cache
def commands(record: type[Command]) -> st.SearchStrategy[Command]:
    return records(record, avsc(record))


@pytest.mark.parametrize("domain", DOMAINS)
@given(data=st.data())
@examples(30)
def test_every_command_is_answered(domain: str, data: st.DataObject) -> None:
    module = __import__(f"accord.schemas.messages.{domain}", fromlist=["COMMANDS"])
    one = st.one_of([commands(record) for record in (*module.COMMANDS, log.Tick)])
    decider, state, now_ms = DOMAINS[domain].versions[1], None, 1_000
    for seq, command in enumerate(data.draw(st.lists(one, min_size=3, max_size=12)), start=1):
        now_ms += data.draw(st.sampled_from([0, 1, 1_000, 10_000]))
        request = data.draw(st.sampled_from(["a", "b", f"r{seq}"]))
        for event in decider.decide(state, command, At(now_ms, seq, request)):
            assert type(event) in (*module.EVENTS, log.CommandRejected)
            if type(event) is not log.CommandRejected:
                state = decider.evolve(state, event)
        if state is not None:
            deadline_ms = decider.deadline_ms(state)
            assert deadline_ms is None or isinstance(deadline_ms, int)
            contention = DOMAINS[domain].contention
            if contention is not None:
                contention.waits(state)
