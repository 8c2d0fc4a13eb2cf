"""`accord serve` and `accord work`: the service over HTTP, and the agents that do its work."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from accord import logs, metrics, tracing
from accord.cli.options import Bootstrap, Errors, Prefix, load, log_chosen
from accord.errors import AccordError, ConfigError

if TYPE_CHECKING:
    from accord.agents.agent import Agent
    from accord.agents.client import Accord
    from accord.agents.service.asking import Asker
    from accord.settings import Settings

logger = logs.get("accord.service")

GRACE_S: Final = 10
"""How long requests that are under way may take when the service ends."""
CONNECTIONS_MAX: Final = 1_000
"""More are answered with 503."""
ALL_PARTS: Final = ("content", "research", "aggregator")


def add_to(app: typer.Typer) -> None:
    app.command()(serve)
    app.command()(work)


def serve(
    host: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Where to listen. 0.0.0.0: beyond this machine, too.")
    ] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65_535, help="0: a free one.")] = None,
    with_agents: Annotated[
        bool, typer.Option("--work", help="Run the agents in this process, too: for one machine, and to try it.")
    ] = False,
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
    errors: Errors = False,
) -> None:
    """Serve articles and research over HTTP until Ctrl-C or SIGTERM; GET /openapi.json describes it.

    What was begun is on the log, and goes on without this process. Agents do it: accord work.
    """
    chosen: dict[str, Any] = {}
    if host is not None:
        chosen["host"] = host
    if port is not None:
        chosen["port"] = port
    settings = load(bootstrap, prefix, service=chosen, log=log_chosen(errors))
    _need_server()
    logs.show(settings)
    with _listening(settings.service.host, settings.service.port) as listening:
        asyncio.run(_serve(settings, listening, ALL_PARTS if with_agents else ()))


def work(
    parts: Annotated[
        list[str],
        typer.Argument(
            metavar="AGENT...",
            help="content, research or aggregator; or one of them: researcher, writer, editor, publisher, web, "
            "academic, news, social.",
        ),
    ],
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
    errors: Errors = False,
) -> None:
    """Run agents of the service until Ctrl-C or SIGTERM; start as many processes as you like.

    Who is stopped takes nothing new, finishes what it can within 10 s and gives back the rest.
    """
    settings = load(bootstrap, prefix, log=log_chosen(errors))
    logs.show(settings)
    asyncio.run(_work(settings, parts))


def _need_server() -> None:
    try:
        import starlette  # noqa: F401, PLC0415
        import uvicorn  # noqa: F401, PLC0415
    except ImportError as error:
        raise ConfigError(
            f"accord serve needs {error.name}, which is not installed.", remedy="pip install 'accord[service]'"
        ) from None


def _listening(host: str, port: int) -> socket.socket:
    """A socket for the service. Bound here, so that a port in use is an error like any other."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=CONNECTIONS_MAX)
    except OSError as error:
        raise ConfigError(
            f"{host}:{port} cannot be listened at: {error.strerror or error}.",
            remedy="Take another one: --port, or ACCORD_SERVICE__PORT.",
        ) from None


async def _serve(settings: Settings, listening: socket.socket, parts: tuple[str, ...]) -> None:
    import uvicorn  # noqa: PLC0415

    from accord.agents.service.app import build  # noqa: PLC0415

    async with _Program(settings, "orchestrator") as program:
        if parts:
            await program.work(*_agents(settings, parts))
        config = uvicorn.Config(
            build(program.hub, program.metrics),
            log_config=None,  # its lines go where ours do
            log_level="warning",
            access_log=False,
            server_header=False,
            limit_concurrency=CONNECTIONS_MAX,
            timeout_graceful_shutdown=GRACE_S,
        )
        server = uvicorn.Server(config)
        host, port = listening.getsockname()[:2]
        serving = asyncio.create_task(server.serve([listening]))
        logger.info(f"listening at http://{_url_host(host)}:{port}", tokens=len(settings.service.tokens))
        if not settings.service.tokens and host not in ("127.0.0.1", "::1"):
            logger.warning("anybody who reaches this port may ask: set ACCORD_SERVICE__TOKENS")
        try:
            await program.until_stopped(serving)
        finally:
            server.should_exit = True
            await serving


