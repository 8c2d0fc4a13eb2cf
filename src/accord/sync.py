"""accord for programs without an event loop: the same names as `accord`, with plain `with`.

    with accord.sync.Accord() as hub:
        with hub.lock("room_12", wait_ms=5_000) as grant:
            ...

Works on any thread, also on one whose event loop runs (that loop stands still meanwhile, the leases do not). A lost
lease cannot stop plain code: it is seen in `grant.lost`, at `grant.check()` and at the end of `with`.
"""

from __future__ import annotations

import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, wait
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path
from types import EllipsisType, TracebackType
from typing import TYPE_CHECKING, Any, Final, Generic, ParamSpec, Self, TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal

from accord import logs
from accord.agents.agent import Agent
from accord.agents.artifacts.artifacts import BlockingArtifacts
from accord.agents.auctions import auction as auctions
from accord.agents.auctions.auction import Award
from accord.agents.auctions.bidding import BASE_PRICE, Bidding, Bids, Runs
from accord.agents.auctions.units import Number, Scoring
from accord.agents.client import Hub, not_drained
from accord.agents.connection.timers import countdown
from accord.agents.leases.call_chain import enter_chain, leave_chain, one_chain, runs
from accord.agents.leases.leases import Hold
from accord.agents.limits.limits import AskedSlot, NamedPool, Reporting
from accord.agents.llm.model import SyncModel
from accord.agents.locks import conditions
from accord.agents.locks.arguments import check_permits, check_wait_ms
from accord.agents.locks.barriers import Reached
from accord.agents.locks.fencing import FencedResource
from accord.agents.locks.locks import Asked, AskedLock, Held, RWLock, SeveralLocks
from accord.agents.proposals import proposal as proposals
from accord.agents.proposals.proposal import Outcome, Threshold
from accord.agents.proposals.voting import Answers, AsksModel, Voting
from accord.agents.tasks import handle as tasks
from accord.agents.tasks.fan_out import DEADLINE_MS, fan_out
from accord.agents.tasks.graph import TEAM, TaskGraph
from accord.agents.tasks.submit import KEEP_MS, find, submit
from accord.agents.tasks.work import DRAIN_MS, LEASE_MS, Work
from accord.errors import BadInput, DeadlockVictim, LeaseLost, NotOwner, Unavailable
from accord.schemas.messages.auctions import AuctionRead
from accord.schemas.messages.proposals import ProposalRead
from accord.settings import LlmSettings, Settings

if TYPE_CHECKING:
    from accord.embedded import Embedded

__all__ = ["Accord", "FencedResource", "Grant", "Lock", "local"]

logger = logs.get("accord.locks")
P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class Grant(Held):
    """What is held. `lost` is set when the lease is lost."""

    def __init__(self, hold: Hold) -> None:
        super().__init__(hold)
        self.lost: Final = threading.Event()
        hold.on_loss(self.lost.set)

    def release(self) -> None:
        """Gives it back, and returns when the log says so. Raises what the async `Grant.release` raises."""
        self._hold.check_not_released()
        leave_chain(self._hold)
        self._hold.release().result()

    def _leave(self, error: BaseException | None) -> None:
        """The end of `with`."""
        hold = self._hold
        leave_chain(hold)
        try:
            hold.release().result()
        except (LeaseLost, NotOwner) as lost:
            if error is None:
                raise hold.loss("its release was refused") from lost
            error.add_note(str(lost))
        except Unavailable as unavailable:
            logger.warning("a release was not confirmed; the lease ends by itself", key=hold.key, why=str(unavailable))


G = TypeVar("G", bound=Grant)


class Leased(Asked, Generic[G]):
    """What is held by lease, for `with` and `acquire`; usable again and again, from several threads."""

    def __init__(
        self, hub: Hub, name: str, lease_ms: int | None = None, wait_ms: int | None = None, **terms: Any
    ) -> None:
        super().__init__(hub, name, lease_ms, wait_ms, **terms)
        self._entered = _Entered[G]()

    @abstractmethod
    def _granted(self, hold: Hold) -> G:
        """What the program gets of a grant."""

    def acquire(self, *, wait_ms: int | EllipsisType | None = ...) -> G:
        """Waits for it; arguments and errors are those of `accord.agents.locks.locks.Leased.acquire`."""
        with self._operation("acquire"):
            hold = self._ask(wait_ms)
            try:
                hold.granted.result()
            except KeyboardInterrupt:
                hold.withdraw()
                raise
        enter_chain(hold)
        return self._granted(hold)

    def __enter__(self) -> G:
        grant = self.acquire()
        self._entered.stack.append(grant)
        return grant

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._entered.leave(f"{self.noun} {self.name}")._leave(error)


