"""Restate: its server, a process with the workflows' code that the server calls, and requests to the server."""

from __future__ import annotations

import json
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

from benchmarks.engines.engine import CHAIN, FAN, Engine, Workflows
from benchmarks.peers.peer import Address, accepts, directory, free_ports, lacking, server

DURABLE: Final = "its own log, as its server is set by default"
PROGRAM: Final = "restate-server"
IN_FLIGHT_MAX: Final = 256


@contextmanager
def serve() -> Iterator[Address]:
    ingress, admin, node, code = free_ports(4)
    program = shutil.which(PROGRAM)
    assert program is not None
    settings = {
        "RESTATE_BASE_DIR": "data",
        "RESTATE_INGRESS__BIND_ADDRESS": f"127.0.0.1:{ingress}",
        "RESTATE_ADMIN__BIND_ADDRESS": f"127.0.0.1:{admin}",
        "RESTATE_BIND_ADDRESS": f"127.0.0.1:{node}",
        "RESTATE_ADVERTISED_ADDRESS": f"http://127.0.0.1:{node}",
        "RESTATE_LISTEN_MODE": "tcp",
        "RESTATE_DISABLE_TELEMETRY": "true",
    }
    arguments = [f"{name}={value}" for name, value in settings.items()]
    here = str(Path.cwd())
    with (
        directory() as place,
        server([sys.executable, "-c", _PROGRAM, here, str(code)], place, lambda: accepts(code)),
        server(["env", *arguments, program], place, lambda: _is_registered(admin, code)),
    ):
        yield {"port": ingress}


_PROGRAM: Final = "import sys; sys.path.insert(0, sys.argv[1]); from benchmarks.engines.restate import run; run()"


def run() -> None:
    """The process with the code; its port is the last argument."""
    import asyncio  # noqa: PLC0415

    import restate  # noqa: PLC0415
    from hypercorn.asyncio import serve as hypercorn  # noqa: PLC0415
    from hypercorn.config import Config  # noqa: PLC0415

    flows = restate.Service("flows")

    async def chain(ctx: Any, _: int) -> int:
        value = 0
        for number in range(CHAIN):
            value = await ctx.run_typed(f"step-{number}", add, value=value)
        return value

    async def fan(ctx: Any, _: int) -> int:
        parts = [ctx.run_typed(f"part-{number}", add, value=0) for number in range(FAN)]
        await restate.gather(*parts)
        return int(await ctx.run_typed("join", add_up, values=[await part for part in parts]))

    flows.handler()(chain)
    flows.handler()(fan)
    config = Config()
    config.bind = [f"127.0.0.1:{sys.argv[-1]}"]
    application: Any = restate.app([flows])
    asyncio.run(hypercorn(application, config))


async def add(value: int) -> int:
    return value + 1


async def add_up(values: list[int]) -> int:
    return sum(values)


def _is_registered(admin: int, code: int) -> bool:
    """Tells the server where the code is; it answers once it serves."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{admin}/deployments",
        data=json.dumps({"uri": f"http://127.0.0.1:{code}"}).encode(),
        headers={"content-type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return bool(answer.status < 300)
    except (urllib.error.URLError, OSError):
        return False


@asynccontextmanager
async def workflows(address: Address) -> AsyncIterator[Workflows]:
    import httpx  # noqa: PLC0415

    url = f"http://127.0.0.1:{address['port']}/flows"
    limits = httpx.Limits(max_connections=IN_FLIGHT_MAX, max_keepalive_connections=IN_FLIGHT_MAX)
    async with httpx.AsyncClient(limits=limits, timeout=60) as client:

        async def ask(name: str) -> int:
            answer = await client.post(f"{url}/{name}", json=0)
            answer.raise_for_status()
            return int(answer.json())

        yield Workflows(lambda: ask("chain"), lambda: ask("fan"))


RESTATE: Final = Engine("restate", DURABLE, lambda: lacking("restate", PROGRAM), serve, workflows)
