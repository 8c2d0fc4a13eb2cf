"""Fencing: what a guarded resource lets through."""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext, suppress
from types import SimpleNamespace
from typing import Any, Literal

import pytest
from accord.agents.client import Accord
from accord.agents.limits.limits import Request
from accord.agents.locks.fencing import FencedResource
from accord.agents.locks.locks import Grant, Lock
from accord.schemas.messages import Command, limits, locks
from accord.schemas.messages.locks import StaleWriteRefused

from accord.errors import BadInput, LeaseLost, StaleToken
from tests.agents.support import detached, run, until


def test_smaller_token_is_refused() -> None:
    written: list[str] = []
    resource = FencedResource("rooms/12", written.append)
    resource.write(41, "ada")
    resource.write(41, "ada again")
    resource.write(42, "bob")
    with pytest.raises(StaleToken) as raised:
        resource.write(41, "ada, late")
    assert str(raised.value) == (
        "write to rooms/12 with token 41 refused; 42 has been there since. Acquire again and re-read before writing."
    )
    assert raised.value.details == {"token": 41, "highest_token": 42}
    assert written == ["ada", "ada again", "bob"]
    assert resource.highest_token == 42


def test_who_reads_keeps_older_holders_from_writing() -> None:
    """Else the late write of one who is paused is lost, or loses what the next one makes of what was there."""
    value = ["a"]
    resource = FencedResource("rooms/12", value.append)
    resource.write(41, "b")
    assert resource.read(42, lambda at: value[at], at=-1) == "b"
    with pytest.raises(StaleToken, match="write to rooms/12 with token 41 refused; 42 has been there since"):
        resource.write(41, "late")
    with pytest.raises(StaleToken, match="read of rooms/12 with token 41 refused"):
        resource.read(41, value.copy)
    resource.write(42, "c")
    assert value == ["a", "b", "c"] and resource.highest_token == 42

    async def read() -> str:
        return value[-1]

    with pytest.raises(BadInput, match="coroutine function"):
        resource.read(43, read)
    assert resource.highest_token == 42


def test_an_async_read_waits_for_the_write_that_goes_on() -> None:
    order: list[str] = []

    async def write(name: str) -> None:
        order.append(f"{name} begins")
        await asyncio.sleep(0)
        order.append(f"{name} ends")

    async def main() -> None:
        resource = FencedResource("ledger", write)

        async def read() -> list[str]:
            return [*order]

        writing = asyncio.ensure_future(resource.write(1, "ada"))
        await asyncio.sleep(0)
        assert await resource.read(2, read) == ["ada begins", "ada ends"]
        await writing
        with pytest.raises(StaleToken):
            await resource.write(1, "late")

    asyncio.run(main())


def test_returns_what_apply_returns_and_passes_its_arguments() -> None:
    def add(a: int, *, b: int) -> int:
        return a + b

    assert FencedResource("sum", add).write(1, 2, b=3) == 5


def test_write_that_fails_still_counts_its_token() -> None:
    """Somebody with that token was here: an older one must not write any more."""

    def fail() -> None:
        raise OSError

    resource = FencedResource("fails", fail)
    with pytest.raises(OSError):
        resource.write(5)
    with pytest.raises(StaleToken):
        resource.write(4)


@pytest.mark.parametrize("token", [0, -1, 1.0, True, "7", None])
def test_what_is_no_token(token: object) -> None:
    with pytest.raises(BadInput, match="is no fencing token"):
        FencedResource("rooms/12", lambda: None).write(token)  # type: ignore[arg-type]


def test_token_is_loaded_once_and_saved_before_the_write() -> None:
    log: list[str] = []

    def load() -> int:
        log.append("load")
        return 7

    resource = FencedResource(
        "r", lambda: log.append("apply"), load=load, save=lambda token: log.append(f"save {token}")
    )
    with pytest.raises(StaleToken):
        resource.write(6)
    resource.write(7)
    resource.write(9)
    resource.write(9)
    assert log == ["load", "apply", "save 9", "apply", "apply"]


def test_check_and_write_are_one_step() -> None:
    """However threads interleave, what is written last is never of a smaller token than what was before."""
    tokens: list[int] = []

    def apply(token: int) -> None:
        time.sleep(0.0005)
        tokens.append(token)

    resource = FencedResource("r", apply)
    start = threading.Barrier(8)

    def write(offset: int) -> None:
        start.wait()
        for token in range(1, 30):
            with suppress(StaleToken):
                resource.write(token + offset, token + offset)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    assert tokens == sorted(tokens)


def test_async_writes_are_one_step_too() -> None:
    written: list[int] = []

    async def apply(value: int) -> int:
        await asyncio.sleep(0.01 if value == 1 else 0)
        written.append(value)
        return value

    async def main() -> None:
        resource = FencedResource("r", apply)
        slow = asyncio.create_task(resource.write(1, 1))
        await asyncio.sleep(0.001)
        assert await resource.write(2, 2) == 2
        assert await slow == 1
        with pytest.raises(StaleToken):
            await resource.write(1, 3)

    asyncio.run(main())
    assert written == [1, 2]