class Lock(Leased[Grant], AskedLock):
    """A lock by name; made by `Accord.lock` and its like."""

    def _granted(self, hold: Hold) -> Grant:
        return Grant(hold)


class Slot(Grant, Reporting):
    """A held part of a pool."""


class Request(Leased[Slot], AskedSlot):
    """A request for capacity; made by `Accord.limit` and `Pool.request`."""

    def _granted(self, hold: Hold) -> Slot:
        return Slot(hold)


class Pool(NamedPool):
    """As `accord.agents.limits.limits.Pool`."""

    def configure(
        self,
        *,
        capacity: int,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        roles: Iterable[str] = (),
        weights: Mapping[str, int] | None = None,
    ) -> None:
        """Sets the pool's terms, in place of those before, and returns when the log has them."""
        self._configure(capacity, requests_per_minute, tokens_per_minute, roles, weights).result()

    def request(
        self,
        amount: int,
        *,
        mode: str = "shared",
        priority: int = 0,
        duration_ms: int | None = None,
        wait_ms: int | None = None,
        tokens: int = 0,
        role: str = "",
    ) -> Request:
        """A part of the pool, for `with` or `acquire()`."""
        asked = {"amount": amount, "mode": mode, "priority": priority, "tokens": tokens, "role": role}
        return Request(self._hub, self.name, duration_ms, wait_ms, must_exist=True, **asked)


class MultiLock(SeveralLocks[Lock]):
    """As `accord.agents.locks.locks.MultiLock`."""

    def __init__(self, names: Iterable[str], wait_ms: int | None, make: Callable[[str, int | None], Lock]) -> None:
        super().__init__(names, wait_ms, make)
        self._entered = _Entered[ExitStack]()

    def __enter__(self) -> dict[str, Grant]:
        with ExitStack() as stack:
            grants = {name: stack.enter_context(lock) for name, lock in self._in_turn()}
            self._entered.stack.append(stack.pop_all())
        return grants

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._entered.leave("locks").__exit__(kind, error, trace)


class Condition(Lock):
    """As `accord.agents.locks.conditions.Condition`."""

    def wait(self, *, wait_ms: int | None = None) -> bool:
        """Frees the lock, waits for a notice, and returns with the lock held again: whether there was one."""
        with self._operation("wait"):
            hold = conditions.mine(self, "wait()")
            again = conditions.sleep(hold, wait_ms)
            try:
                again.granted.result()
            except KeyboardInterrupt:
                again.withdraw()
                raise
            finally:
                conditions.show(hold, again)
        return again.notified

    def wait_for(self, predicate: Callable[[], bool], *, wait_ms: int | None = None) -> bool:
        """Waits until the predicate is true; returns what it was last. It is called with the lock held."""
        left_ms = countdown(wait_ms)
        while not (result := predicate()) and (left := left_ms()) != 0:
            self.wait(wait_ms=left)
        return result

    def notify(self, n: int = 1) -> int:
        """Has up to `n` of those who wait go on, first come first; returns how many there were."""
        return self._notify(conditions.portions(self, n))

    def notify_all(self) -> int:
        """As `notify`, for all who wait."""
        return self._notify(conditions.portions(self))

    def _notify(self, counts: list[int]) -> int:
        told = 0
        for count in counts:
            there = conditions.notified(self, conditions.notify(self, count).result())
            told += there
            if there < count:
                break
        return told


class Barrier(Reached):
    """As `accord.agents.locks.barriers.Barrier`."""

    def wait(self, *, wait_ms: int | EllipsisType | None = ...) -> int:
        """Waits until all parties have come; returns the place in the order of arrival, 0 for the first."""
        with self._operation():
            arrival = self._reach(wait_ms)
            try:
                return arrival.passed.result()
            except KeyboardInterrupt:
                arrival.withdraw()
                raise


