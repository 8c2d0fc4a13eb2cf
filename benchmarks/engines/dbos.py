"""DBOS on PostgreSQL: a library; the process that asks runs the workflows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from benchmarks.engines.engine import CHAIN, FAN, Engine, Workflows
from benchmarks.peers import postgresql
from benchmarks.peers.peer import Address, lacking


@asynccontextmanager
async def workflows(address: Address) -> AsyncIterator[Workflows]:
    from dbos import DBOS, DBOSConfig  # noqa: PLC0415

    url = f"postgresql://postgres@127.0.0.1:{address['port']}/postgres"
    DBOS(config=DBOSConfig(name="bench", system_database_url=url, log_level="ERROR", run_admin_server=False))

    @DBOS.step()  # type: ignore[untyped-decorator,unused-ignore]
    async def add(value: int) -> int:
        return value + 1

    @DBOS.step()  # type: ignore[untyped-decorator,unused-ignore]
    async def add_up(values: list[int]) -> int:
        return sum(values)

    @DBOS.workflow()  # type: ignore[untyped-decorator,unused-ignore]
    async def chain() -> int:
        value = 0
        for _ in range(CHAIN):
            value = await add(value)
        return value

    @DBOS.workflow()  # type: ignore[untyped-decorator,unused-ignore]
    async def fan() -> int:
        return int(await add_up(list(await asyncio.gather(*[add(0) for _ in range(FAN)]))))

    DBOS.launch()
    try:
        yield Workflows(chain, fan)
    finally:
        DBOS.destroy()


DBOS: Final = Engine(
    "dbos",
    postgresql.DURABLE,
    lambda: lacking("dbos", "postgres", "initdb"),
    postgresql.serve,
    workflows,
)
