"""Tools for smolagents: locks, shared state, tasks and votes, for agents that a model drives.

    with accord.sync.Accord(agent="booker-1") as hub, tools_for(hub) as tools:
        CodeAgent(tools=tools, model=model).run("Book a room for Ada.")

Rules that act here:
- Who acts is the hub's agent. No argument of a tool says who one is, which token one has or what a vote weighs: what a
  model writes is data, and never sets these.
- A refusal is an instruction: the tool returns `{"ok": False, "what_to_do": ...}`, says what stands in the way and what
  to do next. What a model cannot mend, a broker that is away say, is raised.
- What the model has locked stays locked until it calls `lock_release`, or `with` ends.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import copy_context
from typing import Any, ClassVar, Final

import msgspec

from accord.agents.locks.arguments import check_name, check_wait_ms
from accord.agents.locks.sync import Grant, Lock
from accord.agents.state.values import Versioned
from accord.agents.tasks.graph import TaskGraph
from accord.errors import (
    AccordError,
    BadInput,
    Denied,
    LockTimeout,
    NotFound,
    Overloaded,
    Refused,
    SnapshotTooOld,
    VersionConflict,
    VoteRefused,
)
from accord.sync import Accord

try:
    from smolagents import Tool
except ImportError as error:
    raise ImportError(
        f"accord.smolagents needs {error.name or 'smolagents'}, which is not installed: pip install "
        "'accord[smolagents]'. All else of accord works without it."
    ) from error

__all__ = ["tools_for"]

HELD_MAX: Final = 100
"""Locks that the tools of one agent hold at a time; one more is refused."""
KEYS_MAX: Final = 100
"""Of one call."""


@contextmanager
def tools_for(hub: Accord, *, graphs: Iterable[TaskGraph] = (), wait_ms: int = 0) -> Iterator[list[Tool]]:
    """The tools of an agent, for `with`; at its end they give back every lock.

    Args:
        hub: open; its agent is who acts. Agents that are to be told apart have a hub each.
        graphs: the tasks that the model may begin, by the name of the graph.
        wait_ms: how long `lock_acquire` queues for a lock; 0 tries once.

    Returns:
        `lock_acquire`, `lock_release`, `state_get`, `state_set`, `state_transact`, `task_submit` (if there are graphs),
        `task_look`, `proposal_look` and `vote`.

    Raises:
        BadInput: `wait_ms` cannot be right.
        NotConnected: the hub is not open.
    """
    hub.ensure_open("tools_for()")
    check_wait_ms(wait_ms)
    known = {graph.name: graph for graph in graphs}
    held = _Held()
    tools: list[Tool] = [
        LockAcquire(hub, held, wait_ms), LockRelease(hub, held), StateGet(hub), StateSet(hub), StateTransact(hub),
        TaskLook(hub), ProposalLook(hub), Vote(hub),
    ]  # fmt: skip
    if known:
        tools.append(TaskSubmit(hub, known))
    try:
        yield tools
    finally:
        held.release_all()


# -- what every tool does with a refusal


_NEXT: Final[dict[type[AccordError], str]] = {
    LockTimeout: "Try another one, or call again later.",
    VersionConflict: "Read it again, decide anew, and call again with the versions that you read.",
    SnapshotTooOld: "Read it again, decide anew, and call again.",
    VoteRefused: "Do not vote on it again.",
    Denied: "That is not yours to do; go on without it.",
    Overloaded: "Call again later.",
    NotFound: "Check the name.",
    BadInput: "Correct the arguments and call again.",
}


def instruction(error: AccordError) -> str:
    """A refusal as what a model can do about it."""
    what = str(error).removesuffix(error.remedy).strip()
    following = next((text for kind, text in _NEXT.items() if isinstance(error, kind)), "Do something else.")
    return f"{what} {following}"


Forward = Callable[..., dict[str, Any]]


def _told(forward: Forward) -> Forward:
    """What a tool returns, refusals too."""

    @functools.wraps(forward)
    def told(*args: Any, **kwargs: Any) -> dict[str, Any]:
        try:
            return {"ok": True, **forward(*args, **kwargs)}
        except (Refused, NotFound, BadInput) as error:
            return {"ok": False, "what_to_do": instruction(error)}

    return told


Inputs = dict[str, dict[str, Any]]


class AccordTool(Tool):
    """A tool of an agent."""

    output_type = "object"

    def __init__(self, hub: Accord) -> None:
        super().__init__()
        self._hub = hub


# -- locks


class _Held:
    """The locks that the tools of one agent hold, by name; from any thread.

    They are one call chain, whatever threads its tools run in and whoever else's tools run there: so a deadlock between
    agents is seen, and nobody is taken for the holder of what another agent holds.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._grants: dict[str, Grant] = {}
        self._chain = copy_context()

    def acquire(self, lock: Lock) -> None:
        """Waits for a lock. Raises BadInput: it is held already, or too many are."""
        with self._lock:
            if lock.name in self._grants and self._grants[lock.name].valid:
                raise BadInput(f"{lock.name} is yours already.")
            if len(self._grants) >= HELD_MAX:
                raise BadInput(f"you hold {HELD_MAX} locks already: release some first.")
            self._grants[lock.name] = self._chain.run(lock.acquire)

    def release(self, name: str) -> None:
        """Gives a lock back. Raises NotFound: it is not held."""
        with self._lock:
            grant = self._grants.pop(name, None)
            if grant is None:
                raise NotFound(f"you do not hold {name}.", key=name)
            self._chain.run(grant.release)

    def release_all(self) -> None:
        for name in list(self._grants):
            with suppress(AccordError):  # a lease that is not given back ends by itself
                self.release(name)


