"""Fencing: what a guarded resource lets through."""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from accord.agents.client import Accord
from accord.agents.locks.fencing import FencedResource
from accord.schemas.messages.locks import StaleWriteRefused

from accord.errors import BadInput, StaleToken
from tests.agents.support import until


def test_smaller_token_is_refused() -> None:
    written: list[str] = []
    resource = FencedResource("rooms/12", written.append)
    resource.write(41, "ada")
    resource.write(41, "ada again")
    resource.write(42, "bob")
    with pytest.raises(StaleToken) as raised:
        resource.write(41, "ada, late")
    assert str(raised.value) == (
        "write to rooms/12 with token 41 refused; 42 has written since. Acquire again and re-read before writing."
    )
    assert raised.value.details == {"token": 41, "highest_token": 42}
    assert written == ["ada", "ada again", "bob"]
    assert resource.highest_token == 42


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
            # Two hubs are open; the innermost is the one of this context.
            assert heard == [StaleWriteRefused("bob", "rooms/12", old.token, new.token)]
            await new.release()

    asyncio.run(main())
