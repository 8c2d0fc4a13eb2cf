"""Transactions over several scopes by programs: all or nothing, again after a conflict; async and plain."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from accord.agents.state import requests
from accord.agents.transactions.commit import Outcome, aborted
from accord.agents.transactions.transaction import Transaction
from accord.replay import agreement
from accord.replay.agreement import ABORT, TELL, Problem
from accord.schemas.messages.state import ChangesCommitted, CommitHeld, Conflict, PrepareChanges, Write
from accord.schemas.messages.transactions import TransactionDecided
from accord.schemas.position import Position
from accord.streams.transactions.bounds import SCOPES_MAX

from accord import Accord, sync
from accord.embedded import Embedded
from accord.errors import (
    BadInput,
    Denied,
    ExceedsCapacity,
    KeyHeld,
    LeaseLost,
    NotFound,
    NotOwner,
    Overloaded,
    TransactionAborted,
    TransactionTimeout,
    VersionConflict,
)
from tests.agents.test_tasks import MakeHub, graph_of, in_loop
from tests.cli.support import Ran


async def balances(hub: Accord, *scopes: str) -> list[Any]:
    return [(await hub.state(scope).get("balance")).value for scope in scopes]


def moving(one: str, other: str, amount: int) -> Callable[[Transaction], Any]:
    async def transfer(tx: Transaction) -> int:
        source, target = tx.scope(one), tx.scope(other)
        balance = await source.get("balance")
        if balance.value < amount:
            raise ValueError("too little")
        source.put("balance", balance.value - amount)
        target.put("balance", (await target.get("balance")).value + amount)
        return int((await source.get("balance")).value)

    return transfer


@in_loop
async def test_what_is_written_in_several_scopes_is_there_at_once_or_never(make_hub: MakeHub) -> None:
    async with make_hub("ada") as ada, make_hub("bob") as bob:
        for scope in ("t-ada", "t-bob"):
            await ada.state(scope).put("balance", 100)
        assert await ada.run_transaction(moving("t-ada", "t-bob", 30)) == 70
        assert await balances(bob, "t-ada", "t-bob") == [70, 130]
        with pytest.raises(ValueError, match="too little"):
            await bob.run_transaction(moving("t-ada", "t-bob", 71))
        with pytest.raises(ZeroDivisionError):
            async with bob.transaction() as tx:
                tx.scope("t-ada").put("balance", 0)
                assert tx.scopes == ["t-ada"]
                raise ZeroDivisionError
        assert await balances(ada, "t-ada", "t-bob") == [70, 130]
        async with ada.transaction() as tx:
            tx.scope("t-ada").delete("balance")
            tx.scope("t-carol").put("balance", 70)
            assert await tx.scope("t-bob").keys() == ["balance"]
            assert (await tx.scope("t-bob").items())["balance"].value == 130
        assert await balances(bob, "t-ada", "t-bob", "t-carol") == [None, 130, 70]
        with pytest.raises(BadInput, match="is over"):
            tx.scope("t-ada")


@in_loop
async def test_what_others_change_meanwhile_is_a_conflict_also_where_it_only_reads(make_hub: MakeHub) -> None:
    async with make_hub("ada") as ada, make_hub("bob") as bob:
        with pytest.raises(VersionConflict, match="k of c-one: version 0 was read, but there is version 1") as refused:
            async with ada.transaction() as tx:
                await tx.scope("c-one").get("k")
                tx.scope("c-two").put("k", 1)
                await bob.state("c-one").put("k", 2)
        assert refused.value.key == "c-one"
        assert await ada.state("c-two").keys() == [], "nothing of it was written"
        for writes in (False, True):
            with pytest.raises(VersionConflict):
                async with ada.transaction() as tx:  # one scope alone: no more than a commit to it
                    await tx.scope("c-one").get("k")
                    if writes:
                        tx.scope("c-one").put("other", 1)
                    await bob.state("c-one").increment("k")
        async with ada.transaction(isolation="read_committed") as tx:
            await tx.scope("c-one").get("k")
            await bob.state("c-one").increment("k")
        tries = []

        async def interfered(tx: Transaction) -> None:
            tries.append(await tx.scope("c-one").get("k"))
            if len(tries) < 3:
                await bob.state("c-one").increment("k")
            tx.scope("c-three").put("seen", tries[-1].value)

        await ada.run_transaction(interfered)
        assert len(tries) == 3 and (await ada.state("c-three").get("seen")).value == tries[-1].value


@in_loop
async def test_who_was_lucky_takes_turns_too_and_holds_the_lock_before_it_reads(make_hub: MakeHub) -> None:
    async with make_hub("ada") as ada, make_hub("bob") as bob:
        held: list[list[str]] = []

        async def write(tx: Transaction) -> None:
            one = tx.scope("l-one")
            await one.get("k")
            held.append([lease.key for lease in ada.leases.live])
            one.put("k", len(held))
            tx.scope("l-two").put("k", len(held))

        await ada.run_transaction(write)
        await ada.run_transaction(write)
        assert held == [[], []], "nobody else is there"
        await bob.state("l-one").put("k", "bob's")
        await ada.run_transaction(write)
        await ada.run_transaction(write, attempts=1)
        assert held[2:] == [[], ["state/l-one"]], "it finds what it had written changed, and queues then"
        assert (await bob.state("l-two").get("k")).value == 4


def _taken(tx: Any, hub: Any) -> list[str]:
    tx.scope("p-one").get("balance")
    return [lease.key for lease in hub.leases.live]


@pytest.mark.parametrize("times", [0, 2, 10**9])
def test_a_key_that_is_held_is_tried_again_and_in_the_end_told_by_whom(
    times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = CommitHeld("ada", "k", "t", "eve")
    done = ChangesCommitted("ada", "serializable", 1, (), "", "")
    asked: list[str] = []

    async def send(_: Any, scope: str, *__: Any) -> Any:
        asked.append(scope)
        return SimpleNamespace(events=(held if len(asked) <= times else done,), position=Position("state", 0, 7))

    monkeypatch.setattr(requests, "send", send)
    monkeypatch.setattr(requests, "HELD_WAIT_MS", 60)
    command: Any = None
    if times < 10:
        assert asyncio.run(requests.commit(command, "s", command)) == done
        assert len(asked) == times + 1
        return
    with pytest.raises(KeyHeld, match="s: k is held by transaction t of eve, which is being committed, for") as told:
        asyncio.run(requests.commit(command, "s", command))
    assert told.value.holder == "t" and 3 < len(asked) < 10


@in_loop
async def test_a_scope_that_is_prepared_for_a_transaction_that_is_not_known_is_told_at_once(make_hub: MakeHub) -> None:
    async with make_hub("ada") as ada:
        wanted = PrepareChanges("eve", "nobody", "serializable", None, (), (), (Write("k", "put", "1"),), 2**60)
        await asyncio.wrap_future(ada.connection.submit("state", "h-one", wanted).decided)
        assert (await ada.state("h-one").put("k", 5)).value == 5
        assert await ada.state("h-one").history("k") == [await ada.state("h-one").get("k")]


@in_loop
async def test_other_agents_take_part_if_they_are_let(make_hub: MakeHub) -> None:
    async with make_hub("ada") as ada, make_hub("bob") as bob, make_hub("eve") as eve:
        async with ada.transaction() as tx:
            tx.scope("s-one").put("k", 1)
            shared = await tx.share("bob")
            assert shared == tx.id
            async with bob.join_transaction(shared) as part:
                part.scope("s-two").put("k", 2)
            with pytest.raises(Denied, match="eve is no member of"):
                async with eve.join_transaction(shared) as part:
                    part.scope("s-three").put("k", 3)
            with pytest.raises(TransactionAborted, match="enlisted already"):
                async with bob.join_transaction(shared) as part:
                    part.scope("s-two").put("k", 9)
            with pytest.raises(BadInput, match="on the log already"):
                await tx.share("eve")
            assert await bob.state("s-two").keys() == []
        assert (await ada.state("s-one").get("k")).value == 1 and (await ada.state("s-two").get("k")).value == 2
        with pytest.raises(TransactionAborted, match="it is committed already"):
            async with bob.join_transaction(shared) as part:
                part.scope("s-four").put("k", 4)
        with pytest.raises(ZeroDivisionError):
            async with ada.transaction() as tx:
                shared = await tx.share("bob")
                raise ZeroDivisionError
        with pytest.raises(TransactionAborted, match="it is aborted already"):
            async with bob.join_transaction(shared) as part:
                part.scope("s-four").put("k", 4)
        with pytest.raises(NotFound, match="there is no transaction nobody"):
            async with bob.join_transaction("nobody") as part:
                part.scope("s-four").put("k", 4)


@in_loop
async def test_many_at_once_keep_the_sum(make_hub: MakeHub) -> None:
    async with make_hub("ada") as hub:
        scopes = [f"m-{n}" for n in range(4)]
        for scope in scopes:
            await hub.state(scope).put("balance", 100)
        moves = [moving(one, other, n) for n, (one, other) in enumerate(itertools.permutations(scopes, 2))]
        results = await asyncio.gather(
            *[hub.run_transaction(move, attempts=50) for move in moves], return_exceptions=True
        )  # fmt: skip
        assert [result for result in results if isinstance(result, BaseException)] == []
        assert sum(await balances(hub, *scopes)) == 400


def test_the_sync_hub_has_transactions_too(embedded: Embedded) -> None:
    hub = sync.Accord(agent="ada")
    hub.use(embedded.settings, embedded.timestamp_ms)
    with hub:
        for scope in ("p-one", "p-two"):
            hub.state(scope).put("balance", 10)

        def move(tx: Any) -> int:
            one, two = tx.scope("p-one"), tx.scope("p-two")
            one.put("balance", one.get("balance").value - 4)
            two.put("balance", two.items()["balance"].value + 4)
            return len(one.keys())

        assert hub.run_transaction(move) == 1
        assert [hub.state(scope).get("balance").value for scope in ("p-one", "p-two")] == [6, 14]

        def interfered(tx: Any) -> None:
            tx.scope("p-two").put("balance", tx.scope("p-one").get("balance").value)
            hub.state("p-one").increment("balance")

        with pytest.raises(VersionConflict):
            hub.run_transaction(interfered, attempts=2)
        assert hub.run_transaction(lambda tx: "state/p-one" in _taken(tx, hub)), "in turn, which costs no attempt"
        with hub.transaction() as tx:
            tx.scope("p-one").put("k", 1)
            with hub.join_transaction(tx.share("ada")) as part:
                part.scope("p-three").put("k", 3)
        assert hub.state("p-three").get("k").value == 3
        with pytest.raises(ZeroDivisionError), hub.transaction() as tx:
            tx.scope("p-one").put("k", 9)
            raise ZeroDivisionError
        assert hub.state("p-one").get("k").value == 1


@pytest.mark.parametrize(
    ("reason", "error", "text"),
    [
        ("held", KeyHeld, "transaction t: s: why."),
        ("busy", Overloaded, "transaction t: s: why."),
        ("timeout", TransactionTimeout, "transaction t: s: why."),
        ("late", TransactionTimeout, "transaction t: s: why."),
        ("rolled_back", TransactionAborted, "transaction t: s: why."),
        ("conflict", VersionConflict, "k of s: version 1 was read"),
        ("not_holder", LeaseLost, "transaction t: s: why."),
        ("full", ExceedsCapacity, "s: why."),
    ],
)
def test_an_abortion_is_an_error_that_says_why(reason: str, error: type[Exception], text: str) -> None:
    event = TransactionDecided("ada", "aborted", reason, "why", "s", (Conflict("k", False, 1, 2),), "u", (), 1)
    answer: Any = type("Answer", (), {"position": Position("transactions", 0, 7)})()
    raised = aborted("t", Outcome(event, answer))
    assert type(raised) is error and text in str(raised)
    assert raised.position == "transactions/0@7"


# -- locks and tasks


@in_loop
async def test_it_is_committed_under_a_lock_that_is_still_held(make_hub: MakeHub) -> None:
    async with make_hub("ada") as ada, make_hub("bob") as bob:
        async with ada.lock("g-room") as held:
            async with ada.transaction() as tx:
                tx.guard(held)
                tx.guard(held)
                tx.scope("g-one").put("n", 1)
            held.check()
        async with bob.lock("g-room", wait_ms=10_000):
            assert (await bob.state("g-one").get("n")).value == 1
        async with (
            bob.rwlock("g-shared").read() as one,
            ada.rwlock("g-shared").read() as other,
            ada.transaction() as tx,
        ):
            tx.guard(other)
            tx.scope("g-one").put("n", 2)
            tx.scope("g-two").put("n", 2)
        assert one.token and await balances(bob, "g-none") == [None]
        assert (await bob.state("g-two").get("n")).value == 2


@in_loop
async def test_under_a_lock_that_was_lost_nothing_is_committed(make_hub: MakeHub) -> None:
    async with make_hub("ada") as ada, make_hub("bob") as bob:
        grant = await ada.lock("g-lost").acquire()
        tx = ada.transaction()
        with pytest.raises(LeaseLost, match=r"g-lost: token \d+ is not the lock's current one: it is free") as lost:
            async with tx:
                tx.guard(grant)
                tx.scope("g-lost").put("n", 1)
                await grant.release()
        assert lost.value.key == "g-lost"
        assert (await bob.state("g-lost").get("n")).value is None
        with pytest.raises(NotOwner, match="released"):
            async with ada.transaction() as tx:
                tx.guard(grant)
        async with ada.transaction() as tx:
            with pytest.raises(BadInput, match="is no grant: a transaction is guarded by locks and parts of pools"):
                tx.guard(ada.lock("g-lost"))  # type: ignore[arg-type]


@in_loop
async def test_it_is_committed_under_a_part_of_a_pool_that_is_still_held(make_hub: MakeHub) -> None:
    async with make_hub("ada") as ada, make_hub("bob") as bob:
        gpus = ada.pool("g-gpus")
        await gpus.configure(capacity=4)
        async with gpus.request(3) as part, ada.limit("g-api") as slot, ada.lock("g-gpus") as lock:
            async with ada.transaction() as tx:
                for held in (part, slot, lock, part):
                    tx.guard(held)
                tx.scope("g-part").put("n", 1)
            part.check()
        async with bob.pool("g-gpus").request(4, wait_ms=10_000):
            assert (await bob.state("g-part").get("n")).value == 1
        grant = await gpus.request(2).acquire()
        with pytest.raises(LeaseLost, match=r"g-gpus: token \d+ is not current: nothing is held") as lost:
            async with ada.transaction() as tx:
                tx.guard(grant)
                tx.scope("g-part").put("n", 2)
                await grant.release()
        assert lost.value.key == "g-gpus"
        assert (await bob.state("g-part").get("n")).value == 1
        async with gpus.request(1) as one, gpus.request(1) as other, ada.transaction() as tx:
            tx.guard(one)
            with pytest.raises(BadInput, match="guarded by another grant of g-gpus"):
                tx.guard(other)


@in_loop
async def test_a_task_begins_with_the_commit_and_never_without_it(make_hub: MakeHub) -> None:
    def letter(input: str) -> str:
        return f"dear {input}"

    graph = graph_of("g-letters", letter)
    async with make_hub("ada") as ada:
        with pytest.raises(ZeroDivisionError):
            async with ada.transaction() as tx:
                dropped = await tx.submit(graph, "eve")
                raise ZeroDivisionError
        async with ada.transaction() as tx:
            tx.scope("g-letters").put("sent", True)
            task = await tx.submit(graph, "bob")
            with pytest.raises(NotFound):
                await ada.task(task.id)
        assert (await task.record())["status"] == "in_progress"
        assert (await ada.state("g-letters").get("sent")).value is True
        with pytest.raises(NotFound):
            await ada.task(dropped.id)
        async with ada.transaction() as tx:
            alone = await tx.submit(graph, "kim")
        assert (await ada.task(alone.id)).id == alone.id
        with pytest.raises(BadInput, match="must be JSON"):
            async with ada.transaction() as tx:
                await tx.submit(graph, object())


def test_plain_functions_guard_and_submit_too(embedded: Embedded) -> None:
    def letter(input: str) -> str:
        return f"dear {input}"

    with sync.Accord(settings=embedded.settings, agent="gil") as hub, hub.lock("g-sync") as held:
        with hub.transaction() as tx:
            tx.guard(held)
            task = tx.submit(graph_of("g-sync", letter), "bob")
        assert task.record()["status"] == "in_progress"


def test_the_command_line_repairs_a_live_cluster(
    embedded: Embedded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACCORD_KAFKA__BOOTSTRAP_SERVERS", embedded.settings.kafka.bootstrap_servers)
    monkeypatch.setenv("ACCORD_TOPICS__PARTITIONS", str(embedded.settings.topics.partitions))
    late = Problem("in_doubt", "t9", "a", "", "state/0@1", "state", TELL)
    past = Problem("stuck", "t8", "", "", "transactions/0@1", repair=ABORT)
    none = Problem("mixed", "t7", "a", "", "state/0@1", "state")
    monkeypatch.setattr(agreement, "check", lambda *_, **__: (late, past, none))
    ran = Ran(capsys, "tx", "check", "--repair", "--json")
    told = [(one["transaction"], one["done"], one["outcome"]) for one in ran.objects]
    assert told == [("t9", "told", "aborted"), ("t8", "nothing", "unknown"), ("t7", "", "")]
    assert ran.code == 1, "one is left"
    monkeypatch.setattr(agreement, "check", lambda *_, **__: (late,))
    ran = Ran(capsys, "tx", "check", "--repair")
    assert ran.code == 0 and "t9 a  told the outcome, aborted: transactions/" in ran.out


@in_loop
async def test_arguments_that_cannot_be_right(make_hub: MakeHub) -> None:
    async with make_hub("ada") as hub:
        with pytest.raises(BadInput, match="isolation='none'"):
            hub.transaction(isolation="none")  # type: ignore[arg-type]
        with pytest.raises(BadInput, match="timeout_ms=0"):
            hub.transaction(timeout_ms=0)
        with pytest.raises(BadInput, match="attempts=0"):
            await hub.run_transaction(moving("a", "b", 1), attempts=0)
        async with hub.transaction() as tx:
            with pytest.raises(BadInput, match="scope"):
                tx.scope("")
            for n in range(SCOPES_MAX):
                tx.scope(f"many-{n}")
            with pytest.raises(BadInput, match="at most 100 scopes"):
                tx.scope("more")
        with pytest.raises(BadInput, match="runs once"):
            async with tx:
                pass