class LockAcquire(AccordTool):
    name = "lock_acquire"
    description = (
        "Locks something by name, so that no other agent has it until you release it. Returns {'ok': True}, or {'ok': "
        "False, 'what_to_do': ...} if another agent has it. Release what you have locked with lock_release."
    )
    inputs: ClassVar[Inputs] = {"name": {"type": "string", "description": "What to lock, for example 'room_12'."}}

    def __init__(self, hub: Accord, held: _Held, wait_ms: int) -> None:
        super().__init__(hub)
        self._held = held
        self._wait_ms = wait_ms

    @_told
    def forward(self, name: str) -> dict[str, Any]:
        self._held.acquire(self._hub.lock(name, wait_ms=self._wait_ms))
        return {}


class LockRelease(AccordTool):
    name = "lock_release"
    description = "Releases what you have locked with lock_acquire, so that other agents can have it."
    inputs: ClassVar[Inputs] = {"name": {"type": "string", "description": "What you have locked."}}

    def __init__(self, hub: Accord, held: _Held) -> None:
        super().__init__(hub)
        self._held = held

    @_told
    def forward(self, name: str) -> dict[str, Any]:
        self._held.release(check_name(name))
        return {}


# -- shared state

_SCOPE: Final = {"type": "string", "description": "Name of the scope that holds the keys, for example 'customer_456'."}


class StateGet(AccordTool):
    name = "state_get"
    description = (
        "Reads keys of shared data, all as they were at one moment. Returns {'ok': True, 'keys': {KEY: {'value': ..., "
        "'version': N}}}; version 0: there is no such key. Keep the versions: state_transact needs them."
    )
    inputs: ClassVar[Inputs] = {
        "scope": _SCOPE,
        "keys": {"type": "array", "description": "Names of the keys, a list of texts."},
    }

    @_told
    def forward(self, scope: str, keys: list[str]) -> dict[str, Any]:
        with self._hub.state(scope).transaction(isolation="snapshot") as tx:
            read = {key: tx.get(key) for key in _names(keys)}
        return {"keys": {key: _plain(found) for key, found in read.items()}}


class StateSet(AccordTool):
    name = "state_set"
    description = (
        "Writes a key of shared data. With if_version it is written only if the key still has the version that you "
        "read; without it, whatever others have written is overwritten. Returns {'ok': True, 'version': N}."
    )
    inputs: ClassVar[Inputs] = {
        "scope": _SCOPE,
        "key": {"type": "string", "description": "Name of the key."},
        "value": {"type": "any", "description": "The new value: text, number, true or false, list, object or null."},
        "if_version": {
            "type": "integer",
            "description": "The version that you read; 0: the key must not be there yet.",
            "nullable": True,
        },
    }

    @_told
    def forward(self, scope: str, key: str, value: Any, if_version: int | None = None) -> dict[str, Any]:
        return {"version": self._hub.state(scope).put(key, value, if_version=if_version).version}