def test_grant_as_token_names_who_came_later_and_the_log_hears_of_it(make_hub: Callable[..., Accord]) -> None:
    async def main() -> None:
        async with make_hub("ada") as ada, make_hub("bob") as bob:
            resource = FencedResource("rooms/12", lambda text: text, lock="room_12")
            heard: list[StaleWriteRefused] = []
            bob.connection.watch(
                "locks", "room_12", lambda a: heard.extend(e for e in a.events if isinstance(e, StaleWriteRefused))
            )
            old = await ada.lock("room_12").acquire()
            assert resource.write(old, "first") == "first"
            await old.release()
            new = await bob.lock("room_12").acquire()
            resource.write(new, "second")
            with pytest.raises(StaleToken) as raised:
                resource.write(old, "late")
            assert str(raised.value) == (
                f"write to rooms/12 with token {old.token} refused; {new.token} was granted to bob ({new.position}). "
                "Acquire again and re-read before writing."
            )
            assert (raised.value.holder, raised.value.position) == ("bob", str(new.position))
            await asyncio.to_thread(until, lambda: bool(heard))
            assert heard == [StaleWriteRefused("ada", "rooms/12", old.token, new.token)]
            await new.release()

    asyncio.run(main())


def test_a_slot_of_a_limit_is_a_token_too_and_the_refusal_is_in_its_domain(make_hub: Callable[..., Accord]) -> None:
    async def main() -> None:
        async with make_hub("ada") as ada, make_hub("bob") as bob:
            resource = FencedResource("printer", lambda text: text, pool="print-queue")
            heard: list[limits.StaleWriteRefused] = []
            bob.connection.watch(
                "limits",
                "print-queue",
                lambda a: heard.extend(e for e in a.events if isinstance(e, limits.StaleWriteRefused)),
            )
            old = await ada.limit("print-queue").acquire()
            assert resource.write(old, "first") == "first"
            await old.release()
            new = await bob.limit("print-queue").acquire()
            resource.write(new, "second")
            for token in (old, old.token):  # whose a bare token is, is not known: the hub of this context tells
                with pytest.raises(StaleToken) as raised:
                    resource.write(token, "late")
                assert (raised.value.key, raised.value.holder) == ("print-queue", "bob")
            await asyncio.to_thread(until, lambda: len(heard) == 2)
            told = [limits.StaleWriteRefused(agent, "printer", old.token, new.token) for agent in ("ada", "bob")]
            assert sorted(heard, key=lambda event: event.agent) == told
            await new.release()

    asyncio.run(main())


def test_what_guards_a_resource_is_one_thing() -> None:
    with pytest.raises(BadInput, match="one of them guards it"):
        FencedResource("r", lambda: None, lock="a", pool="b")


@pytest.mark.parametrize(("on_loss", "domain"), [("cancel", "locks"), ("flag", "limits")])
def test_a_holder_that_is_cut_off_stops_before_another_is_let_in_and_cannot_write_any_more(
    make_hub: Callable[..., Accord], on_loss: Literal["cancel", "flag"], domain: str
) -> None:
    """Row by row what a partition does: no renewal gets through, and nothing is heard of the log."""
    name = f"cut-off-{domain}"
    happened: list[str] = []

    def asked(hub: Accord) -> Lock | Request:
        if domain == "locks":
            return hub.lock(name, lease_ms=1_500, on_loss=on_loss)
        return hub.pool(name).request(1, duration_ms=1_500, on_loss=on_loss)

    async def main() -> None:
        async with make_hub("ada") as ada, make_hub("bob") as bob:
            await bob.pool(name).configure(capacity=1)
            resource = FencedResource("ledger", happened.append)
            heard: list[object] = []
            bob.connection.watch(domain, name, lambda answer: heard.extend(answer.events))

            async def isolated() -> None:
                request = asked(ada)
                with (
                    pytest.raises(LeaseLost, match="could not be renewed in time")
                    if on_loss == "cancel"
                    else nullcontext()
                ):
                    async with request as grant:
                        cut_off(ada, grant)
                        try:
                            await grant.lost.wait()
                            assert on_loss == "flag"
                        except asyncio.CancelledError:
                            assert on_loss == "cancel"
                            raise
                        finally:
                            happened.append("ada stops")
                            assert not grant.valid
                            with pytest.raises(LeaseLost):
                                grant.check()
                with pytest.raises(StaleToken):
                    await asyncio.wait_for(write_late(grant), 10)

            async def write_late(grant: Grant) -> None:
                """A careless program: it writes all the same, once bob has written."""
                while "bob" not in happened:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                resource.write(grant, "ada, late")

            async def other() -> None:
                await asyncio.sleep(0.1)
                async with asked(bob) as grant:
                    happened.append("bob is let in")
                    resource.write(grant, "bob")

            await asyncio.gather(detached(isolated()), detached(other()))
            refused = {"locks": locks.StaleWriteRefused, "limits": limits.StaleWriteRefused}[domain]
            await asyncio.to_thread(until, lambda: any(isinstance(event, refused) for event in heard))

    run(main())
    assert happened == ["ada stops", "bob is let in", "bob"]


def cut_off(hub: Accord, grant: Grant) -> None:
    """Lets nothing of what holds a lease through: its commands vanish, and it hears no answer."""
    for undo in grant._hold._undo:
        undo()
    submit = hub.connection.submit

    def vanish(domain: str, key: str, command: Command, **how: Any) -> Any:
        if type(command).__name__ in ("RenewLease", "ReleaseLock", "ReleaseCapacity"):
            return SimpleNamespace(decided=Future())
        return submit(domain, key, command, **how)

    hub.connection.submit = vanish  # type: ignore[method-assign]
