"""What every hub has: settings, the connection, the hooks of what is attached, events and coordinated functions.

What a hub offers of a domain stands in the domain's folder: `hub.py` for async programs, `sync.py` for others.
`accord.agents.client` and `accord.sync` put them together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextvars import Token
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

from accord.agents import context
from accord.agents.artifacts.artifacts import BlockingArtifacts
from accord.agents.connection import runtime
from accord.agents.connection.connection import Connection
from accord.agents.coordinate import LockName, coordinate_on
from accord.agents.leases.heartbeat import Heartbeat
from accord.agents.leases.leases import Leases
from accord.agents.signals.handlers import F, when_on
from accord.agents.signals.signals import Receipt, emit_on
from accord.agents.signals.subscription import NOW, Since
from accord.agents.signals.wanted import MISSING_AFTER_MS, OnMissing, Ordered

from accord.errors import BadInput, NotConnected, Unavailable
from accord.settings import Settings

if TYPE_CHECKING:
    from accord.agents.metrics import AgentMetrics

    from accord.metrics import CollectorRegistry

P = ParamSpec("P")
R = TypeVar("R")

Hook = Callable[[], "Future[None] | None"]
AGENT_CHARS_MAX: Final = 255


class Hub:
    """What the async and the sync hub share.

    Args:
        bootstrap_servers: `host:port`, comma-separated; None: from the settings, else a running `accord dev` in this
            directory or above, else localhost:9092.
        agent: name of the agent; None: from the settings, else made from host name and process id.
        settings: None: read from environment and file when the hub opens.
    """

    def __init__(
        self, bootstrap_servers: str | None = None, *, agent: str | None = None, settings: Settings | None = None
    ) -> None:
        if agent is not None and (not isinstance(agent, str) or not 0 < len(agent) <= AGENT_CHARS_MAX):
            raise BadInput(f"agent={agent!r}: a name of 1 to {AGENT_CHARS_MAX} characters is needed.")
        self._bootstrap_servers = bootstrap_servers
        self._agent = agent
        self._settings = settings
        self._timestamp_ms: Callable[[], int] | None = None
        self._runtime = runtime.current()
        self._connection: Connection | None = None
        self._leases: Leases | None = None
        self._heartbeat: Heartbeat | None = None
        self._token: Token[Hub | None] | None = None
        self._artifacts: BlockingArtifacts | None = None
        self._drain_hooks: list[Hook] = []
        self._close_hooks: list[Hook] = []
        self.metrics: AgentMetrics | None = None
        """Where it counts; None: nowhere. See `count_in`."""
        self.loop: asyncio.AbstractEventLoop | None = None
        """The event loop that an async hub was opened in, while it is open."""
        self.is_open = False

    def use(self, settings: Settings, timestamp_ms: Callable[[], int] | None = None) -> None:
        """Replaces the settings before the hub opens; `timestamp_ms` gives the time of commands, in ms since 1970."""
        self._settings, self._timestamp_ms = settings, timestamp_ms
        self._artifacts = None

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        if self._settings is None:
            self._settings = Settings.load()
        return self._settings

    @property
    def agent(self) -> str:
        """The agent's name."""
        if self._agent is None:
            self._agent = self.settings.agent or runtime.current().name
        return self._agent

    @property
    def now_ms(self) -> int:
        """The log's time as this machine's clock has it, in ms since 1970; off by as much as the clocks differ."""
        return self._timestamp_ms() if self._timestamp_ms is not None else self._runtime.now_ms()

    @property
    def is_local(self) -> bool:
        """Whether its log is an embedded one, whose records have the time of this process."""
        return self._timestamp_ms is not None

    @property
    def connection(self) -> Connection:
        """The connection to the log. Raises NotConnected before the hub was opened."""
        if self._connection is None:
            raise self._not_open("the connection")
        return self._connection

    @property
    def health(self) -> dict[str, Any]:
        """What works for this agent, as far as it has asked: `status`, `service` (its name), `off`, `works`, `why`.

        `degraded`: partitions are `off` that nobody decides. `unhealthy`: no broker takes anything, or the connection
        has failed; `why` says it. `works` are the domains that have answered and of which nothing is off.

        Raises:
            NotConnected: it was not opened.
        """
        return self.connection.health

    @property
    def leases(self) -> Leases:
        """The requests and leases of this hub. Raises NotConnected before it was opened."""
        if self._leases is None:
            raise self._not_open("a lock")
        return self._leases

    @property
    def heartbeat(self) -> Heartbeat:
        """Tells the log that this process is alive, while something hangs on it. Raises NotConnected before the hub was
        opened."""
        if self._heartbeat is None:
            raise self._not_open("the heartbeat")
        return self._heartbeat

    @property
    def blocking_artifacts(self) -> BlockingArtifacts:
        """Contents beside the log, for plain functions; it needs no open hub."""
        if self._artifacts is None:
            self._artifacts = BlockingArtifacts(self.settings.artifacts)
        return self._artifacts

    def ensure_open(self, caller: str) -> None:
        """Raises NotConnected unless the hub is open."""
        if not self.is_open:
            raise self._not_open(caller)

    def count_in(self, registry: CollectorRegistry) -> None:
        """Has this hub count what it does, for Prometheus; see `accord.agents.metrics`.

        Args:
            registry: a `prometheus_client.CollectorRegistry` in which no other hub counts.
        """
        from accord.agents.metrics import AgentMetrics  # noqa: PLC0415  for those alone who count

        self.metrics = AgentMetrics(registry)

    def _not_open(self, caller: str) -> NotConnected:
        return NotConnected(f"{caller} was used, but its hub is not open.", remedy='Enter the hub first: "async with".')

    def on_drain(self, hook: Hook) -> None:
        """Has `drain` call `hook` and wait for the future that it returns. Hooks run one after the other."""
        self._drain_hooks.append(hook)

    def on_close(self, hook: Hook) -> None:
        """Has closing call `hook` and wait for its future, newest hook first, while the connection still works."""
        self._close_hooks.append(hook)

    # -- events and coordinated functions of this hub alone

    def emit(self, event: str, data: Mapping[str, Any], *, group: str | None = None) -> Receipt:
        """`accord.emit` on this hub, whatever hub the context names."""
        return emit_on(self, event, data, group=group)

    def when(
        self,
        event: str | Sequence[str] | None = None,
        *,
        name: str | None = None,
        retries: int = 3,
        since: Since = NOW,
        order: Ordered = "name",
        group: str | None = None,
        on_missing: OnMissing = "stop",
        missing_after_ms: int = MISSING_AFTER_MS,
    ) -> Callable[[F], F]:
        """`accord.when` for this hub alone."""
        return when_on(
            self,
            event,
            name=name,
            retries=retries,
            since=since,
            order=order,
            group=group,
            on_missing=on_missing,
            missing_after_ms=missing_after_ms,
        )

    def coordinate(
        self, name: str, lock_name: LockName | None = None, *, lease_ms: int | None = None, wait_ms: int | None = None
    ) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """`accord.coordinate` on this hub, whatever hub the context names."""
        return coordinate_on(self, name, lock_name, lease_ms=lease_ms, wait_ms=wait_ms)

    # -- the steps that both kinds of hub take

    def _connect(self) -> Future[None]:
        if self._connection is not None:
            raise BadInput("This hub is open already.", remedy="Make another one, or enter it once.")
        self._runtime = runtime.current()
        self._settings = self._runtime.settings(self._settings, self._bootstrap_servers)
        self._connection = Connection(
            self._settings, agent=self.agent, timestamp_ms=self._timestamp_ms, runtime=self._runtime
        )
        self._leases = Leases(self._connection)
        self._heartbeat = Heartbeat(self._connection)
        return self._connection.opening()

    def _enter(self) -> list[Hook]:
        """Makes it the context's hub. Returns the openers of what lives as long as a hub."""
        self.is_open = True
        self._token = context.enter(self)
        return [lambda opener=opener: opener(self) for opener in context.openers()]  # type: ignore[misc]

    def _take_close_hooks(self) -> list[Hook]:
        """The hooks of closing in the order in which they run; each runs once."""
        hooks, self._close_hooks = self._close_hooks[::-1], []
        return hooks

    def _leave(self) -> Future[None]:
        """Ends what is asked and held, and starts closing the connection."""
        self.is_open = False
        if self._token is not None:
            context.leave(self, self._token)
        if self._leases is not None:
            self._leases.close()
        if self._heartbeat is not None:
            self._heartbeat.close()
        self._drain_hooks.clear()
        connection, self._connection = self._connection, None
        self._leases = self._heartbeat = self._token = self.loop = None
        if connection is None:  # it never came to that
            nothing: Future[None] = Future()
            nothing.set_result(None)
            return nothing
        return connection.closing()


def not_drained(wait_ms: int | None) -> Unavailable:
    """The error of a `drain` that took too long."""
    return Unavailable(
        f"drain: events are on their way, or handlers busy with them, after {wait_ms} ms.",
        remedy="Nothing is lost by it: wait longer, or close the hub; what is pending is delivered next time.",
    )
