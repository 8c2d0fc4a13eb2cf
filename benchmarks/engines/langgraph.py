"""LangGraph with its PostgreSQL checkpointer: a library; the process that asks runs the graphs."""

from __future__ import annotations

import itertools
import operator
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Final, TypedDict

from benchmarks.engines.engine import CHAIN, FAN, Engine, Workflows
from benchmarks.peers import postgresql
from benchmarks.peers.peer import Address, lacking

CONNECTIONS: Final = 20


class State(TypedDict):
    total: Annotated[int, operator.add]
    result: int


@asynccontextmanager
async def workflows(address: Address) -> AsyncIterator[Workflows]:
    from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver  # noqa: PLC0415
    from langgraph.graph import END, START, StateGraph  # noqa: PLC0415
    from psycopg.rows import dict_row  # noqa: PLC0415
    from psycopg_pool import AsyncConnectionPool  # noqa: PLC0415

    async def add(_: State) -> Any:
        return {"total": 1}

    async def finish(state: State) -> Any:
        return {"result": state["total"]}

    chain, fan = StateGraph(State), StateGraph(State)
    names = [f"step-{number}" for number in range(CHAIN)]
    for name in names:
        chain.add_node(name, add)
    for before, after in itertools.pairwise([START, *names, END]):
        chain.add_edge(before, after)
    for number in range(FAN):
        fan.add_node(f"part-{number}", add)
        fan.add_edge(START, f"part-{number}")
        fan.add_edge(f"part-{number}", "join")
    fan.add_node("join", finish)
    fan.add_edge("join", END)

    options: dict[str, Any] = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
    url = postgresql.CONNECTION.format(port=address["port"])
    async with AsyncConnectionPool(url, min_size=CONNECTIONS, max_size=CONNECTIONS, kwargs=options) as pool:
        saver = AsyncPostgresSaver(pool)
        await saver.setup()
        count = itertools.count()
        compiled = {"chain": chain.compile(checkpointer=saver), "fan": fan.compile(checkpointer=saver)}

        async def run(graph: str) -> int:
            config: Any = {"configurable": {"thread_id": f"{graph}-{next(count)}"}}
            state = await compiled[graph].ainvoke({"total": 0, "result": 0}, config, durability="sync")
            return int(state["total"])

        yield Workflows(lambda: run("chain"), lambda: run("fan"))


LANGGRAPH: Final = Engine(
    "langgraph",
    postgresql.DURABLE,
    lambda: lacking("langgraph.checkpoint.postgres", "postgres", "initdb"),
    postgresql.serve,
    workflows,
)
