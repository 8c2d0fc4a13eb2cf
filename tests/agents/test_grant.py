"""`grant()`: how a coordinated body comes by its fencing token."""

from __future__ import annotations

import asyncio

import pytest

import accord
from accord import coordinate


@coordinate("inner", lock_name="room_{room}")
async def inner(room: str) -> tuple[str, int]:
    return accord.grant().key, accord.grant().token


@coordinate("outer", lock_name="floor_{floor}")
async def outer(floor: str) -> list[str]:
    before = accord.grant().key
    (within, _), (other, _) = await asyncio.gather(inner("12"), inner("14"))
    return [before, within, other, await unlocked()]


@coordinate("unlocked")
async def unlocked() -> str:
    return accord.grant().key


@coordinate("plain", lock_name="room_{room}")
def plain(room: str) -> int:
    accord.grant().check()
    return accord.grant().token


def test_the_innermost_lock_counts() -> None:
    async def main() -> None:
        async with accord.local():
            assert await outer("1") == ["floor_1", "room_12", "room_14", "floor_1"]
            with pytest.raises(accord.BadInput, match="outside"):
                await unlocked()

    asyncio.run(main())


def test_tokens_grow_and_are_gone_with_the_body() -> None:
    with accord.sync.local():
        assert 0 < plain("12") < plain("12")
        with pytest.raises(accord.BadInput, match="Give lock_name"):
            accord.grant()