class _Entered(threading.local, Generic[T]):
    """What a thread has entered and not left."""

    def __init__(self) -> None:
        self.stack: list[T] = []

    def leave(self, what: str) -> T:
        if not self.stack:
            raise BadInput(f"{what}: with must be left by the thread that entered it.")
        return self.stack.pop()


class Accord(Hub):
    """A hub for programs without an event loop; arguments and errors are those of `accord.Accord`."""

    _steps: BlockingPortal | None = None

    @property
    def _loop(self) -> BlockingPortal:
        """The event loop, on a thread of its own, in which tasks are waited for and their steps run."""
        if self._steps is None:
            self._steps = self._at_end.enter_context(start_blocking_portal())
        return self._steps

    def __enter__(self) -> Self:
        opening = self._connect()
        self._at_end = ExitStack()
        try:
            opening.result()
            for opener in self._enter():
                _finish(opener())
        except BaseException:
            self._shut()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._shut()

    def _shut(self) -> None:
        problem: BaseException | None = None
        hooks = self._take_close_hooks()
        for hook in hooks:
            try:
                _finish(hook())
            except BaseException as error:
                problem = problem or error
        self._leave().result()
        self._at_end.close()
        self._steps = None
        if problem is not None:
            raise problem

    def lock(
        self,
        name: str,
        *,
        lease_ms: int | None = None,
        wait_ms: int | None = None,
        priority: int = 0,
        reentrant: bool = False,
    ) -> Lock:
        """A lock: one holder at a time, by lease, first come first served; as `accord.Accord.lock`."""
        return Lock(self, name, lease_ms, wait_ms, priority=priority, reentrant=reentrant)

    def semaphore(
        self, name: str, permits: int, *, lease_ms: int | None = None, wait_ms: int | None = None, priority: int = 0
    ) -> Lock:
        """A lock that up to `permits` share; as `accord.Accord.semaphore`."""
        return Lock(self, name, lease_ms, wait_ms, priority=priority, permits=check_permits(permits))

    def rwlock(
        self, name: str, *, lease_ms: int | None = None, wait_ms: int | None = None, priority: int = 0
    ) -> RWLock[Lock]:
        """A lock that many read or one writes; as `accord.Accord.rwlock`."""
        return RWLock(partial(Lock, self, name, lease_ms, wait_ms, priority=priority))

    def locks(
        self, names: Iterable[str], *, lease_ms: int | None = None, wait_ms: int | None = None, priority: int = 0
    ) -> MultiLock:
        """Several locks, all or none; as `accord.Accord.locks`."""

        def make(name: str, left_ms: int | None) -> Lock:
            return Lock(self, name, lease_ms, left_ms, priority=priority)

        return MultiLock(names, wait_ms, make)

    def condition(self, name: str, *, lease_ms: int | None = None, wait_ms: int | None = None) -> Condition:
        """A condition variable and its lock; as `accord.Accord.condition`."""
        return Condition(self, name, lease_ms, wait_ms)

    def barrier(self, name: str, parties: int, *, lease_ms: int | None = None, wait_ms: int | None = None) -> Barrier:
        """A point that `parties` reach together; as `accord.Accord.barrier`."""
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
    ) -> Request:
        """A slot for one call of a shared resource; as `accord.Accord.limit`."""
        return Request(self, name, lease_ms, wait_ms, tokens=tokens, priority=priority, role=role)

    @property
    def artifacts(self) -> BlockingArtifacts:
        """Contents beside the log: `put` and `get`."""
        return self.blocking_artifacts

    def pool(self, name: str) -> Pool:
        """A pool of capacity; as `accord.Accord.pool`."""
        return Pool(self, name)

    def model(self, settings: LlmSettings | None = None, *, agent: str | None = None) -> SyncModel:
        """A language model whose calls are recorded and whose answers are reused; as `accord.Accord.model`."""
        return SyncModel(settings, hub=self, agent=agent)

    def submit(
        self,
        graph: TaskGraph,
        input: Any = None,
        *,
        key: str | None = None,
        keep_ms: int = KEEP_MS,
        waiting_max: int | None = None,
    ) -> Handle:
        """Begins a task and returns when the log has it; as `accord.Accord.submit`."""
        self.ensure_open("submit()")
        begin = partial(submit, self, graph, input, key=key, keep_ms=keep_ms, waiting_max=waiting_max)
        return Handle(self._loop, self._loop.call(begin))

    def fan_out(
        self,
        input: Any,
        *,
        agents: Iterable[str | Agent],
        deadline_ms: int = DEADLINE_MS,
        team: str = TEAM,
        key: str | None = None,
    ) -> dict[str, Any]:
        """Asks several agents at once; as `accord.Accord.fan_out`."""
        self.ensure_open("fan_out()")
        return self._loop.call(partial(fan_out, self, input, agents, deadline_ms=deadline_ms, team=team, key=key))

    def task(self, task_id: str) -> Handle:
        """A task that was submitted before; as `accord.Accord.task`."""
        self.ensure_open("task()")
        return Handle(self._loop, self._loop.call(partial(find, self, task_id)))

    def work(
        self,
        *offered: TaskGraph | Agent,
        capabilities: Iterable[str] | None = None,
        slots: int = 8,
        team: str | None = None,
        lease_ms: int = LEASE_MS,
        drain_ms: int = DRAIN_MS,
    ) -> AbstractContextManager[Work]:
        """Takes steps and runs them in threads, for as long as `with` lasts; as `accord.Accord.work`."""
        self.ensure_open("work()")
        made = Work(
            self, offered, capabilities=capabilities, slots=slots, team=team, lease_ms=lease_ms, drain_ms=drain_ms
        )
        return self._loop.wrap_async_context_manager(made)

    def propose(
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
        """Has agents vote on something; as `accord.Accord.propose`."""
        self.ensure_open("propose()")
        make = partial(
            proposals.propose, self, content, voters=voters, threshold=threshold, quorum=quorum, weights=weights,
            deadline_ms=deadline_ms, key=key, keep_ms=keep_ms,
        )  # fmt: skip
        return Proposal(self._loop, self._loop.call(make))

    def proposal(self, proposal_id: str) -> Proposal:
        """A proposal that was made before; as `accord.Accord.proposal`."""
        self.ensure_open("proposal()")
        return Proposal(self._loop, self._loop.call(partial(proposals.find, self, proposal_id)))

    def voter(self, voter: Answers | AsksModel, *, name: str | None = None) -> AbstractContextManager[Voting]:
        """Votes whenever this agent is asked, for as long as `with` lasts; as `accord.Accord.voter`."""
        self.ensure_open("voter()")
        return self._loop.wrap_async_context_manager(Voting(self, voter, name))

    def auction(
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
        """Has agents bid for a piece of work; as `accord.Accord.auction`."""
        self.ensure_open("auction()")
        make = partial(
            auctions.announce, self, description, agents=agents, reward=reward, capabilities=capabilities,
            weights=weights, confidence=confidence, scoring=scoring, deadline_ms=deadline_ms, lease_ms=lease_ms,
            key=key, keep_ms=keep_ms,
        )  # fmt: skip
        return Auction(self._loop, self._loop.call(make))

    def find_auction(self, auction_id: str) -> Auction:
        """An auction that was announced before; as `accord.Accord.find_auction`."""
        self.ensure_open("find_auction()")
        return Auction(self._loop, self._loop.call(partial(auctions.find, self, auction_id)))

    def bidder(
        self,
        run: Runs,
        *,
        capabilities: Iterable[str] = (),
        base_price: Number = BASE_PRICE,
        bid: Bids | None = None,
        name: str | None = None,
    ) -> AbstractContextManager[Bidding]:
        """Bids and works, for as long as `with` lasts; as `accord.Accord.bidder`."""
        self.ensure_open("bidder()")
        return self._loop.wrap_async_context_manager(Bidding(self, run, capabilities, base_price, bid, name))

    def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Calls a function, and again if it was a deadlock's victim; as `accord.Accord.run`."""
        with one_chain():
            for last in runs():
                try:
                    return function(*args, **kwargs)
                except DeadlockVictim:
                    if last:
                        raise
        raise AssertionError("returned or raised")

    def drain(self, *, wait_ms: int | None = None) -> None:
        """Returns when all that was emitted is recorded and the handlers of this hub have caught up.

        Arguments and errors are those of `accord.Accord.drain`.
        """
        self.ensure_open("drain()")
        check_wait_ms(wait_ms)
        deadline_s = None if wait_ms is None else time.monotonic() + wait_ms / 1_000
        for hook in list(self._drain_hooks):
            waiting = hook()
            if waiting is None:
                continue
            left_s = None if deadline_s is None else max(0.0, deadline_s - time.monotonic())
            if not wait([waiting], left_s).done:
                raise not_drained(wait_ms)
            waiting.result()


class Handle:
    """A task that was submitted; see `accord.agents.tasks.handle.Handle`, whose arguments and errors these have."""

    def __init__(self, loop: BlockingPortal, handle: tasks.Handle) -> None:
        self._loop = loop
        self._handle = handle
        self.id: Final = handle.id

    def result(self, *, wait_ms: int | None = None) -> Any:
        """The task's result, once it is completed."""
        return self._loop.call(partial(self._handle.result, wait_ms=wait_ms))

    def record(self) -> dict[str, Any]:
        """The task as it is."""
        return self._loop.call(self._handle.record)

    def cancel(self, reason: str = "") -> bool:
        """Ends the task; False: it had ended before."""
        return self._loop.call(self._handle.cancel, reason)


class Proposal:
    """A proposal; see `accord.agents.proposals.proposal.Proposal`, whose arguments and errors these have."""

    def __init__(self, loop: BlockingPortal, proposal: proposals.Proposal) -> None:
        self._loop = loop
        self._proposal = proposal
        self.id: Final = proposal.id

    def vote(self, choice: str, *, reason: str = "", voter: str | None = None) -> None:
        """Votes, and returns when the log has the vote."""
        self._loop.call(partial(self._proposal.vote, choice, reason=reason, voter=voter))

    def outcome(self, *, wait_ms: int | None = None) -> Outcome:
        """How it ended, once all have voted or its deadline is over."""
        return self._loop.call(partial(self._proposal.outcome, wait_ms=wait_ms))

    def look(self) -> ProposalRead:
        """How it stands."""
        return self._loop.call(self._proposal.look)

    def withdraw(self, reason: str = "") -> bool:
        """Ends it without an outcome; False: it had ended before."""
        return self._loop.call(self._proposal.withdraw, reason)


class Auction:
    """An auction; see `accord.agents.auctions.auction.Auction`, whose arguments and errors these have."""

    def __init__(self, loop: BlockingPortal, auction: auctions.Auction) -> None:
        self._loop = loop
        self._auction = auction
        self.id: Final = auction.id

    def award(self, *, wait_ms: int | None = None) -> Award | None:
        """Who does the work, once bidding is over; None: it ended without that."""
        return self._loop.call(partial(self._auction.award, wait_ms=wait_ms))

    def result(self, *, wait_ms: int | None = None) -> Any:
        """What the work brought, once it is done."""
        return self._loop.call(partial(self._auction.result, wait_ms=wait_ms))

    def look(self) -> AuctionRead:
        """How it stands."""
        return self._loop.call(self._auction.look)

    def cancel(self, reason: str = "") -> bool:
        """Ends it; False: it had ended before."""
        return self._loop.call(self._auction.cancel, reason)


class LocalHub(Accord):
    """A hub with its own broker and worker. Made by `accord.sync.local()`."""

    def __init__(self, embedded: Embedded, agent: str | None) -> None:
        super().__init__(agent=agent, settings=embedded.settings)
        self._embedded = embedded

    def advance(self, ms: int) -> None:
        """Moves the log's clock on by `ms`; returns when every deadline that is due by it was handled."""
        self._embedded.advance(ms)

    def __enter__(self) -> Self:
        self._embedded.start()
        try:
            self.use(self._embedded.settings, self._embedded.timestamp_ms)
            return super().__enter__()
        except BaseException:
            self._embedded.stop()
            raise

    def _shut(self) -> None:
        try:
            super()._shut()
        finally:
            self._embedded.stop()


def local(*, keep: str | Path | None = None, agent: str | None = None, settings: Settings | None = None) -> LocalHub:
    """A hub that needs nothing: broker, worker and client in this process; as `accord.local`."""
    from accord.embedded import Embedded  # noqa: PLC0415  (brings the worker, which clients do without)

    return LocalHub(Embedded(keep=keep, settings=settings), agent)


def _finish(waiting: Future[None] | None) -> None:
    if waiting is not None:
        waiting.result()
