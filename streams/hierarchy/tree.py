"""The tree of authority: who reports to whom, and what makes it one.

A tree has one member at the top; everybody else reports to one other member. No more than the span report to one, and
nobody may decide more than the member that it reports to.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from accord.schemas.messages.hierarchy import Member
from accord.streams.hierarchy.bounds import LEVELS_MAX


class Problem(NamedTuple):
    """Why members are no tree: a word, and a sentence."""

    reason: str
    description: str


class Tree:
    """Members by name. They are a tree: `problem_of_members` has nothing against them."""

    def __init__(self, members: Sequence[Member]) -> None:
        self._members = {member.name: member for member in members}

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def member(self, name: str) -> Member | None:
        return self._members.get(name)

    def superior(self, name: str) -> str | None:
        """To whom a member reports; None: it is the top, or no member."""
        member = self._members.get(name)
        return None if member is None else member.reports_to

    def deputy(self, name: str) -> str | None:
        member = self._members.get(name)
        return None if member is None else member.deputy

    def answer_ms(self, name: str) -> int:
        """How long a member has to answer. Raises KeyError: it is none."""
        return self._members[name].answer_ms

    def upward(self, name: str | None) -> Iterator[str]:
        """A member and all above it, to the top."""
        while name is not None and name in self._members:
            yield name
            name = self._members[name].reports_to

    def level(self, name: str) -> int:
        """How far below the top a member is; the top has 1."""
        return len(list(self.upward(name)))

    def above(self, names: Sequence[str]) -> str:
        """The lowest member that is at or above all of these; those who are no members count for nothing."""
        ways = [[*self.upward(name)][::-1] for name in names if name in self]
        if not ways:
            return next(name for name, member in self._members.items() if member.reports_to is None)
        shared: list[str] = [level[0] for level in zip(*ways, strict=False) if len(set(level)) == 1]
        return shared[-1]

    def limit(self, name: str, kind: str) -> int | None:
        """Up to what amount a member decides on a type of its own; None: not at all."""
        member = self._members.get(name)
        boundaries = () if member is None else member.boundaries
        return next((boundary.limit_millionths for boundary in boundaries if boundary.type == kind), None)


def problem_of_members(members: Sequence[Member], span: int) -> Problem | None:
    """Why members, whose names and numbers are in bounds, are no tree of authority."""
    return (
        _problem_of_names(members)
        or _problem_of_top(members)
        or _problem_of_span(members, span)
        or _problem_of_cycle(members)
        or _problem_of_authority(members)
    )


def _problem_of_names(members: Sequence[Member]) -> Problem | None:
    superiors: dict[str, str | None] = {}
    for m in members:
        if m.name in superiors:
            both = f"to {superiors[m.name] or 'nobody'} and to {m.reports_to or 'nobody'}"
            return Problem("second_parent", f"{m.name} is named twice: it reports {both}")
        superiors[m.name] = m.reports_to
    for m in members:
        if m.reports_to is not None and m.reports_to not in superiors:
            return Problem("unknown_parent", f"{m.name} reports to {m.reports_to}, who is no member")
        if m.deputy is not None and m.deputy not in superiors:
            return Problem("unknown_deputy", f"the deputy of {m.name} is {m.deputy}, who is no member")
        if m.deputy == m.name:
            return Problem("own_deputy", f"{m.name} is its own deputy")
    return None


def _problem_of_top(members: Sequence[Member]) -> Problem | None:
    tops = [member.name for member in members if member.reports_to is None]
    if not tops:
        return Problem("no_top", "everybody reports to somebody: nobody is at the top")
    if len(tops) > 1:
        return Problem("several_tops", f"{tops[0]} and {tops[1]} report to nobody: only one is at the top")
    return None


def _problem_of_span(members: Sequence[Member], span: int) -> Problem | None:
    counts = Counter(member.reports_to for member in members if member.reports_to is not None)
    for name, count in counts.items():
        if count > span:
            return Problem("span", f"{count} report to {name}: the span of control is {span}")
    return None


def _problem_of_cycle(members: Sequence[Member]) -> Problem | None:
    superiors = {member.name: member.reports_to for member in members}
    levels: dict[str | None, int] = {None: 0}
    for name in superiors:
        way: list[str] = []
        at: str | None = name
        while at is not None and at not in levels:
            if at in way:
                return Problem("cycle", f"{' reports to '.join([*way[way.index(at) :], at])}")
            way.append(at)
            at = superiors[at]
        for passed in reversed(way):
            levels[passed] = levels[superiors[passed]] + 1
        if levels[name] > LEVELS_MAX:
            return Problem("depth", f"{name} is on level {levels[name]}: {LEVELS_MAX} levels are possible")
    return None


def _problem_of_authority(members: Sequence[Member]) -> Problem | None:
    limits = {m.name: {boundary.type: boundary.limit_millionths for boundary in m.boundaries} for m in members}
    for m in members:
        for kind, limit in limits[m.name].items():
            above = limit if m.reports_to is None else limits[m.reports_to].get(kind)
            if above is None:
                return Problem("boundary", f"{m.name} may decide on {kind}, and {m.reports_to}, its superior, may not")
            if limit > above:
                return Problem(
                    "boundary",
                    f"{m.name} may decide on {kind} up to {limit} millionths, and {m.reports_to}, its superior, up to "
                    f"{above}",
                )
    return None
