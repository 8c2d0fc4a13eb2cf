"""Random histories of transactions are serializable; and the checker that says so finds what is not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.counts import examples
from tests.streams.serializability import Done, problem_of
from tests.streams.sessions import Session, Store

KEYS = ("a", "b", "c")


def done(name: str, reads: dict[str, str] | None = None, appended: dict[str, str] | None = None, **more: Any) -> Done:
    """A transaction whose lists are written as texts: a letter an element."""
    lists = [{key: tuple(text) for key, text in (known or {}).items()} for known in (reads, appended)]
    return Done(name, *lists, **more)


BAD = {
    "lost_update": (
        [done("T1", {"x": ""}, {"x": "1"}), done("T2", {"x": ""}, {"x": "2"})], {"x": "2"}, "lost_write", "1 of T1"
    ),
    "written twice": ([done("T1", {"x": ""}, {"x": "1"})], {"x": "11"}, "lost_write", "1 of T1"),
    "aborted_read": (
        [done("T1", {}, {"x": "1"}, committed=False), done("T2", {"x": "1"})], {"x": ""}, "aborted_read", "T2 read 1"
    ),
    "another order": (
        [done("T1", {}, {"x": "1"}), done("T2", {}, {"x": "2"}), done("T3", {"x": "2"})],
        {"x": "12"}, "incompatible_order", "T3 read x",
    ),
    "G1a": (
        [done("T1", {}, {"x": "12"}, committed=False), done("T2", {"x": "12"}, {"y": "3"})],
        {"x": "", "y": "3"}, "aborted_read", "T2 read 1",
    ),
    "G1b": (
        [done("T1", {}, {"x": "12"}), done("T2", {"x": "1"})], {"x": "12"}, "intermediate_read", "T2 read x",
    ),
    "G0 in one key": (
        [done("T1", {}, {"x": "13"}), done("T2", {}, {"x": "2"})], {"x": "123"}, "cycle", "-ww-> T1",
    ),
    "over scopes": (
        [
            done("T1", {"ada/log": "", "bob/log": "2"}),
            done("T2", {}, {"ada/log": "1", "bob/log": "2"}),
        ],
        {"ada/log": "1", "bob/log": "2"}, "cycle", "-rw->",
    ),
    "G0": (
        [done("T1", {}, {"x": "1", "y": "1"}), done("T2", {}, {"x": "2", "y": "2"})],
        {"x": "12", "y": "21"}, "cycle", "-ww->",
    ),
    "G1c": (
        [done("T1", {"y": "2"}, {"x": "1"}), done("T2", {"x": "1"}, {"y": "2"})],
        {"x": "1", "y": "2"}, "cycle", "-wr->",
    ),
    "G-single, read skew": (
        [done("T1", {"x": "", "y": "2"}), done("T2", {}, {"x": "1", "y": "2"})],
        {"x": "1", "y": "2"}, "cycle", "-rw->",
    ),
    "G2-item, write skew": (
        [done("T1", {"x": "", "y": ""}, {"x": "1"}), done("T2", {"x": "", "y": ""}, {"y": "2"})],
        {"x": "1", "y": "2"}, "cycle", "-rw->",
    ),
    "G2, phantom": (
        [
            done("T1", {}, {}, seen={"p/": frozenset()}, made=frozenset({"p/1"})),
            done("T2", {}, {}, seen={"p/": frozenset()}, made=frozenset({"p/2"})),
        ],
        {}, "cycle", "-rw->",
    ),
    "three in a ring": (
        [
            done("T1", {"x": "", "y": "2"}),
            done("T2", {"z": "3"}, {"y": "2"}),
            done("T3", {"x": "1"}, {"z": "3"}),
            done("T4", {}, {"x": "1"}),
        ],
        {"x": "1", "y": "2", "z": "3"}, "cycle", "T1 -rw-> T4",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("history", "final", "kind", "what"), BAD.values(), ids=BAD)
def test_what_is_not_serializable_is_found(history: list[Done], final: dict[str, str], kind: str, what: str) -> None:
    found = problem_of(history, {key: tuple(text) for key, text in final.items()})
    assert found is not None and found.kind == kind
    ring = found.what.split()
    assert what in " ".join(ring + ring[1:]), "a ring begins anywhere"


def test_what_is_serializable_is_not_found_fault_with() -> None:
    history = [
        done("T1", {"x": ""}, {"x": "1"}),
        done("T2", {"x": "1"}, {"x": "2"}),
        done("T3", {"x": "1", "y": ""}),
        done("T4", {"x": "12"}, {"y": "4"}, seen={"p/": frozenset()}),
        done("T5", {}, {}, made=frozenset({"p/1"})),
        done("T6", {"x": ""}, {"z": "6"}, committed=False),
    ]
    assert problem_of(history, {"x": ("1", "2"), "y": ("4",)}) is None


# -- histories of the store

steps = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(["read", "append", "look", "make", "commit", "commit"]),
              st.sampled_from(KEYS)),
    min_size=4, max_size=40,
)  # fmt: skip


class Client:
    """Runs one transaction after the other, and writes down what it saw."""

    def __init__(self, store: Store, name: str, isolation: str) -> None:
        self._store, self._name, self._isolation = store, name, isolation
        self.history: list[Done] = []
        self._begin()

    def _begin(self) -> None:
        self._session = Session(self._store, self._isolation, self._name)
        self._now = Done(f"{self._name}{len(self.history)}", {}, {}, {}, frozenset())

    def step(self, action: str, key: str) -> None:
        now, session = self._now, self._session
        match action:
            case "read" if key not in now.appended:
                now.reads[key] = tuple(json.loads(session.get(key) or "[]"))
            case "append" if key not in now.appended:
                read = json.loads(session.get(key) or "[]")
                now.reads[key] = tuple(read)
                now.appended[key] = (now.name,)
                session.put(key, json.dumps([*read, now.name]))
            case "look" if not now.made:
                now.seen["made/"] = frozenset(session.keys("made/"))
            case "make":
                made = f"made/{now.name}/{key}"
                session.put(made, "1")
                self._now = replace(now, made=now.made | {made})
            case "commit":
                self.history.append(replace(self._now, committed=session.commit()))
                self._begin()


def played(schedule: list[tuple[int, str, str]], isolation: str) -> tuple[list[Done], dict[str, tuple[str, ...]]]:
    """The history of a schedule of four clients, and the lists in the end."""
    store = Store()
    clients = [Client(store, name, isolation) for name in "ABCD"]
    for number, action, key in schedule:
        clients[number].step(action, key)
    for client in clients:
        client.step("commit", "a")
    last = Session(store, "read_committed")
    final = {key: tuple(json.loads(last.get(key) or "[]")) for key in KEYS}
    return [done for client in clients for done in client.history], final


@given(steps)
@examples(150)
def test_what_serializable_transactions_do_is_serializable(schedule: list[tuple[int, str, str]]) -> None:
    history, final = played(schedule, "serializable")
    assert problem_of(history, final) is None


@given(steps)
@examples(50)
def test_snapshots_lose_no_write_and_read_what_was_committed(schedule: list[tuple[int, str, str]]) -> None:
    found = problem_of(*played(schedule, "snapshot"))
    assert found is None or found.kind == "cycle"
    if found is not None:
        assert found.what.count("rw") >= 2, "write skew is all there is: two that wrote after others had read"


@pytest.mark.parametrize(("isolation", "kind"), [("snapshot", "cycle"), ("read_committed", "lost_write")])
def test_the_checker_sees_what_lower_levels_let_through(isolation: str, kind: str) -> None:
    skewed = [(n, "read", key) for n in (0, 1) for key in "ab"] + [(0, "append", "a"), (1, "append", "b")]
    lost = [(n, "append", "a") for n in (0, 1)]
    found = problem_of(*played({"snapshot": skewed, "read_committed": lost}[isolation], isolation))
    assert found is not None and found.kind == kind
