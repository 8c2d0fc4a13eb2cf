"""The hub: what an agent program opens to take part.

    async with accord.Accord("localhost:9092", agent="booker-1") as hub:
        async with hub.lock("room_12") as grant:
            ...

Nothing is connected before `async with`. Closing runs the hooks of what was attached (handlers), then withdraws what
is asked, releases what is held, waits a bounded time for the delivery of what was sent, and ends accord's thread.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import Future
from contextvars import Token
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, ParamSpec, Self, TypeVar

from accord.agents import context
from accord.agents.agent import Agent
from accord.agents.artifacts.artifacts import Artifacts, BlockingArtifacts
from accord.agents.auctions import auction as auctions
from accord.agents.auctions.auction import Auction
from accord.agents.auctions.bidding import BASE_PRICE, Bidding, Bids, Runs
from accord.agents.auctions.units import Number, Scoring
from accord.agents.connection.connection import Connection
from accord.agents.coordinate import LockName, coordinate_on
from accord.agents.discovery import resolve
from accord.agents.leases.call_chain import one_chain, runs
from accord.agents.leases.leases import Leases
from accord.agents.limits.limits import Pool, Request
from accord.agents.llm.model import Model
from accord.agents.locks.arguments import check_permits, check_wait_ms
from accord.agents.locks.barriers import Barrier
from accord.agents.locks.conditions import Condition
from accord.agents.locks.locks import Lock, MultiLock, OnLoss, RWLock
from accord.agents.proposals import proposal as proposals
from accord.agents.proposals.proposal import Proposal, Threshold, propose
from accord.agents.proposals.voting import Answers, AsksModel, Voting
from accord.agents.signals.handlers import F, when_on
from accord.agents.signals.signals import Receipt, emit_on
from accord.agents.tasks.fan_out import DEADLINE_MS, fan_out
from accord.agents.tasks.graph import TEAM, TaskGraph
from accord.agents.tasks.handle import Handle
from accord.agents.tasks.submit import KEEP_MS, find, submit
from accord.agents.tasks.work import DRAIN_MS, LEASE_MS, Work

from accord import logs
from accord.errors import BadInput, DeadlockVictim, NotConnected, Unavailable
from accord.settings import LlmSettings, Settings

if TYPE_CHECKING:
    from accord.agents.metrics import AgentMetrics

    from accord.metrics import CollectorRegistry

__all__ = ["Accord", "Hub"]

logger = logs.get("accord.client")

P = ParamSpec("P")
R = TypeVar("R")

Hook = Callable[[], "Future[None] | None"]
AGENT_CHARS_MAX: Final = 255


class Hub:
    """What the async and the sync hub share: settings, the connection, the hooks of what is attached.

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
        self._connection: Connection | None = None
        self._leases: Leases | None = None
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
            self._agent = self.settings.agent or f"{socket.gethostname()}-{os.getpid()}"
        return self._agent

    @property
    def connection(self) -> Connection:
        """The connection to the log. Raises NotConnected before the hub was opened."""
        if self._connection is None:
            raise self._not_open("the connection")
        return self._connection

    @property
    def leases(self) -> Leases:
        """The requests and leases of this hub. Raises NotConnected before it was opened."""
        if self._leases is None:
            raise self._not_open("a lock")
        return self._leases

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

    def emit(self, event: str, data: Mapping[str, Any]) -> Receipt:
        """`accord.emit` on this hub, whatever hub the context names."""
        return emit_on(self, event, data)

    def when(self, event: str, *, name: str | None = None, retries: int = 3) -> Callable[[F], F]:
        """`accord.when` for this hub alone."""
        return when_on(self, event, name=name, retries=retries)

    def coordinate(
        self, name: str, lock_name: LockName | None = None, *, lease_ms: int | None = None, wait_ms: int | None = None
    ) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """`accord.coordinate` on this hub, whatever hub the context names."""
        return coordinate_on(self, name, lock_name, lease_ms=lease_ms, wait_ms=wait_ms)

    # -- the steps that both kinds of hub take

    def _connect(self) -> Future[None]:
        if self._connection is not None:
            raise BadInput("This hub is open already.", remedy="Make another one, or enter it once.")
        self._settings = resolve(self._settings, self._bootstrap_servers)
        self._connection = Connection(self._settings, agent=self.agent, timestamp_ms=self._timestamp_ms)
        self._leases = Leases(self._connection)
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
        self._drain_hooks.clear()
        connection, self._connection = self._connection, None
        self._leases = self._token = self.loop = None
        if connection is None:  # it never came to that
            nothing: Future[None] = Future()
            nothing.set_result(None)
            return nothing
        return connection.closing()


