"""A log of transactions: under a lock and a part of a pool, with a task; shared, rolled back, too late, repaired."""

from __future__ import annotations

from typing import Any

from accord.schemas.messages import Command
from accord.schemas.messages.limits import CapacityGranted, RequestCapacity
from accord.schemas.messages.locks import AcquireLock, LockGranted
from accord.schemas.messages.log import Tick
from accord.schemas.messages.state import Write
from accord.schemas.messages.transactions import (
    AskOutcome,
    BeginTransaction,
    CommitTransaction,
    EnlistChanges,
    Guard,
    ReadTransaction,
    RepairTransaction,
    RollBackTransaction,
    ScopeChanges,
    Submission,
)

from tests.histories.office import step
from tests.histories.play import Play


def part(scope: str) -> tuple[ScopeChanges, ...]:
    return (ScopeChanges(scope, "serializable", None, (), (), (Write("n", "increment", "1"),)),)


def transfers() -> Play:
    play = Play(cluster="transfers", locks=1, limits=1, transactions=1, state=1, tasks=1, roster=1)

    def send(key: str, command: Command, **terms: Any) -> None:
        play.follow("transactions", play.send(key, command, domain="transactions", **terms))

    (granted,) = play.send("vault", AcquireLock("ada", "ada/1", 60_000, 0)).events
    assert isinstance(granted, LockGranted)
    asked = RequestCapacity("ada", "ada/1", "", 1, "shared", 0, 0, 60_000, 0, False)
    (part_of,) = play.send("gpus", asked, domain="limits").events
    assert isinstance(part_of, CapacityGranted)
    of_pool = Guard("limits", "gpus", part_of.token, part_of.request)
    guards = (Guard("locks", "vault", granted.token, None), of_pool)
    task = Submission("letter-1", "ada", "letter", "default", "{}", (step("write"),), 60_000, "")
    send("t1", BeginTransaction("ada", (), (*part("a"), *part("b")), True, 1_000, 60_000, guards, (task,)))
    send("t2", BeginTransaction("ada", ("bob",), (), False, 1_000, 60_000))
    send("t2", EnlistChanges("bob", part("b")))
    send("t2", CommitTransaction("ada", part("a")))
    send("t3", BeginTransaction("ada", (), part("a"), False, 1_000, 60_000, (Guard("locks", "vault", 99, None),)))
    send("t3", CommitTransaction("ada", ()))
    send("t4", BeginTransaction("ada", (), part("a"), False, 1_000, 60_000))
    send("t4", RollBackTransaction("ada", "changed her mind"))
    send("t1", ReadTransaction("eve"))
    send("t1", AskOutcome("state", "a"))
    send("t5", BeginTransaction("ada", (), part("a"), False, 1_000, 60_000))
    send("t5", Tick(), after_ms=2_000)
    send("t5", RepairTransaction("eve", "stuck", None))
    return play
