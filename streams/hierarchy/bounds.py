"""What an organisation, a delegation and a request may be, and how much of them is kept: all bounds in one place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from accord.schemas.messages import Command
from accord.schemas.messages.hierarchy import (
    COMMANDS,
    AnswerRequest,
    BeginAbsence,
    Decide,
    DefineOrganisation,
    DelegateAuthority,
    EndAbsence,
    Member,
    Origin,
    ReadDecision,
    ReportOutcome,
    RequestDecision,
    RevokeDelegation,
    WithdrawRequest,
)
from accord.schemas.topics import KEY_BYTES_MAX
from accord.streams.bounds import Bounds
from accord.streams.locks.bounds import TEXT_BYTES_MAX
from accord.streams.tasks.bounds import LIMIT_MS_MAX, NAME_BYTES_MAX

MEMBERS_MAX: Final = 500
NAME_OF_MEMBER_BYTES_MAX: Final = 128
"""The signals by which a member is asked are named after it, the handlers of those after the organisation as well."""
ORGANISATION_BYTES_MAX: Final = 100
"""Of an organisation's name, in accord's own client."""
TYPES_MAX: Final = 32
"""Boundaries of one member."""
TYPE_BYTES_MAX: Final = 64
TREE_BYTES_MAX: Final = 100_000
"""Of all members of an organisation (`bytes_of_tree`)."""
LEVELS_MAX: Final = 12
"""From the top down; a request is put to each at most twice, to a member and to its deputy."""
SPAN_MAX: Final = 100
SPAN: Final = 7
MILLION: Final = 1_000_000
AMOUNT_MAX: Final = 10**12 * MILLION
"""Of an amount or a limit, in millionths."""
DELEGATIONS_MAX: Final = 200
"""In force in one organisation."""
CHAIN_MAX: Final = 8
"""Delegations that rest on each other."""
OPEN_MAX: Final = 200
"""Requests of one organisation at a time; beyond it they are refused with `full`."""
ENDED_MAX: Final = 500
"""Decisions that an organisation remembers, the latest: so long an idempotency key holds, and outcomes can be reported.
Part of the rules: never change it."""
STEPS_MAX: Final = 40
"""In the way of a request. Only a tree that is changed again and again while it is open can make it so long; then it is
denied."""
DUE_MAX: Final = 10
"""Requests whose time is over that one decision puts on; the others are still due after it. Each has at most 60,000
bytes of events, all of them and a tree must fit `DECISION_BYTES_MAX`."""
INPUTS_BYTES_MAX: Final = 8_192
"""What is larger is named."""
ABOUT_MAX: Final = 16
OPTIONS_MAX: Final = 16

APPROVE: Final = "approve"
DENY: Final = "deny"
ESCALATE: Final = "escalate"
VERDICTS: Final = (APPROVE, DENY)
OUTCOMES: Final = ("success", "failure")


def problem_of(command: Command) -> str | None:
    """Why a command cannot be decided. Raises TypeError for a command of another domain."""
    problem = _BOUNDS.of_numbers(command) or _BOUNDS.of_texts(command)
    if problem is not None:
        return problem
    checked = _CHECKS.get(type(command))
    return None if checked is None else checked(command)


def plain_word(text: str) -> str:
    """A word as it is compared: in any case, and with blanks around it."""
    return text.strip().casefold()


def bytes_of_tree(members: Iterable[Member]) -> int:
    """How many bytes a tree takes in the log, at most."""
    return sum(
        len(f"{m.name}{m.reports_to or ''}{m.deputy or ''}".encode())
        + 24
        + sum(len(boundary.type.encode()) + 12 for boundary in m.boundaries)
        for m in members
    )


def problem_of_options(options: tuple[str, ...]) -> str | None:
    """Why a verdict cannot be one of these."""
    if not options:
        return None
    problem = _problem_of_names("options", options, OPTIONS_MAX, NAME_BYTES_MAX)
    if problem is not None:
        return problem
    words = [plain_word(option) for option in options]
    if len(words) < 2:
        return "options: one is no choice"
    if "" in words or len(set(words)) < len(words):
        return "options: each needs a name of its own, whatever its case"
    taken = set(words) & {APPROVE, DENY, ESCALATE}
    return f"options: {', '.join(sorted(taken))} is no name for one" if taken else None


def _problem_of_tree(c: DefineOrganisation) -> str | None:
    if not 1 <= len(c.members) <= MEMBERS_MAX:
        return f"{len(c.members)} members: 1 to {MEMBERS_MAX} are possible"
    if bytes_of_tree(c.members) > TREE_BYTES_MAX:
        return f"the names and boundaries of all members have at most {TREE_BYTES_MAX} bytes"
    for member in c.members:
        problem = _problem_of_member(member)
        if problem is not None:
            return problem
    return None


def _problem_of_member(m: Member) -> str | None:
    types = [boundary.type for boundary in m.boundaries]
    others = [name for name in (m.reports_to, m.deputy) if name is not None]
    problem = _problem_of_names("members", (m.name, *others), 3, NAME_OF_MEMBER_BYTES_MAX) or _problem_of_names(
        f"the boundaries of {m.name}", types, TYPES_MAX, TYPE_BYTES_MAX
    )
    if problem is not None:
        return problem
    if len(set(types)) < len(types):
        return f"the boundaries of {m.name}: a type is named twice"
    if any(not 0 <= boundary.limit_millionths <= AMOUNT_MAX for boundary in m.boundaries):
        return f"the boundaries of {m.name}: 0 to {AMOUNT_MAX} millionths are possible"
    if not 1 <= m.answer_ms <= LIMIT_MS_MAX:
        return f"answer_ms={m.answer_ms} of {m.name}: 1 to {LIMIT_MS_MAX} are possible"
    return None


def _problem_of_delegation(c: DelegateAuthority) -> str | None:
    return (
        _problem_of_id(c)
        or _problem_of_names("delegate", (c.delegate,), 1, NAME_OF_MEMBER_BYTES_MAX)
        or _problem_of_type(c.type)
    )


def _problem_of_request(c: RequestDecision) -> str | None:
    return (
        _problem_of_matter(c)
        or _problem_of_origin(c.origin)
        or _problem_of_names("about", c.about, ABOUT_MAX, NAME_OF_MEMBER_BYTES_MAX)
        or problem_of_options(c.options)
    )


def _problem_of_origin(origin: Origin | None) -> str | None:
    if origin is None:
        return None
    if len(origin.item.encode()) > KEY_BYTES_MAX:
        return f"origin: an item has at most {KEY_BYTES_MAX} bytes"
    return _problem_of_names("origin", (origin.domain, origin.key), 2, KEY_BYTES_MAX)


def _problem_of_decision(c: Decide) -> str | None:
    if c.verdict not in VERDICTS:
        return f"verdict={c.verdict!r}: a decision is one of {', '.join(VERDICTS)}"
    return _problem_of_matter(c)


def _problem_of_matter(c: Decide | RequestDecision) -> str | None:
    if len(c.inputs.encode()) > INPUTS_BYTES_MAX:
        return f"inputs have at most {INPUTS_BYTES_MAX} bytes; keep them elsewhere and name them"
    if any(len(name.encode()) > TEXT_BYTES_MAX for name in c.trail):
        return f"trail: a name has at most {TEXT_BYTES_MAX} bytes"
    return _problem_of_id(c) or _problem_of_type(c.type)


def _problem_of_outcome(c: ReportOutcome) -> str | None:
    if c.outcome not in OUTCOMES:
        return f"outcome={c.outcome!r}: an outcome is one of {', '.join(OUTCOMES)}"
    return _problem_of_id(c)


def _problem_of_id(c: Any) -> str | None:
    name = "delegation" if hasattr(c, "delegation") else "decision"
    return _problem_of_names(name, (getattr(c, name),), 1, NAME_BYTES_MAX)


def _problem_of_type(name: str) -> str | None:
    return _problem_of_names("type", (name,), 1, TYPE_BYTES_MAX)


def _problem_of_absent(c: BeginAbsence | EndAbsence) -> str | None:
    return _problem_of_names("member", (c.member,), 1, NAME_OF_MEMBER_BYTES_MAX)


def _problem_of_names(what: str, names: Iterable[str], most: int, bytes_max: int) -> str | None:
    for count, name in enumerate(names, start=1):
        if count > most:
            return f"{what}: at most {most} are possible"
        if not 0 < len(name.encode()) <= bytes_max:
            return f"{what}: {name[:40]!r} is no name; one has 1 to {bytes_max} bytes"
    return None


_CHECKS: Final[Mapping[type[Command], Callable[[Any], str | None]]] = {
    DefineOrganisation: _problem_of_tree,
    DelegateAuthority: _problem_of_delegation,
    RevokeDelegation: _problem_of_id,
    BeginAbsence: _problem_of_absent,
    EndAbsence: _problem_of_absent,
    Decide: _problem_of_decision,
    RequestDecision: _problem_of_request,
    AnswerRequest: _problem_of_id,
    WithdrawRequest: _problem_of_id,
    ReportOutcome: _problem_of_outcome,
    ReadDecision: _problem_of_id,
}
_RANGES: Final = {
    "span": (1, SPAN_MAX),
    "amount_millionths": (0, AMOUNT_MAX),
    "limit_millionths": (0, AMOUNT_MAX),
    "duration_ms": (1, LIMIT_MS_MAX),
}
_BOUNDS: Final = Bounds(
    "hierarchy",
    COMMANDS,
    ("agent", "reason", "subject", "choice", "note"),
    TEXT_BYTES_MAX,
    {name: (low, high, f"{low} to {high} are possible") for name, (low, high) in _RANGES.items()},
)
