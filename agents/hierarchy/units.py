"""Members, limits and verdicts as programs write and read them; amounts without rounding."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import msgspec
from accord.agents.auctions.units import Number, millionths
from accord.agents.locks.arguments import check_number
from accord.schemas.messages import hierarchy
from accord.schemas.messages.hierarchy import Authority, Step
from accord.streams.hierarchy.bounds import AMOUNT_MAX, APPROVE, MEMBERS_MAX, MILLION
from accord.streams.tasks.bounds import LIMIT_MS_MAX

from accord.errors import BadInput

ANSWER_MS: Final = 60_000
NO_BOUNDARIES: Final[Mapping[str, Number]] = MappingProxyType({})


class Member(NamedTuple):
    """A member of an organisation.

    `reports_to` is the name of its superior; None for the one at the top. `decides` says up to what amount it decides
    on a type of its own: whole numbers, text like "12.50", Decimals, Fractions, exact to the millionth; 0 for a type
    that has no amount. `deputy` stands for it. `answer_ms` is how long it, and then its deputy, has to answer.
    """

    name: str
    reports_to: str | None = None
    decides: Mapping[str, Number] = NO_BOUNDARIES
    deputy: str | None = None
    answer_ms: int = ANSWER_MS


class Verdict(msgspec.Struct, frozen=True):
    """How a request ended: `status` is decided, defaulted (nobody decided, so it is `deny`) or withdrawn.

    `verdict` is approve, deny or the option that was chosen; None if it was withdrawn. `decider` made it, by
    `authority` (`member`, `basis`, `limit_millionths`, `delegations`). `path` has who was asked (`member`, `asked`,
    `level`, `asked_ms`, `ended_ms`, `ended`, `reason`). `position` is where the log has it.
    """

    status: str
    verdict: str | None
    decider: str | None
    reason: str
    authority: Authority | None
    path: tuple[Step, ...]
    position: str

    @property
    def approved(self) -> bool:
        return self.verdict == APPROVE


def exact_amount(name: str, value: Any) -> int:
    """An amount or a limit in millionths. Raises BadInput: it is none of 0 or more, or finer than millionths."""
    found = millionths(name, value, AMOUNT_MAX)
    if Fraction(found, MILLION) != Fraction(str(value)):
        raise BadInput(f"{name}={value!r}: amounts are exact to the millionth.")
    return found


def amount_of(found: int) -> int | Fraction:
    """An amount of the log in the type's own unit."""
    amount = Fraction(found, MILLION)
    return int(amount) if amount.denominator == 1 else amount


def recorded(members: Iterable[Member]) -> tuple[hierarchy.Member, ...]:
    """Members as the log has them. Raises BadInput: one of them cannot be, or they are too many."""
    found = []
    for one in members:
        if not isinstance(one, Member):
            raise BadInput(f"members: {one!r} is none.", remedy="Give accord.Member(name, reports_to=...).")
        check_number(f"answer_ms of {one.name}", one.answer_ms, 1, LIMIT_MS_MAX)
        boundaries = [
            hierarchy.Boundary(kind, exact_amount(f"what {one.name} decides on {kind}", limit))
            for kind, limit in one.decides.items()
        ]
        found.append(hierarchy.Member(one.name, one.reports_to, tuple(boundaries), one.deputy, one.answer_ms))
    if len(found) > MEMBERS_MAX:
        raise BadInput(f"{len(found)} members: at most {MEMBERS_MAX} are possible.")
    return tuple(found)


def told(members: Iterable[hierarchy.Member]) -> tuple[Member, ...]:
    """Members of the log as programs write them."""
    return tuple(
        [
            Member(
                one.name,
                one.reports_to,
                {boundary.type: amount_of(boundary.limit_millionths) for boundary in one.boundaries},
                one.deputy,
                one.answer_ms,
            )
            for one in members
        ]
    )
