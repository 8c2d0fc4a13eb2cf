"""Transfers between two accounts, serializable: accord beside PostgreSQL's serializable transactions in the same run.

A transfer reads both accounts, takes one from the one and gives it to the other, and is tried again after a conflict.
The workloads: one client, 8 clients over 100 pairs of accounts, 8 clients on one pair; for accord once with both
accounts in one scope, once in two. Afterwards all accounts must add up to nothing.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, NamedTuple

from accord import sync
from accord.settings import Settings
from benchmarks.bench import bench
from benchmarks.clients import Clients, Figures, Workload
from benchmarks.peers import own, postgresql
from benchmarks.peers.peer import Address, Cycle, Peer
from benchmarks.report import Goal, Line, Sample, progress, summary

SIZE: Final = 4
"""Seconds of a workload."""
CLIENTS: Final = 8
WORKLOADS: Final = (Workload("one", 1, 1), Workload("many", CLIENTS, 100), Workload("hot", CLIENTS, 1))
WARM_UP: Final = Workload("warm-up", CLIENTS, 100)
DOMAINS: Final = ["locks", "waits", "state", "transactions"]
"""What the worker of a transfer runs; whoever was in conflict takes turns on a lock."""
ATTEMPTS: Final = 1_000
BALANCE: Final = "balance"
UPSERT: Final = "INSERT INTO accounts VALUES (%s, %s) ON CONFLICT (name) DO UPDATE SET balance = EXCLUDED.balance"


class Store(NamedTuple):
    """Where accounts are kept. `total` is what all of them add up to."""

    peer: Peer
    total: Callable[[Address], int]


def benchmark(bootstrap_servers: str, runs: int, size: int | None) -> list[Line]:
    """`size` is the seconds that each workload takes."""
    kinds = {"one_scope": client, "two_scopes": client_across}
    served = partial(serve, bootstrap_servers)
    stores = [Store(Peer(kind, own.DURABLE, lambda: None, served, made), total) for kind, made in kinds.items()]
    if lack := POSTGRESQL.peer.lacking():
        progress(f"transfers: {POSTGRESQL.peer.name}:", left_out=lack)
    else:
        progress(f"transfers: {POSTGRESQL.peer.name}:", durable_when_it_answers=POSTGRESQL.peer.durable)
        stores.append(POSTGRESQL)
    found: dict[str, dict[str, list[Figures]]] = {
        store.peer.name: {workload.name: [] for workload in WORKLOADS} for store in stores
    }
    for run in range(runs):
        for store in stores:
            for workload, figures in measure(store, size or SIZE).items():
                found[store.peer.name][workload].append(figures)
                progress(f"transfers {run + 1}/{runs} {store.peer.name} {workload}", **figures._asdict())
    theirs = found.get(POSTGRESQL.peer.name)
    return [line for name in kinds for line in lines(name, found[name], theirs)]


def measure(store: Store, seconds: float) -> dict[str, Figures]:
    """Goes through the workloads. Raises RuntimeError: the accounts do not add up."""
    with store.peer.serve() as address:
        with Clients(store.peer, address, CLIENTS) as clients:
            clients.go(WARM_UP, seconds)
            found = {workload.name: clients.go(workload, seconds) for workload in WORKLOADS}
        if left := store.total(address):
            raise RuntimeError(f"{store.peer.name}: the accounts add up to {left}, not to 0")
    return found


def lines(name: str, mine: dict[str, list[Figures]], theirs: dict[str, list[Figures]] | None) -> list[Line]:
    """A store's figures against PostgreSQL's; without it, against those of its own single client."""
    found = []
    for workload in WORKLOADS:
        baseline = "postgresql" if theirs else "own, one client"
        pairs = list(zip(mine[workload.name], (theirs or mine)[workload.name if theirs else "one"], strict=True))
        speed = [Sample(ours.per_second, other.per_second) for ours, other in pairs]
        latency = [Sample(ours.p50_ms, other.p50_ms) for ours, other in pairs]
        goal = Goal("ratio", ">=", 1) if theirs and workload.name == "hot" else None
        found.append(summary(f"transfers_{name}_{workload.name}", "commits/s", speed, baseline, goal))
        found.append(summary(f"transfers_{name}_{workload.name}_p50", "ms p50", latency, baseline))
    return found


# -- accord


@contextmanager
def serve(bootstrap_servers: str) -> Iterator[Address]:
    with bench(bootstrap_servers, own.PARTITIONS) as place, place.worker(domains=DOMAINS):
        yield place.worker_arguments(domains=DOMAINS) | {"client": {"worker_wait_ms": own.START_MS}}


@contextmanager
def client(address: Address, number: int) -> Iterator[Cycle]:
    """Both accounts of a pair are keys of one scope."""
    chance = random.Random(number)
    with sync.Accord(agent=f"client-{number}", settings=Settings.load(**address)) as hub:

        def cycle(name: str) -> float:
            one, other = chance.sample(("a", "b"), 2)

            def transfer(tx: Any) -> None:
                mine, theirs = tx.get(one).value or 0, tx.get(other).value or 0
                tx.put(one, mine - 1)
                tx.put(other, theirs + 1)

            hub.state(name).run_transaction(transfer, attempts=ATTEMPTS)
            return time.perf_counter()

        yield cycle


@contextmanager
def client_across(address: Address, number: int) -> Iterator[Cycle]:
    """Each account of a pair is a scope."""
    chance = random.Random(number)
    with sync.Accord(agent=f"client-{number}", settings=Settings.load(**address)) as hub:

        def cycle(name: str) -> float:
            one, other = chance.sample((f"{name}/a", f"{name}/b"), 2)

            def transfer(tx: Any) -> None:
                mine, theirs = tx.scope(one).get(BALANCE).value or 0, tx.scope(other).get(BALANCE).value or 0
                tx.scope(one).put(BALANCE, mine - 1)
                tx.scope(other).put(BALANCE, theirs + 1)

            hub.run_transaction(transfer, attempts=ATTEMPTS)
            return time.perf_counter()

        yield cycle


def total(address: Address) -> int:
    """Over all scopes that a workload has used, whichever way."""
    names = {f"{workload.name}-{n}" for workload in (WARM_UP, *WORKLOADS) for n in range(workload.locks)}
    with sync.Accord(agent="auditor", settings=Settings.load(**address)) as hub:
        accounts = [hub.state(name + part).items() for name in names for part in ("", "/a", "/b")]
    return sum(account.value for items in accounts for account in items.values())


# -- PostgreSQL


@contextmanager
def postgresql_client(address: Address, number: int) -> Iterator[Cycle]:
    import psycopg  # noqa: PLC0415

    chance = random.Random(number)
    with psycopg.connect(postgresql.CONNECTION.format(port=address["port"])) as connection:
        connection.isolation_level = psycopg.IsolationLevel.SERIALIZABLE

        def transfer(one: str, other: str) -> None:
            with connection.transaction(), connection.cursor() as cursor:
                rows = cursor.execute("SELECT name, balance FROM accounts WHERE name IN (%s, %s)", [one, other])
                balances: dict[str, int] = dict(rows.fetchall())
                for name, change in sorted(((one, -1), (other, 1))):  # in one order, or they run into deadlocks
                    cursor.execute(UPSERT, [name, balances.get(name, 0) + change])

        def cycle(name: str) -> float:
            one, other = chance.sample((f"{name}/a", f"{name}/b"), 2)
            while True:
                try:
                    transfer(one, other)
                except (psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected):
                    continue
                return time.perf_counter()

        yield cycle


@contextmanager
def postgresql_serve() -> Iterator[Address]:
    import psycopg  # noqa: PLC0415

    with postgresql.serve() as address:
        with psycopg.connect(postgresql.CONNECTION.format(port=address["port"])) as connection:
            connection.execute("CREATE TABLE accounts (name text PRIMARY KEY, balance int NOT NULL)")
        yield address


def postgresql_total(address: Address) -> int:
    import psycopg  # noqa: PLC0415

    with psycopg.connect(postgresql.CONNECTION.format(port=address["port"])) as connection:
        row = connection.execute("SELECT coalesce(sum(balance), 0) FROM accounts").fetchone()
    assert row is not None
    return int(row[0])


POSTGRESQL: Final = Store(
    Peer("postgresql", postgresql.DURABLE, postgresql.missing, postgresql_serve, postgresql_client), postgresql_total
)
