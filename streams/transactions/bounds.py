"""What a transaction may be, and how often its participants are told: all bounds in one place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from accord.schemas.messages import Command
from accord.schemas.messages.tasks import SubmitTask
from accord.schemas.messages.transactions import (
    COMMANDS,
    AcknowledgeOutcome,
    BeginTransaction,
    CommitTransaction,
    EnlistChanges,
    Guard,
    RecordVote,
    RepairTransaction,
    ScopeChanges,
    Submission,
)
from accord.schemas.topics import KEY_BYTES_MAX
from accord.streams.bounds import Bounds
from accord.streams.locks.bounds import TEXT_BYTES_MAX
from accord.streams.state.bounds import CONFLICTS_MAX, TIMEOUT_MS_MAX, problem_of_changes
from accord.streams.tasks import bounds as task_bounds
from accord.streams.tasks.bounds import LIMIT_MS_MAX
from accord.streams.tasks.graph import bytes_of as bytes_of_graph

SCOPES_MAX: Final = 100
"""Of a transaction."""
LOCKS: Final = "locks"
LIMITS: Final = "limits"
GUARDS: Final = (LOCKS, LIMITS)
"""The domains of what can guard a transaction: it votes as a scope does, and is told of a commit last."""
GUARDS_MAX: Final = 100
"""Locks and parts of pools that must be held when it is committed."""
TASKS_MAX: Final = 20
"""That are begun when it is committed."""
TASKS_BYTES_MAX: Final = 262_144
"""Of them all, inputs and graphs: a decision may name them twice."""
BYTES_MAX: Final = 524_288
"""Of all that a transaction has read and writes, keys and values, and of the tasks that it begins; so its decisions fit
`DECISION_BYTES_MAX`."""
MEMBERS_MAX: Final = 100
DESCRIPTION_BYTES_MAX: Final = 1_024
TELL_MS: Final = 5_000
"""So long after its decision those that have not acknowledged it are told again; then twice as long each time."""
TELL_MS_MAX: Final = 60_000
TELLS_MAX: Final = 1_000
"""How often they are told again: for about 16 hours. After that they have to ask; nothing is forgotten before they have
acknowledged it."""
OUTCOMES: Final = ("committed", "aborted", "unknown")
STUCK: Final = "stuck"
IN_DOUBT: Final = "in_doubt"
_REPAIRABLE: Final = ((STUCK, True), (IN_DOUBT, False))
"""What can be found, and whether it is found of the transaction itself, rather than of a participant."""
TOKEN_MAX: Final = 2**62


def problem_of(command: Command) -> str | None:
    """Why a command cannot be decided. Raises TypeError for a command of another domain."""
    problem = _BOUNDS.of_numbers(command) or _BOUNDS.of_texts(command)
    if problem is not None:
        return problem
    match command:
        case BeginTransaction() | EnlistChanges() | CommitTransaction():
            return _problem_of_members(getattr(command, "members", ())) or _problem_of_terms(command)
        case RecordVote(description=description, conflicts=conflicts):
            if len(description.encode()) > DESCRIPTION_BYTES_MAX or len(conflicts) > CONFLICTS_MAX:
                return f"a vote has {DESCRIPTION_BYTES_MAX} bytes of description and {CONFLICTS_MAX} conflicts at most"
        case RepairTransaction(found=found, participant=who) if (found, who is None) not in _REPAIRABLE:
            return f"found={found[:40]!r}: {STUCK}, or {IN_DOUBT} with a participant, can be repaired"
        case AcknowledgeOutcome(outcome=outcome) if outcome not in OUTCOMES:
            return f"outcome={outcome[:40]!r}: one of {', '.join(OUTCOMES)} is needed"
    return None


def _problem_of_members(members: Sequence[str]) -> str | None:
    if len(members) > MEMBERS_MAX:
        return f"a transaction has at most {MEMBERS_MAX} members"
    if any(not 0 < len(name.encode()) <= TEXT_BYTES_MAX for name in members):
        return f"the name of a member has 1 to {TEXT_BYTES_MAX} bytes"
    return None


def _problem_of_terms(c: BeginTransaction | EnlistChanges | CommitTransaction) -> str | None:
    return (
        _problem_of_changes(c.changes)
        or _problem_of_guards(c.guards)
        or _problem_of_tasks(c.tasks, c.agent)
        or problem_of_all(c.changes, c.guards, c.tasks)
    )


def _problem_of_guards(guards: Sequence[Guard]) -> str | None:
    if len({(guard.domain, guard.key) for guard in guards}) < len(guards):
        return "guards: a lock or a pool is named twice"
    for guard in guards:
        if guard.domain not in GUARDS:
            return f"guards: domain={guard.domain[:40]!r}: {' or '.join(GUARDS)} is needed"
        if not 0 < len(guard.key.encode()) <= KEY_BYTES_MAX:
            return f"the name of a lock or a pool has 1 to {KEY_BYTES_MAX} bytes"
        if guard.domain == LIMITS and guard.request is None:
            return f"{guard.key}: a part of a pool is named by token and request"
        if not 0 <= guard.token <= TOKEN_MAX or len((guard.request or "").encode()) > TEXT_BYTES_MAX:
            return f"{guard.key}: a token is 0 to {TOKEN_MAX}, a request has at most {TEXT_BYTES_MAX} bytes"
    return None


def _problem_of_tasks(tasks: Sequence[Submission], agent: str) -> str | None:
    if len({one.task for one in tasks}) < len(tasks):
        return "tasks: an id is named twice"
    for one in tasks:
        if not 0 < len(one.task.encode()) <= KEY_BYTES_MAX:
            return f"the id of a task has 1 to {KEY_BYTES_MAX} bytes"
        if one.agent != agent:
            return f"the task {one.task} is submitted by {one.agent[:40]!r}, its command comes from {agent[:40]!r}"
        problem = task_bounds.problem_of(submit_task(one))
        if problem is not None:
            return f"the task {one.task}: {problem}"
    return None


def submit_task(one: Submission) -> SubmitTask:
    """The command that begins a task."""
    return SubmitTask(one.agent, one.type, one.team, one.input, one.steps, one.keep_ms, one.trace)


def _problem_of_changes(changes: Sequence[ScopeChanges]) -> str | None:
    if len({of.scope for of in changes}) < len(changes):
        return "changes: a scope is named twice"
    for of in changes:
        if not 0 < len(of.scope.encode()) <= KEY_BYTES_MAX:
            return f"the name of a scope has 1 to {KEY_BYTES_MAX} bytes"
        problem = problem_of_changes(of)
        if problem is not None:
            return f"{of.scope}: {problem}"
    return None


def problem_of_all(changes: Sequence[ScopeChanges], guards: Sequence[Guard], tasks: Sequence[Submission]) -> str | None:
    """Why a transaction cannot have all these."""
    for what, many, most in (
        ("scopes", changes, SCOPES_MAX),
        ("guards", guards, GUARDS_MAX),
        ("tasks", tasks, TASKS_MAX),
    ):
        if len(many) > most:
            return f"a transaction has at most {most} {what}, this one {len(many)}"
    begun = sum(map(_bytes_of_task, tasks))
    if begun > TASKS_BYTES_MAX:
        return f"the tasks of a transaction have at most {TASKS_BYTES_MAX} bytes, these {begun}"
    size = sum(map(bytes_of, changes)) + begun
    if size > BYTES_MAX:
        return f"a transaction has at most {BYTES_MAX} bytes of keys, values and tasks, this one {size}"
    return None


def _bytes_of_task(one: Submission) -> int:
    steps = bytes_of_graph(one.steps) + _STEP_BYTES * len(one.steps)
    return steps + task_bounds.bytes_of_payload(one.input) + _TASK_BYTES


def bytes_of(of: ScopeChanges) -> int:
    """How large it is, about."""
    return _bytes([of.scope, *[seen.key for seen in of.reads], *[seen.prefix for seen in of.ranges]]) + _bytes(
        [text for write in of.writes for text in (write.key, write.operand or "")]
    )


def _bytes(texts: Iterable[str]) -> int:
    return sum([len(text.encode()) + _TEXT_BYTES for text in texts])


_STEP_BYTES: Final = 48
"""Of a step beside its names, at most."""
_TASK_BYTES: Final = 1_024
"""Of a task beside its input and its graph, at most."""
_TEXT_BYTES: Final = 12
"""Of a text beside its characters, with the number that goes with it."""
_RANGES: Final = {"timeout_ms": (1, TIMEOUT_MS_MAX), "keep_ms": (0, LIMIT_MS_MAX)}
_BOUNDS: Final = Bounds(
    "transactions",
    COMMANDS,
    ("agent", "reason", "domain", "key", "holder"),
    TEXT_BYTES_MAX,
    {name: (low, high, f"{low} to {high} are possible") for name, (low, high) in _RANGES.items()},
)
