"""Agents that move money between accounts of scopes: within one by a commit, between two by a transaction."""

from __future__ import annotations

from accord.schemas.messages.state import CommitChanges, KeyRead, ReadKey, SeenKey, Write
from accord.schemas.messages.transactions import (
    BeginTransaction,
    CommitTransaction,
    RollBackTransaction,
    ScopeChanges,
    TransactionEnded,
)
from accord.testing.simulation.client import Client, NoAnswer

SCOPES = ("bank-a", "bank-b", "bank-c")
ACCOUNTS = ("account-x", "account-y")
MONEY = 100


async def payer(client: Client) -> None:
    """Opens the accounts that are not there, then moves money."""
    number = 0
    while client.going:
        number += 1
        try:
            if client.random.random() < 0.4:
                await _within(client, client.random.choice(SCOPES))
            else:
                await _between(client, f"pay-{client.process.name}-{number}")
        except NoAnswer:
            pass
        await client.rest(12_000)


async def _read(client: Client, scope: str, account: str) -> tuple[int, int]:
    """Amount and version; the account is opened if it is not there."""
    for _ in range(5):
        read = (await client.ask("state", scope, ReadKey(client.name, account, None))).events[-1]
        if isinstance(read, KeyRead) and read.value is not None:
            return int(read.value), read.key_version
        opening = Write(account, "put", str(MONEY))
        seen = SeenKey(account, 0)
        await client.ask(
            "state", scope, CommitChanges(client.name, "serializable", None, (seen,), (), (opening,), "", "")
        )
    raise NoAnswer(f"{scope}/{account} cannot be opened")


async def _within(client: Client, scope: str) -> None:
    amount = client.random.randint(1, 10)
    reads, writes = [], []
    for account, by in zip(ACCOUNTS, (-amount, amount), strict=True):
        have, version = await _read(client, scope, account)
        reads.append(SeenKey(account, version))
        writes.append(Write(account, "put", str(have + by)))
    await client.ask(
        "state", scope, CommitChanges(client.name, "serializable", None, tuple(reads), (), tuple(writes), "", "")
    )


async def _between(client: Client, name: str) -> None:
    chance = client.random
    amount = chance.randint(1, 10)
    parts = []
    for scope, by in zip(chance.sample(SCOPES, 2), (-amount, amount), strict=True):
        account = chance.choice(ACCOUNTS)
        have, version = await _read(client, scope, account)
        write = Write(account, "put", str(have + by))
        parts.append(ScopeChanges(scope, "serializable", None, (SeenKey(account, version),), (), (write,)))
    at_once = chance.random() < 0.7
    async with client.watch("transactions", name) as watch:
        await client.ask("transactions", name, BeginTransaction(client.name, (), tuple(parts), at_once, 10_000, 0))
        if not at_once:
            await client.pause(0, 8_000)
            if chance.random() < 0.2:
                await client.ask("transactions", name, RollBackTransaction(client.name, "changed my mind"))
            else:
                await client.ask("transactions", name, CommitTransaction(client.name, ()))
        await watch.until(lambda e: isinstance(e, TransactionEnded), 60_000)
