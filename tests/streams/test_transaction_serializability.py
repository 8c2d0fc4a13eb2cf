"""Transactions over several scopes, interleaved at random: what they have read and written is serializable.

Every transaction reads lists in one to three scopes, step by step while others commit, and appends an element of its
own to some; `tests.streams.serializability` looks for a cycle. Scopes are asked and told in any order, more than once,
or not at all.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field

import pytest
from accord.agents.state.buffer import Buffer
from accord.schemas.messages.state import ChangesCommitted, CommitChanges, Entry, KeyRead, ReadKey
from accord.schemas.messages.transactions import BeginTransaction, ScopeChanges, TransactionDecided
from accord.streams.state import decider as state_decider
from hypothesis import given
from hypothesis import strategies as st

from tests.counts import examples
from tests.streams.serializability import Done, Problem, problem_of
from tests.streams.transfers import SCOPES, TIMEOUT_MS, Cluster

KEYS = ("l", "m")


@dataclass
class Client:
    """A transaction that is under way."""

    name: str
    isolation: str
    places: list[tuple[str, str]]
    appends: set[tuple[str, str]]
    buffers: dict[str, Buffer] = field(default_factory=dict)
    reads: dict[str, tuple[str, ...]] = field(default_factory=dict)
    appended: dict[str, tuple[str, ...]] = field(default_factory=dict)
    done: bool = False

    def step(self, cluster: Cluster) -> bool:
        """Reads, and appends, at the next place; in the end it commits. Returns whether it is over."""
        if not self.places:
            self._commit(cluster)
            return True
        scope, key = self.places.pop()
        buffer = self.buffers.setdefault(scope, Buffer(self.isolation))
        (read,) = [
            one for one in cluster.ask("state", scope, ReadKey(self.name, key, buffer.read_at))
            if isinstance(one, KeyRead)
        ]  # fmt: skip
        buffer.note(Entry(key, read.value, read.key_version), read.version)
        elements = tuple(json.loads(read.value)) if read.value else ()
        self.reads[f"{scope}/{key}"] = elements
        if (scope, key) in self.appends:
            buffer.put(key, json.dumps([*elements, self.name]))
            self.appended[f"{scope}/{key}"] = (self.name,)
        return False

    def _commit(self, cluster: Cluster) -> None:
        terms = {scope: buffer.terms() for scope, buffer in self.buffers.items()}
        parts = [ScopeChanges(scope, *of) for scope, of in terms.items() if not of.is_empty]
        if len(parts) == 1:
            scope = parts[0].scope
            events = cluster.ask("state", scope, CommitChanges(self.name, *terms[scope], "", ""))
            self.done = isinstance(events[-1], ChangesCommitted)
        elif parts:
            cluster.ask("transactions", self.name, BeginTransaction("ada", (), tuple(parts), True, TIMEOUT_MS, 0))


def played(seed: int, isolation: str = "serializable") -> Problem | None:
    """What is wrong with a random history."""
    draw = random.Random(seed)
    cluster, running, clients = Cluster(), list[Client](), list[Client]()
    for _ in range(draw.randrange(200, 600)):
        act = draw.random()
        if act < 0.2 and len(clients) < 60 and len(running) < 6:
            places = [(scope, draw.choice(KEYS)) for scope in draw.sample(SCOPES, draw.randint(1, 3))]
            appends = {place for place in places if draw.random() < 0.6}
            clients.append(Client(f"t{len(clients)}", isolation, places, appends))
            running.append(clients[-1])
        elif act < 0.45 and running:
            client = draw.choice(running)
            if client.step(cluster):
                running.remove(client)
        elif act < 0.9 and cluster.bag:
            order = cluster.bag.pop(draw.randrange(len(cluster.bag)))
            cluster.take(order)
            if draw.random() < 0.1:
                cluster.bag.append(order)
        elif act < 0.91 and cluster.bag:
            cluster.bag.pop()
        elif act < 0.93:
            cluster.now_ms += 3_000
            cluster.tick()
    cluster.settle()
    return judged(cluster, [client for client in clients if client not in running])


def judged(cluster: Cluster, clients: list[Client]) -> Problem | None:
    """What is wrong with what clients saw, once all is over."""
    committed = {
        seen.key for seen in cluster.seen
        if isinstance(seen.event, TransactionDecided) and seen.event.outcome == "committed"
    }  # fmt: skip
    history = [
        Done(client.name, client.reads, client.appended, committed=client.done or client.name in committed)
        for client in clients
    ]
    return problem_of(history, final(cluster))


def final(cluster: Cluster) -> dict[str, tuple[str, ...]]:
    lists = {}
    for scope in SCOPES:
        for key in KEYS:
            item = cluster.states["state", scope].keys.get(key)
            lists[f"{scope}/{key}"] = tuple(json.loads(item.value)) if item else ()
    return lists


@given(st.integers(0, 10**9))
@examples(60)
def test_whatever_is_interleaved_is_as_if_one_had_run_after_the_other(seed: int) -> None:
    assert played(seed) is None


def crossed() -> Problem | None:
    """Each reads where the other one writes, and both are prepared where they read before where they write."""
    cluster = Cluster()
    clients = [
        Client(name, "serializable", [(read, "l"), (written, "l")], {(written, "l")})
        for name, read, written in (("t0", "a", "b"), ("t1", "b", "a"))
    ]
    for client in clients:
        while not client.step(cluster):
            pass
    written = [order for order in cluster.bag if order.command.writes]  # type: ignore[attr-defined]
    for order in [order for order in cluster.bag if order not in written]:
        cluster.bag.remove(order)
        cluster.take(order)
    cluster.settle()
    return judged(cluster, clients)


def test_what_was_read_is_held_or_it_would_not_be_so(monkeypatch: pytest.MonkeyPatch) -> None:
    assert crossed() is None
    holds = state_decider.holds_of
    monkeypatch.setattr(state_decider, "holds_of", lambda c: (holds(c)[0], (), ()))
    problem = crossed()
    assert problem is not None and problem.kind == "cycle"


def test_at_a_weaker_level_it_is_not() -> None:
    problems = [played(seed, "snapshot") for seed in range(60)]
    assert any(problem is not None and problem.kind == "cycle" for problem in problems)
