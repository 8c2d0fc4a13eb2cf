"""A decision about an organisation as it comes into being: what time brings, and the way of its requests."""

from __future__ import annotations

from functools import cached_property
from itertools import chain
from typing import Any, Final

from accord.schemas.messages import Event
from accord.schemas.messages.hierarchy import (
    Authority,
    AuthorityAsked,
    AuthorityPassed,
    Decide,
    DecisionDefaulted,
    DecisionRequested,
    DelegationsExpired,
    RequestDecision,
    Step,
)
from accord.streams.decider import At
from accord.streams.hierarchy.bounds import (
    DENY,
    DUE_MAX,
    STEPS_MAX,
)
from accord.streams.hierarchy.organisation import (
    ABSENT,
    AUTHORITY_LOST,
    TIMEOUT,
    Case,
    Organisation,
    evolve,
)
from accord.streams.hierarchy.tree import Tree

NO_AUTHORITY: Final = "no_authority"
"""Nobody at or above where a request began may decide it."""


class Draft:
    """A decision as it comes into being: its events, and the organisation after them."""

    def __init__(self, org: Organisation, at: At) -> None:
        self.org: Any = org
        self.at = at
        self.events: list[Event] = []

    @cached_property
    def tree(self) -> Tree:
        """As the command finds it."""
        return Tree(self.org.members)

    def add(self, event: Event) -> None:
        self.events.append(event)
        self.org = evolve(self.org, event)

    # -- time

    def let_time_pass(self) -> None:
        """Ends what is due by now, and puts requests on; of these at most `DUE_MAX`."""
        now_ms = self.at.now_ms
        over = tuple([one.delegation for one in self.org.delegations if one.until_ms <= now_ms])
        if over:
            self.add(DelegationsExpired(over))
        due = sorted([case for case in self.org.open.values() if case.next_ms <= now_ms], key=lambda case: case.next_ms)
        for case in due[:DUE_MAX]:
            self.move(case)

    def move(self, case: Case) -> None:
        """Puts on a request that is due: why it is says where it goes."""
        step = case.path[-1]
        if step.asked in self.org.absent:
            why = ABSENT
        elif self.org.answers(self.tree, case) is None:
            why = AUTHORITY_LOST
        else:
            why = TIMEOUT
        self.leave(case, step, why)

    # -- the way of a request

    def leave(self, case: Case, step: Step, why: str, reason: str = "") -> None:
        """Ends a step, and asks whoever comes after it."""
        self.add(AuthorityPassed(case.decision, step.member, step.asked, step.level, why, reason, self.at.now_ms))
        if step.member not in self.tree:
            self.ask(case, why, self.start(case))
        elif step.asked == step.member and why in (TIMEOUT, ABSENT):
            self.ask(case, why, self.tree.superior(step.member), deputy_of=step.member)
        else:
            self.ask(case, why, self.tree.superior(step.member))

    def start(self, case: Case) -> str:
        """Where a request begins its way."""
        return self.tree.above(case.about)

    def ask(self, case: Case, why: str, first: str | None, *, deputy_of: str | None = None) -> None:
        """Asks the next, from a member upward, that may decide; without one the policy decides.

        Args:
            why: what came of who was asked last.
            first: None: nobody is left.
            deputy_of: whose deputy comes before.
        """
        for member, asked in self.candidates(first, deputy_of):
            authority = self.org.authority(self.tree, member, case.type, case.amount_millionths)
            if authority is None or not {member, asked}.isdisjoint(case.options):
                continue
            if len(self.org.open[case.decision].path) >= STEPS_MAX:
                break
            level, now_ms = self.tree.level(member), self.at.now_ms
            if asked in self.org.absent:
                why = ABSENT
                self.add(AuthorityPassed(case.decision, member, asked, level, why, "", now_ms))
                continue
            due_ms = now_ms + self.tree.answer_ms(member)
            self.add(AuthorityAsked(case.decision, asked, case.agent, authority, level, now_ms, due_ms, case.trail))
            return
        self.default(self.org.open[case.decision], why)

    def candidates(self, first: str | None, deputy_of: str | None) -> list[tuple[str, str]]:
        """Whose authority may be next, and who would be asked: each member, and its deputy in case that it is away."""
        deputy = self.tree.deputy
        found = [(member, asked) for member in self.tree.upward(first) for asked in (member, deputy(member))]
        if deputy_of is not None:
            found.insert(0, (deputy_of, deputy(deputy_of)))
        return [(member, asked) for member, asked in found if asked is not None]

    def default(self, case: Case, why: str) -> None:
        """Has the policy decide."""
        self.add(
            DecisionDefaulted(
                case.decision, case.agent, case.about, case.type, case.amount_millionths, case.subject, case.inputs,
                case.options, DENY, why, case.path, case.origin, self.org.revision, case.opened_ms, self.at.now_ms,
            )
        )  # fmt: skip

    def open(self, c: Decide | RequestDecision, about: tuple[str, ...], proposed: str | None) -> None:
        """Begins a request."""
        options, origin = (c.options, c.origin) if isinstance(c, RequestDecision) else ((), None)
        self.add(
            DecisionRequested(
                c.decision, c.agent, about, c.type, c.amount_millionths, c.subject, c.inputs, options, proposed, origin,
                c.trail, self.at.now_ms,
            )
        )  # fmt: skip
        case = self.org.open[c.decision]
        self.ask(case, NO_AUTHORITY, self.start(case))

    # -- who may decide of its own

    def authority_of(self, agent: str, kind: str, amount_millionths: int) -> Authority | None:
        """By what a member that is there may decide: its own authority, else that of one away for whom it stands."""
        away = [name for name in self.org.absent if self.tree.deputy(name) == agent]
        for name in chain([agent], away):
            found: Authority | None = self.org.authority(self.tree, name, kind, amount_millionths)
            if found is not None:
                return found
        return None

    def problem_of_member(self, agent: str) -> str | None:
        """Why an agent cannot act as a member."""
        if agent not in self.tree:
            return "not_a_member"
        return ABSENT if agent in self.org.absent else None