class Accord(Hub):
    """A hub for async programs; see the module's text. Enter it with `async with`.

    Raises (when entered):
        KafkaUnreachable: no broker answers within `kafka.connect_timeout_ms`.
        TopicMismatch: a topic is missing, or its partition count is another than the settings say.
        ConfigError: a setting cannot be right.
    """

    async def __aenter__(self) -> Self:
        opening = self._connect()
        try:
            await asyncio.wrap_future(opening)
            self.loop = asyncio.get_running_loop()
            for opener in self._enter():
                await _finished(opener)
        except BaseException:
            await self._shut()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        await self._shut()
        return None

    async def _shut(self) -> None:
        """Runs all hooks and closes, whatever is raised meanwhile; the first error comes out in the end."""
        problem: BaseException | None = None
        for hook in self._take_close_hooks():
            try:
                await _finished(hook)
            except BaseException as error:
                problem = problem or error
        closing = asyncio.wrap_future(self._leave())
        try:
            await asyncio.shield(closing)
        except asyncio.CancelledError as cancelled:  # the thread ends by itself
            problem = problem or cancelled
        if problem is not None:
            raise problem

    def lock(
        self,
        name: str,
        *,
        lease_ms: int | None = None,
        wait_ms: int | None = None,
        on_loss: OnLoss = "cancel",
        priority: int = 0,
        reentrant: bool = False,
    ) -> Lock:
        """A lock: one holder at a time, by lease, first come first served.

        Args:
            name: 1 to 255 bytes of UTF-8.
            lease_ms: how long the lock stays with a holder that vanishes; renewed while it is held. None:
                `locks.lease_ms`. 1,000 to 86,400,000.
            wait_ms: how long to queue; 0 tries once, None waits without limit.
            on_loss: `"cancel"`: a lost lease cancels the body of `async with` and raises LeaseLost there; `"flag"`: it
                only sets `grant.lost`.
            priority: -10 to 10; higher goes first. Who is overtaken rises by one each time, so nobody starves.
            reentrant: a call chain that holds the lock enters it again, and frees it when it has left as often; without
                it, that is WouldSelfDeadlock.

        Raises:
            BadInput: the name, a duration or the priority cannot be one.
        """
        return Lock(self, name, lease_ms, wait_ms, on_loss, priority=priority, reentrant=reentrant)

    def semaphore(
        self,
        name: str,
        permits: int,
        *,
        lease_ms: int | None = None,
        wait_ms: int | None = None,
        on_loss: OnLoss = "cancel",
        priority: int = 0,
    ) -> Lock:
        """A lock that up to `permits` share, 1 to 200. Arguments and errors else as for `lock`.

        While anybody holds or waits for it, the number stays: another one is TermsDiffer. Those who share a lock write
        side by side, so their tokens do not fence one from the other.
        """
        return Lock(self, name, lease_ms, wait_ms, on_loss, priority=priority, permits=check_permits(permits))

    def rwlock(
        self,
        name: str,
        *,
        lease_ms: int | None = None,
        wait_ms: int | None = None,
        on_loss: OnLoss = "cancel",
        priority: int = 0,
    ) -> RWLock[Lock]:
        """A lock that many `read()`, at most 200 at once, or one may `write()`. Arguments and errors as for `lock`.

        First come first served, so neither side starves. A reader does not become a writer: asking for that is
        WouldSelfDeadlock.
        """
        return RWLock(partial(Lock, self, name, lease_ms, wait_ms, on_loss, priority=priority))

    def locks(
        self,
        names: Iterable[str],
        *,
        lease_ms: int | None = None,
        wait_ms: int | None = None,
        on_loss: OnLoss = "cancel",
        priority: int = 0,
    ) -> MultiLock:
        """Several locks, all or none, each by name in what `async with` gives. Arguments and errors as for `lock`.

        Args:
            wait_ms: for all together.
        """

        def make(name: str, left_ms: int | None) -> Lock:
            return Lock(self, name, lease_ms, left_ms, on_loss, priority=priority)

        return MultiLock(names, wait_ms, make)

    def condition(
        self, name: str, *, lease_ms: int | None = None, wait_ms: int | None = None, on_loss: OnLoss = "cancel"
    ) -> Condition:
        """A condition variable and its lock, as `asyncio.Condition`. Arguments and errors as for `lock`."""
        return Condition(self, name, lease_ms, wait_ms, on_loss)

    def barrier(self, name: str, parties: int, *, lease_ms: int | None = None, wait_ms: int | None = None) -> Barrier:
        """A point that `parties` reach together, 1 to 200; `await hub.barrier("ready", 3).wait()`.

        Args:
            name: 1 to 255 bytes of UTF-8; not that of a lock in use.
            lease_ms: a party that is gone for so long breaks the barrier. None: `locks.lease_ms`.
            wait_ms: how long to wait for the others; None waits without limit.
        """
        return Barrier(self, name, parties, lease_ms, wait_ms)

    def limit(
        self,
        name: str,
        *,
        tokens: int = 0,
        wait_ms: int | None = None,
        lease_ms: int | None = None,
        priority: int = 0,
        role: str = "",
        on_loss: OnLoss = "cancel",
    ) -> Request:
        """A slot for one call of a shared resource. A name that nobody has configured lets in one call at a time, first
        come first served; `pool(name).configure` sets how many at a time and a minute, and who.

        Args:
            tokens: that the call is expected to take, counted where the pool has tokens a minute.
            role: in which the agent asks, where the pool is for some only.

        The other arguments, and the errors, are those of `lock`.
        """
        return Request(self, name, lease_ms, wait_ms, on_loss, tokens=tokens, priority=priority, role=role)

    @property
    def artifacts(self) -> Artifacts:
        """Contents beside the log: `put` and `get`."""
        return Artifacts(self.blocking_artifacts)

    def pool(self, name: str) -> Pool:
        """A pool of capacity, to configure or to ask for a part of. Raises BadInput if the name cannot be one."""
        return Pool(self, name)

    def model(self, settings: LlmSettings | None = None, *, agent: str | None = None) -> Model:
        """A language model whose calls are recorded on the log, and whose answers are reused; for `async with`.

        Args:
            settings: where and whom to ask; None: the hub's settings, `llm`.
            agent: whose calls they are, for `accord llm costs`; None: this agent's.

        Raises:
            ConfigError: there is no key for the endpoint.
        """
        return Model(settings, hub=self, agent=agent)

    async def submit(
        self,
        graph: TaskGraph,
        input: Any = None,
        *,
        key: str | None = None,
        keep_ms: int = KEEP_MS,
        waiting_max: int | None = None,
    ) -> Handle:
        """Begins a task and returns when the log has it.

        Args:
            input: what its steps are given; JSON types, dataclasses or pydantic models. Above 256 KiB it is kept as an
                artifact, of `artifacts.bytes_max` at most.
            key: idempotency key and name of the task: submitted again with the same graph and input it is the same
                task, for as long as it is remembered. None: a new one.
            keep_ms: how long the task is remembered after it was completed or cancelled; a failed one is for 7 days.
            waiting_max: it is not begun while so many steps wait for an agent of the team; 0: however many do. None:
                `client.waiting_max`.

        Raises:
            BadInput: the graph is none, or an argument cannot be right.
            TermsDiffer: another task has this key.
            Overloaded: too many steps wait already; detail `retry_after_ms`.
            TooLarge: its input is larger than an artifact may be.
            Rejected: the log refuses it, say for the size of its graph.
            NoWorker, KafkaUnreachable: nobody decides, or no broker answers.
            Unavailable: the store of artifacts cannot be written.
        """
        return await submit(self, graph, input, key=key, keep_ms=keep_ms, waiting_max=waiting_max)

    async def fan_out(
        self,
        input: Any,
        *,
        agents: Iterable[str | Agent],
        deadline_ms: int = DEADLINE_MS,
        team: str = TEAM,
        key: str | None = None,
    ) -> dict[str, Any]:
        """Asks several agents at once, and returns what they have answered once all have, or at the deadline.

        Args:
            agents: their names; each is run by whoever works as it.
            deadline_ms: by when they must have answered, from now on, by the log's clock.
            team: in which they work.
            key: as for `submit`.

        Returns:
            `query` (the input), `sources` (in the order of `agents`: `agent` and its `data`, or its `error`), `summary`
            (the answers' own, a blank line between them), `completed_agents` (how many have answered), `timed_out`
            (whether the deadline left somebody out), `skipped_agents` (those that were not asked, for they failed too
            often of late).

        Raises:
            TaskFailedError: nobody has answered; details `sources`.
            BadInput: no agents, one of them twice, or an argument that cannot be right.
            NoWorker, KafkaUnreachable: nobody decides, or no broker answers.
        """
        return await fan_out(self, input, agents, deadline_ms=deadline_ms, team=team, key=key)

    async def task(self, task_id: str) -> Handle:
        """A task that was submitted before, by whomever. Raises NotFound: there is none, or it ended long ago."""
        return await find(self, task_id)

    def work(
        self,
        *offered: TaskGraph | Agent,
        capabilities: Iterable[str] | None = None,
        slots: int = 8,
        team: str | None = None,
        lease_ms: int = LEASE_MS,
        drain_ms: int = DRAIN_MS,
    ) -> Work:
        """Takes steps and runs them, for as long as `async with` lasts.

        A step runs at least once: if its process dies before its result was recorded, it is run again, with the same
        `step.key`. Once recorded it never is.

        Args:
            offered: agents, and graphs whose functions run here.
            capabilities: what it is able to do; None: all that these agents are, and these functions need.
            slots: how many steps at a time. Plain functions run in as many threads.
            team: None: that of the graphs.
            lease_ms: after so long without a sign of life others get its steps. 1,000 to 86,400,000.
            drain_ms: how long leaving waits for what runs; the rest is given back and cancelled.

        Raises (when entered):
            BadInput: an argument cannot be right.
            Overloaded: the team is full.
            NoWorker, KafkaUnreachable: nobody decides, or no broker answers.
        """
        return Work(
            self, offered, capabilities=capabilities, slots=slots, team=team, lease_ms=lease_ms, drain_ms=drain_ms
        )

    async def propose(
        self,
        content: str,
        *,
        voters: Iterable[str],
        threshold: Threshold = proposals.THRESHOLD,
        quorum: int | None = None,
        weights: Mapping[str, int] | None = None,
        deadline_ms: int = proposals.DEADLINE_MS,
        key: str | None = None,
        keep_ms: int = proposals.KEEP_MS,
    ) -> Proposal:
        """Has agents vote on something, and returns when the log has the proposal and this agent's yes.

        Args:
            content: what is voted on; text, 32 KiB at most.
            voters: names of those who have a vote, this agent among them; 200 at most. The others are asked: each
                process of them that runs `voter`.
            threshold: approved is what has more than this part of the weight of yes and no; .5, "2/3", 0 to below 1.
            quorum: how many must vote yes or no, or there is no decision; None: any number.
            weights: how much votes count, by name; whole numbers, 1 for who is not named.
            deadline_ms: how long votes count, by the log's clock; who has not voted by then abstains.
            key: idempotency key and id of the proposal: the same proposal made again with it is the same one, for as
                long as it is remembered. None: a new one.
            keep_ms: how long it is remembered after its end; it stays on the log.

        Raises:
            BadInput: an argument cannot be right, or this agent is none of the voters.
            TermsDiffer: the key has another proposal.
            CircularTrigger: proposals and votes bring each other about in too long a row.
            NoWorker, KafkaUnreachable: nobody decides, or no broker answers.
        """
        return await propose(
            self, content, voters=voters, threshold=threshold, quorum=quorum, weights=weights, deadline_ms=deadline_ms,
            key=key, keep_ms=keep_ms,
        )  # fmt: skip

    async def proposal(self, proposal_id: str) -> Proposal:
        """A proposal that was made before, by whomever. Raises NotFound: there is none, or it ended long ago."""
        return await proposals.find(self, proposal_id)

    def voter(self, voter: Answers | AsksModel, *, name: str | None = None) -> Voting:
        """Votes whenever this agent is asked, for as long as `async with` lasts.

        Args:
            voter: a function, plain or async, that is given the question (`proposal`, `content`, `proposer`,
                `deadline_ms`) and returns "yes", "no" or "abstain"; or a model, `hub.model()`. Any other
                answer is an abstention with that reason, and so is a failure.
            name: one of several agents of this program; None: the hub's agent.

        Raises:
            BadInput: an argument cannot be right.
        """
        return Voting(self, voter, name)

    async def auction(
        self,
        description: str,
        *,
        agents: Iterable[str],
        reward: Number | None = None,
        capabilities: Iterable[str] = (),
        weights: Mapping[str, Number] | None = None,
        confidence: Number = auctions.CONFIDENCE,
        scoring: Scoring | None = None,
        deadline_ms: int = auctions.DEADLINE_MS,
        lease_ms: int = auctions.LEASE_MS,
        key: str | None = None,
        keep_ms: int = auctions.KEEP_MS,
    ) -> Auction:
        """Has agents bid for a piece of work, and returns when the log has the auction. Who wins does it.

        Args:
            description: what is to be done; text, 32 KiB at most.
            agents: names of those who may bid, 200 at most; each process of them that runs `bidder` is asked.
            reward: the most that it may cost; None: any price.
            capabilities: what a bidder must be able to do.
            weights: of `price` (in hundreds), `time` (in hours) and `confidence` in a score; .4, .3 and .3.
            confidence: bids with less cannot win.
            scoring: in place of the one by weights.
            deadline_ms: how long bids are taken, by the log's clock.
            lease_ms: after so long without a sign of life of who does the work the next bid has its turn.
            key: idempotency key and id of the auction: the same auction announced again with it is the same one, for as
                long as it is remembered. None: a new one.
            keep_ms: how long it is remembered after its end; it stays on the log.

        Raises:
            BadInput: an argument cannot be right.
            TermsDiffer: the key has another auction.
            CircularTrigger: auctions and bids bring each other about in too long a row.
            NoWorker, KafkaUnreachable: nobody decides, or no broker answers.
        """
        return await auctions.announce(
            self, description, agents=agents, reward=reward, capabilities=capabilities, weights=weights,
            confidence=confidence, scoring=scoring, deadline_ms=deadline_ms, lease_ms=lease_ms, key=key,
            keep_ms=keep_ms,
        )  # fmt: skip

    async def find_auction(self, auction_id: str) -> Auction:
        """An auction that was announced before, by whomever. Raises NotFound: there is none, or it ended long ago."""
        return await auctions.find(self, auction_id)

    def bidder(
        self,
        run: Runs,
        *,
        capabilities: Iterable[str] = (),
        base_price: Number = BASE_PRICE,
        bid: Bids | None = None,
        name: str | None = None,
    ) -> Bidding:
        """Bids whenever this agent is asked, and does the work that it wins, for as long as `async with` lasts.

        Args:
            run: does the work; a function, plain or async, that is given it (`auction`, `description`, `token`, `key`)
                and returns what JSON can express, 256 KiB at most.
            capabilities: what the agent is able to do. It bids if one of them stands in the description.
            base_price: of its bids without load; each award that it works on adds a fifth.
            bid: makes the bid in place of these rules; it is given the offer (`auction`, `description`, `announcer`,
                `capabilities`, `reward`, `load`, `deadline_ms`) and returns a `Bid`, or None to pass.
            name: one of several agents of this program; None: the hub's agent.

        Raises:
            BadInput: an argument cannot be right.
        """
        return Bidding(self, run, capabilities, base_price, bid, name)

    async def run(self, function: Callable[P, Awaitable[R]], *args: P.args, **kwargs: P.kwargs) -> R:
        """Calls a function, and again from its beginning if it was a deadlock's victim; returns what it returns.

        The call chain keeps its age, and the youngest gives way: so it is the oldest one day, and nobody starves. What
        the function did before it gave way is not undone: let it take its locks first, or be able to do it twice. In a
        call chain that holds something already it is only called: who holds that has to give way.

        Raises:
            DeadlockVictim: `RUNS_MAX` times.
            Whatever the function raises.
        """
        with one_chain():
            for last in runs():
                try:
                    return await function(*args, **kwargs)
                except DeadlockVictim:
                    if last:
                        raise
        raise AssertionError("returned or raised")

    async def drain(self, *, wait_ms: int | None = None) -> None:
        """Returns when all that was emitted is recorded and the handlers of this hub have caught up.

        That is: they are through with everything recorded before the call, and with what that made them emit.

        Args:
            wait_ms: how long to wait; None waits without limit.

        Raises:
            What was lost: the first error of an emitted event that nobody waited for.
            Unavailable: not done within `wait_ms`.
        """
        self.ensure_open("drain()")
        check_wait_ms(wait_ms)
        try:
            async with asyncio.timeout(None if wait_ms is None else wait_ms / 1_000) as waiting:
                for hook in list(self._drain_hooks):
                    await _finished(hook)
        except TimeoutError:
            if not waiting.expired():
                raise
            raise not_drained(wait_ms) from None


def not_drained(wait_ms: int | None) -> Unavailable:
    """The error of a `drain` that took too long."""
    return Unavailable(
        f"drain: events are on their way, or handlers busy with them, after {wait_ms} ms.",
        remedy="Nothing is lost by it: wait longer, or close the hub; what is pending is delivered next time.",
    )


async def _finished(hook: Hook) -> None:
    waiting = hook()
    if waiting is not None:
        await asyncio.wrap_future(waiting)