async def _work(settings: Settings, parts: list[str]) -> None:
    asker, agents = _agents(settings, parts)  # before anything is connected: a name may be none
    async with _Program(settings, parts[0]) as program:
        terms = settings.agents
        if terms.metrics_port:
            program.tell_metrics(terms.metrics_host, terms.metrics_port)
        await program.work(asker, agents)
        await program.until_stopped()


def _agents(settings: Settings, parts: Iterable[str]) -> tuple[Asker, list[Agent]]:
    """Agents by their names, and what they ask. Raises BadInput: one of the names is none."""
    from accord.agents.service.asking import Asker  # noqa: PLC0415
    from accord.agents.service.parts import agents_of  # noqa: PLC0415

    asker = Asker(settings)
    return asker, agents_of(parts, asker, settings)


def _soon(loop: asyncio.AbstractEventLoop, callback: Callable[[AccordError], None], error: AccordError) -> None:
    """Calls back in a loop, from any thread."""
    loop.call_soon_threadsafe(callback, error)


def _url_host(host: str) -> str:
    return f"[{host}]" if ":" in host else host


class _Program:
    """A hub, the agents that work on it, and the wait for the end: a signal, or the loss of the connection."""

    hub: Accord

    def __init__(self, settings: Settings, name: str) -> None:
        self._settings = settings
        self._name = name
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> _Program:
        from accord.agents.client import Accord  # noqa: PLC0415

        self._stack.callback(tracing.set_up(f"accord-{self._name}"))
        loop = asyncio.get_running_loop()
        self._stopped: asyncio.Future[None] = loop.create_future()
        for number in (signal.SIGINT, signal.SIGTERM):  # before uvicorn, which hands on to these what it catches
            loop.add_signal_handler(number, self._stop)
        agent = self._settings.agent or f"{self._name}-{socket.gethostname()}-{os.getpid()}"
        self.hub = await self._stack.enter_async_context(Accord(settings=self._settings, agent=agent))
        self.hub.connection.on_failure(partial(_soon, loop, self._stop))
        self.metrics = metrics.new_registry()
        self.hub.count_in(self.metrics)
        return self

    def tell_metrics(self, host: str, port: int) -> None:
        """Answers Prometheus from now on. Raises ConfigError: not at this port."""
        _, end = metrics.serve(self.metrics, host, port)
        self._stack.callback(end)

    async def __aexit__(self, *error: Any) -> None:
        await self._stack.aclose()

    async def work(self, asker: Asker, agents: list[Agent]) -> None:
        """Runs agents from now on."""
        from accord.agents.service.content import TEAM  # noqa: PLC0415

        terms = self._settings.agents
        await self._stack.enter_async_context(asker)
        member = self.hub.work(*agents, team=TEAM, slots=terms.slots, lease_ms=terms.lease_ms)
        await self._stack.enter_async_context(member)
        logger.info("working", queues=" ".join(member.capabilities), slots=terms.slots, model=terms.model)

    async def until_stopped(self, serving: asyncio.Task[None] | None = None) -> None:
        """Returns when a signal came, or the server has ended. Raises what has ended the connection."""
        waiting: set[asyncio.Future[None]] = {self._stopped}
        await asyncio.wait(waiting | ({serving} if serving else set()), return_when=asyncio.FIRST_COMPLETED)
        if self._stopped.done():
            self._stopped.result()

    def _stop(self, error: AccordError | None = None) -> None:
        if self._stopped.done():
            return
        if error is None:
            self._stopped.set_result(None)
        else:
            self._stopped.set_exception(error)
