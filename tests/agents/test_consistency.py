"""The levels of consistency of shared state, checked on what clients saw; and the checkers on what must not be."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest
from accord.agents.state.replica import Replica
from accord.agents.state.scope import Scope

from tests.agents.consistency import Noted, never_written, not_linearizable, not_of_session
from tests.agents.test_tasks import MakeHub, in_loop

ORDER = ("0", "1", "2")
BAD = {
    "a stale read": (not_linearizable, [Noted("a", "write", "1", 1, 2), Noted("b", "read", "0", 3, 4)]),
    "a read of the future": (not_linearizable, [Noted("a", "read", "2", 1, 2), Noted("b", "write", "2", 3, 4)]),
    "back in time": (not_linearizable, [Noted("a", "read", "2", 1, 2), Noted("b", "read", "1", 3, 4)]),
    "written twice": (not_linearizable, [Noted("a", "write", "1", 1, 2), Noted("b", "write", "1", 3, 4)]),
    "not my write": (not_of_session, [Noted("a", "write", "2", 1, 2), Noted("a", "read", "1", 3, 4)]),
    "what I read is gone": (not_of_session, [Noted("a", "read", "2", 1, 2), Noted("a", "read", "1", 3, 4)]),
    "nobody's": (never_written, [Noted("a", "read", "7", 1, 2)]),
}


@pytest.mark.parametrize(("checker", "history"), BAD.values(), ids=BAD)
def test_what_must_not_be_is_found(checker: Callable[..., object], history: list[Noted]) -> None:
    assert checker(history, ORDER) is not None


def test_what_may_be_is_not_found_fault_with() -> None:
    together = [Noted("a", "write", "1", 1, 4), Noted("b", "read", "0", 2, 3), Noted("c", "read", "1", 2, 3)]
    assert not_linearizable(together, ORDER) is None
    apart = [Noted("a", "write", "2", 1, 2), Noted("b", "read", "0", 3, 4)]
    assert not_of_session(apart, ORDER) is None and never_written(apart, ORDER) is None


@in_loop
async def test_each_level_keeps_what_it_promises(make_hub: MakeHub) -> None:
    """Three clients write and read side by side: by asking the log, and from replicas."""
    notes: dict[str, list[Noted]] = {"strong": [], "session": [], "eventual": []}

    async def noted(level: str, client: str, action: str, call: Awaitable[str]) -> str:
        called_s = time.perf_counter()
        value = await call
        notes[level].append(Noted(client, action, value, called_s, time.perf_counter()))
        return value

    async def client(name: str, scope: Scope, replica: Replica) -> None:
        async def write(value: str) -> str:
            await scope.put("k", value)
            return value

        async def strong() -> str:
            return str((await scope.get("k")).value)

        async def session() -> str:
            return str((await replica.read("k")).value)

        async def eventual() -> str:
            return str(replica.get("k").value)

        for n in range(12):
            value = await noted("strong", name, "write", write(f"{name}{n}"))
            notes["session"].append(notes["strong"][-1]._replace(client=name, value=value))
            await noted("session", name, "read", session())
            await noted("eventual", name, "read", eventual())
            await noted("strong", name, "read", strong())

    async with make_hub("ada") as ada, make_hub("bob") as bob, make_hub("cleo") as cleo:
        scopes = {hub.agent: hub.state("levels") for hub in (ada, bob, cleo)}
        await scopes["ada"].put("k", "start")
        async with scopes["ada"].replica() as a, scopes["bob"].replica() as b, scopes["cleo"].replica() as c:
            replicas = dict(zip(scopes, (a, b, c), strict=True))
            await asyncio.gather(*[client(name, scopes[name], replicas[name]) for name in scopes])
            newest = max(scope.written for scope in scopes.values())
            last = [await replica.read("k", version=newest) for replica in replicas.values()]
        order = [read.value for read in await scopes["ada"].history("k")]
    assert len(order) == 37 and {read.value for read in last} == {order[-1]}, "they come to the same"
    assert not_linearizable(notes["strong"], order) is None
    assert not_of_session([*notes["session"], *notes["eventual"]], order) is None
    for history in notes.values():
        assert never_written(history, order) is None
