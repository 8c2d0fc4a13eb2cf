"""Calls of an API that takes one at a time and rejects who comes meanwhile, behind a limit of one at a time."""

from __future__ import annotations

import asyncio
import http.client

from tests.faults.parts.player import LEASE_MS, Player, Turn

KEY = "openai_api"
TIMEOUT_S = 30


def turns(player: Player) -> list[Turn]:
    limit = player.hub.limit(KEY, lease_ms=LEASE_MS)

    async def call() -> bool:
        acquired = await player.acquire(limit, kind="take")
        if acquired is None:
            return True
        op, slot = acquired
        since_ns = player.believed(op, slot)
        if since_ns is not None:
            calling = player.history.invoke("call", KEY, token=slot.token)
            status = await asyncio.to_thread(_status, player.config.api_port)
            if status == http.HTTPStatus.OK:
                player.history.ok(calling)
            else:
                player.history.fail(calling, str(status))
            player.believed(op, slot, since_ns)
        await player.release(op, slot, kind="give")
        return True

    return [call]


def _status(port: int) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("POST", "/v1/chat/completions")
        return connection.getresponse().status
    finally:
        connection.close()