class StateTransact(AccordTool):
    name = "state_transact"
    description = (
        "Writes several keys of shared data at once, all or none, if every key that you decided by still has the "
        "version that you read with state_get. If one was changed meanwhile, nothing is written and {'ok': False, "
        "'what_to_do': ...} says so. Use it whenever what you write depends on what you read."
    )
    inputs: ClassVar[Inputs] = {
        "scope": _SCOPE,
        "read": {"type": "object", "description": "The keys that you decided by, with their versions: {KEY: N}."},
        "write": {"type": "object", "description": "The keys to write, with their new values: {KEY: VALUE}."},
    }

    @_told
    def forward(self, scope: str, read: dict[str, int], write: dict[str, Any]) -> dict[str, Any]:
        known, wanted = _mapping("read", read), _mapping("write", write)
        return {"version": self._hub.state(scope).put_all(wanted, if_versions=known)}


def _names(given: Any) -> list[str]:
    if not isinstance(given, list) or not 0 < len(given) <= KEYS_MAX:
        raise BadInput(f"keys is a list of 1 to {KEYS_MAX} names, not {str(given)[:80]}.")
    return given


def _mapping(name: str, given: Any) -> dict[str, Any]:
    if not isinstance(given, dict) or not 0 < len(given) <= KEYS_MAX:
        raise BadInput(f"{name} is an object of 1 to {KEYS_MAX} keys, not {str(given)[:80]}.")
    return given


def _plain(found: Versioned) -> dict[str, Any]:
    return {"value": found.value, "version": found.version}


# -- tasks


class TaskSubmit(AccordTool):
    name = "task_submit"
    inputs: ClassVar[Inputs] = {
        "kind": {"type": "string", "description": "Which kind of task."},
        "input": {"type": "any", "description": "What the task is given."},
    }

    def __init__(self, hub: Accord, graphs: dict[str, TaskGraph]) -> None:
        self.description = (
            f"Begins a task that other agents do. There is: {', '.join(sorted(graphs))}. Returns {{'ok': True, 'task': "
            "ID} at once; ask task_look what became of it."
        )
        super().__init__(hub)
        self._graphs = graphs

    @_told
    def forward(self, kind: str, input: Any) -> dict[str, Any]:
        graph = self._graphs.get(kind)
        if graph is None:
            raise BadInput(f"{str(kind)[:80]} is no kind of task. There is: {', '.join(sorted(self._graphs))}.")
        handle = self._hub.submit(graph, input)
        handle.forget()
        return {"task": handle.id}


class TaskLook(AccordTool):
    name = "task_look"
    description = "Tells how a task stands, with its results so far."
    inputs: ClassVar[Inputs] = {"task": {"type": "string", "description": "The id that task_submit returned."}}

    @_told
    def forward(self, task: str) -> dict[str, Any]:
        handle = self._hub.task(task)
        try:
            return {"record": handle.record()}
        finally:
            handle.forget()


# -- votes


class ProposalLook(AccordTool):
    name = "proposal_look"
    description = "Tells what a proposal is about and how the vote stands."
    inputs: ClassVar[Inputs] = {"proposal": {"type": "string", "description": "The proposal's id."}}

    @_told
    def forward(self, proposal: str) -> dict[str, Any]:
        found = self._hub.proposal(proposal)
        try:
            read = found.look()
        finally:
            found.forget()
        told = msgspec.structs.asdict(read)
        return {name: told[name] for name in ("proposer", "content", "status", "yes", "no", "abstain")}


class Vote(AccordTool):
    name = "vote"
    description = "Votes on a proposal. You have one vote; it cannot be changed."
    inputs: ClassVar[Inputs] = {
        "proposal": {"type": "string", "description": "The proposal's id."},
        "choice": {"type": "string", "description": "'yes', 'no' or 'abstain'."},
        "reason": {"type": "string", "description": "Why, in a sentence; it is recorded with the vote."},
    }

    @_told
    def forward(self, proposal: str, choice: str, reason: str) -> dict[str, Any]:
        found = self._hub.proposal(proposal)
        try:
            found.vote(choice, reason=str(reason))
        finally:
            found.forget()
        return {}
