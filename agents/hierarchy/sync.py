"""Hierarchies for plain functions, and as a method of the sync hub."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from functools import partial
from typing import Final

from accord.agents.asked import AsksModel
from accord.agents.auctions.units import Number
from accord.agents.hierarchy import decision as decisions
from accord.agents.hierarchy import organisation as organisations
from accord.agents.hierarchy.answering import Answering, Answers
from accord.agents.hierarchy.organisation import DELEGATION_MS
from accord.agents.hierarchy.units import Member, Verdict
from accord.agents.sync import SyncHub
from accord.schemas.messages.hierarchy import DecisionRead, OrganisationRead
from accord.streams.hierarchy.bounds import APPROVE, SPAN
from anyio.from_thread import BlockingPortal


class Decision:
    """A decision; see `accord.agents.hierarchy.decision.Decision`, whose arguments and errors these have."""

    def __init__(self, loop: BlockingPortal, decision: decisions.Decision) -> None:
        self._loop = loop
        self._decision = decision
        self.id: Final = decision.id

    def verdict(self, *, wait_ms: int | None = None) -> Verdict:
        """How it ended."""
        return self._loop.call(partial(self._decision.verdict, wait_ms=wait_ms))

    def look(self) -> DecisionRead:
        """How it stands."""
        return self._loop.call(self._decision.look)

    def answer(self, choice: str, *, reason: str = "") -> None:
        """Decides it, as the member that is asked, or passes it up."""
        self._loop.call(partial(self._decision.answer, choice, reason=reason))

    def withdraw(self, reason: str = "") -> bool:
        """Ends it without a verdict; False: it had ended before."""
        return self._loop.call(self._decision.withdraw, reason)

    def report(self, outcome: str, note: str = "") -> None:
        """Records what came of it."""
        self._loop.call(self._decision.report, outcome, note)


class Organisation:
    """An organisation; see `accord.agents.hierarchy.organisation.Organisation`."""

    def __init__(self, loop: BlockingPortal, organisation: organisations.Organisation) -> None:
        self._loop = loop
        self._organisation = organisation
        self.name: Final = organisation.name
        self.agent: Final = organisation.agent

    def define(self, members: Iterable[Member], *, span: int = SPAN) -> int:
        """Defines the tree, or changes it to this one."""
        return self._loop.call(partial(self._organisation.define, members, span=span))

    def look(self) -> OrganisationRead:
        """How it stands."""
        return self._loop.call(self._organisation.look)

    def absent(self, member: str | None = None, *, reason: str = "") -> None:
        """Says that a member is away."""
        self._loop.call(partial(self._organisation.absent, member, reason=reason))

    def returned(self, member: str | None = None) -> None:
        """Says that a member is back."""
        self._loop.call(self._organisation.returned, member)

    def delegate(
        self,
        kind: str,
        limit: Number = 0,
        *,
        to: str,
        duration_ms: int = DELEGATION_MS,
        reason: str = "",
        key: str | None = None,
    ) -> str:
        """Gives another member a part of what this agent may decide."""
        give = partial(self._organisation.delegate, kind, limit, to=to, duration_ms=duration_ms, reason=reason, key=key)
        return self._loop.call(give)

    def revoke(self, delegation: str, *, reason: str = "") -> tuple[str, ...]:
        """Ends a delegation and all that rest on it."""
        return self._loop.call(partial(self._organisation.revoke, delegation, reason=reason))

    def decide(
        self,
        kind: str,
        amount: Number = 0,
        subject: str = "",
        *,
        inputs: str = "",
        verdict: str = APPROVE,
        reason: str = "",
        escalate: bool = False,
        key: str | None = None,
    ) -> Decision:
        """Records a decision of this agent."""
        make = partial(
            self._organisation.decide, kind, amount, subject, inputs=inputs, verdict=verdict, reason=reason,
            escalate=escalate, key=key,
        )  # fmt: skip
        return Decision(self._loop, self._loop.call(make))

    def request(
        self,
        kind: str,
        amount: Number = 0,
        subject: str = "",
        *,
        about: str | Iterable[str] | None = None,
        inputs: str = "",
        options: Iterable[str] = (),
        key: str | None = None,
    ) -> Decision:
        """Asks for a decision."""
        ask = partial(
            self._organisation.request, kind, amount, subject, about=about, inputs=inputs, options=options, key=key
        )
        return Decision(self._loop, self._loop.call(ask))

    def decision(self, decision_id: str) -> Decision:
        """A decision, or a request for one, that was sent before."""
        return Decision(self._loop, self._loop.call(self._organisation.decision, decision_id))

    def authority(self, answer: Answers | AsksModel) -> AbstractContextManager[Answering]:
        """Answers whenever this agent is asked to decide, for as long as `with` lasts."""
        return self._loop.wrap_async_context_manager(self._organisation.authority(answer))


class SyncHierarchyHub(SyncHub):
    """What a sync hub offers of hierarchies."""

    def hierarchy(self, name: str, *, agent: str | None = None) -> Organisation:
        """An organisation by name; as `accord.Accord.hierarchy`."""
        self.ensure_open("hierarchy()")
        return Organisation(self._loop, organisations.Organisation(self, name, agent))
