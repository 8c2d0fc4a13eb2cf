"""The fixtures that users get."""

import asyncio

import pytest

import accord
from accord.embedded import LocalHub
from accord.sync import LocalHub as SyncLocalHub


def test_accord_hub_moves_the_logs_clock(accord_hub: LocalHub) -> None:
    async def run() -> None:
        async with accord_hub as hub:
            grant = await hub.lock("room", lease_ms=30_000).acquire()
            await hub.advance(31_000)
            async with asyncio.timeout(10):
                await grant.lost.wait()
            with pytest.raises(accord.LeaseLost):
                grant.check()
            async with hub.lock("room", wait_ms=0) as following:
                assert following.token > grant.token

    asyncio.run(run())


def test_accord_sync_is_an_open_hub(accord_sync: SyncLocalHub) -> None:
    with pytest.raises(accord.LeaseLost), accord_sync.lock("room", wait_ms=0) as grant:
        assert grant.valid
        accord_sync.advance(31_000)
        assert grant.lost.wait(10)
        assert not grant.valid
