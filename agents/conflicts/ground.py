"""A ground by name: its terms, and what is about it rather than about one intention or comparison.

Rules that act here:
- The log decides; this only asks. Every command is the command of the agent that this program says it is.
- What does not fit the log is refused before it is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from accord.agents.auctions.units import millionths
from accord.agents.conflicts.intention import Intention, intended
from accord.agents.connection.connection import Answer
from accord.agents.locks.arguments import check_name, check_names, check_number, shortened
from accord.agents.signals import signals
from accord.schemas.messages import Command
from accord.schemas.messages.conflicts import (
    AppealRefused,
    AppealResolution,
    Capacity,
    ConfigurationRefused,
    ConfigureGround,
    ConflictRead,
    ConflictUnknown,
    GroundRead,
    Pair,
    ReadConflict,
    ReadGround,
    RuleOnConflict,
    RulingRefused,
    Terms,
)
from accord.streams.conflicts.bounds import (
    AMOUNT_MAX,
    CAPACITIES_MAX,
    JUDGES_MAX,
    MILLION,
    PAIRS_MAX,
    TEXT_MAX_BYTES,
)
from accord.streams.conflicts.rules import CONTRADICTIONS, DEFAULT, INCOMPATIBLE, JUDGE
from accord.streams.tasks.bounds import LIMIT_MS_MAX

from accord.errors import BadInput, Denied, NotFound

if TYPE_CHECKING:
    from accord.agents.hub import Hub

DOMAIN: Final = "conflicts"
CONFIDENCE_LEAST: Final = 0.7
LEASE_MS: Final = 30_000

Pairs = Iterable[tuple[str, str]]


def pairs_of(what: str, given: Pairs | None, default: tuple[Pair, ...]) -> tuple[Pair, ...]:
    """Pairs of names. Raises BadInput: they cannot be such."""
    if given is None:
        return default
    pairs = tuple([tuple(pair) for pair in given])
    if len(pairs) > PAIRS_MAX or any(
        len(pair) != 2 or not all(isinstance(n, str) and n for n in pair) for pair in pairs
    ):
        raise BadInput(
            f"{what}: at most {PAIRS_MAX} pairs of names are needed.", remedy='For example [("merge", "revert")].'
        )
    return tuple([Pair(*pair) for pair in pairs])


def checked_terms(
    *,
    capacities: Mapping[str, int],
    contradictions: Pairs | None,
    incompatible: Pairs | None,
    preemption: bool,
    semantic: bool,
    judges: Iterable[str],
    confidence_least: Any,
    judging_ms: int,
    authority: str | None,
    organisation: str | None,
    authority_ms: int,
    keep_ms: int,
) -> Terms:
    """The terms of a ground. Raises BadInput: one of them cannot be."""
    if authority is not None and organisation is not None:
        raise BadInput("authority and organisation: one of them rules; name one.")
    names = check_names("capacities", capacities, CAPACITIES_MAX, least=0)
    return Terms(
        tuple(
            [Capacity(name, check_number(f"the capacity of {name}", capacities[name], 1, AMOUNT_MAX)) for name in names]
        ),
        pairs_of("contradictions", contradictions, CONTRADICTIONS),
        pairs_of("incompatible", incompatible, INCOMPATIBLE),
        bool(preemption),
        bool(semantic),
        check_names("judges", judges, JUDGES_MAX, least=0, noun="names of agents"),
        millionths("confidence_least", confidence_least, MILLION),
        check_number("judging_ms", judging_ms, 1, LIMIT_MS_MAX),
        "" if authority is None else check_name(authority, "authority"),
        "" if organisation is None else check_name(organisation, "organisation"),
        check_number("authority_ms", authority_ms, 1, LIMIT_MS_MAX),
        check_number("keep_ms", keep_ms, 0, LIMIT_MS_MAX),
    )


class Ground:
    """A ground; made by `Accord.ground`."""

    def __init__(self, hub: Hub, name: str) -> None:
        self.name: Final = check_name(name, "ground")
        self._hub = hub

    async def configure(
        self,
        *,
        capacities: Mapping[str, int] | None = None,
        contradictions: Pairs | None = None,
        incompatible: Pairs | None = None,
        preemption: bool = DEFAULT.preemption,
        semantic: bool = DEFAULT.semantic,
        judges: Iterable[str] = (JUDGE,),
        confidence_least: Any = CONFIDENCE_LEAST,
        judging_ms: int = DEFAULT.judging_ms,
        authority: str | None = None,
        organisation: str | None = None,
        authority_ms: int = DEFAULT.authority_ms,
        keep_ms: int = DEFAULT.keep_ms,
    ) -> None:
        """Sets how conflicts on it are found and resolved. Who did so first alone may change it.

        Args:
            capacities: how much there is of resources, by name, in whole numbers of a unit of the ground's own.
            contradictions: pairs of actions that contradict each other on one target; None: the usual ones, such as
                create and delete, approve and reject, open and close.
            incompatible: pairs of modes that cannot be on one target at a time; None: exclusive with exclusive and
                with shared.
            preemption: whether a higher priority stops who acts already.
            semantic: whether what intentions say in free text is put before the judges.
            judges: agents that are asked; the first judgement counts. Empty: nobody is asked.
            confidence_least: a judgement with less is escalated; 0 to 1.
            judging_ms: how long judges have.
            authority: the agent that rules on what is escalated.
            organisation: in place of an agent, the organisation (`hub.hierarchy`) that does: the lowest of its members
                at or above the parties that has a boundary of the type `conflict`. Without either the rule decides.
            authority_ms: how long they have.
            keep_ms: how long what ended is remembered, and may be appealed.

        Raises:
            BadInput: one of them cannot be.
            Denied: another agent has configured it.
            Degraded, KafkaUnreachable: nobody decides, or no broker answers.
        """
        terms = checked_terms(
            capacities=capacities or {}, contradictions=contradictions, incompatible=incompatible,
            preemption=preemption, semantic=semantic, judges=judges, confidence_least=confidence_least,
            judging_ms=judging_ms, authority=authority, organisation=organisation, authority_ms=authority_ms,
            keep_ms=keep_ms,
        )  # fmt: skip
        answer = await self._send(ConfigureGround(self._hub.agent, terms))
        for event in answer.events:
            if isinstance(event, ConfigurationRefused):
                raise Denied(
                    f"{self._hub.agent} cannot configure {self.name}: {event.owner} has done so before.", key=self.name,
                    agent=self._hub.agent, holder=event.owner, position=str(answer.position),
                )  # fmt: skip

    def intend(
        self,
        action: str,
        *,
        target: str = "",
        resource: str = "",
        amount: int = 0,
        mode: str | None = None,
        topic: str = "",
        text: str = "",
        from_ms: int | None = None,
        until_ms: int | None = None,
        priority: int = 0,
        lease_ms: int = LEASE_MS,
        wait_ms: int | None = None,
        key: str | None = None,
        agent: str | None = None,
    ) -> Intention:
        """What this agent is about to do: `async with` waits until it may be done, and tells when it is.

            async with hub.ground("project").intend("write", target="report.md"): ...

        Args:
            action: what it does: write, delete, book.
            target: what it does that to.
            resource, amount: what it uses, and how much of it.
            mode: how it uses the target: `shared`, `exclusive` or one of the ground's own. None: shared for actions
                that only look and for those that use an amount, else exclusive.
            topic: what work it is: of two with one topic, one does it.
            text: what it is about, in words; for judges.
            from_ms, until_ms: the time that it is about, in ms since the epoch; None: no beginning, no end.
            priority: -10 to 10; the higher goes first.
            lease_ms: how long it stands if this process dies.
            wait_ms: how long to wait for others; None: without limit, 0: not at all.
            key: its id: declared again with it, it is the same one. None: a new one.
            agent: one of several agents of this program; None: the hub's agent.

        Raises:
            BadInput: an argument cannot be right.
        """
        intent = intended(
            action, target=target, resource=resource, amount=amount, mode=mode, topic=topic, text=text,
            from_ms=from_ms, until_ms=until_ms, priority=priority, lease_ms=lease_ms, waits=wait_ms != 0,
        )  # fmt: skip
        return Intention(self._hub, self.name, intent, key=key, agent=agent, wait_ms=wait_ms)

    async def look(self) -> GroundRead:
        """How it stands: `owner`, `terms`, `intentions`, `conflicts`."""
        answer = await self._send(ReadGround(self._hub.agent))
        read = answer.events[-1]
        assert isinstance(read, GroundRead)
        return read

    async def conflict(self, conflict: str) -> ConflictRead:
        """A conflict with all that it is about. Raises NotFound: there is none, or it ended long ago."""
        answer = await self._send(ReadConflict(self._hub.agent, check_name(conflict, "conflict")))
        read = answer.events[-1]
        if not isinstance(read, ConflictRead):
            raise self._unknown(conflict)
        return read

    async def appeal(
        self, conflict: str, *, party: str | None = None, reason: str = "", agent: str | None = None
    ) -> None:
        """Takes a conflict that this agent lost to the ground's authority; without one, the rule decides anew.

        Args:
            conflict: its id.
            party: the intention that lost, by id; None: of findings, the agent itself.
            reason: why, at most 255 bytes count.
            agent: one of several agents of this program; None: the hub's agent.

        Raises:
            Denied: the agent did not lose it, it is not resolved, or it was appealed before. Details `reason`.
            NotFound: there is no such conflict, or it ended long ago.
            Degraded, KafkaUnreachable: nobody decides, or no broker answers.
        """
        whose = self._hub.agent if agent is None else check_name(agent, "agent")
        command = AppealResolution(whose, check_name(conflict, "conflict"), party or whose, shortened(reason))
        answer = await self._send(command)
        for event in answer.events:
            match event:
                case ConflictUnknown():
                    raise self._unknown(conflict)
                case AppealRefused(reason=why):
                    raise self._denied(f"{whose} cannot appeal {conflict}: {why}.", answer, whose, why)

    async def rule(self, conflict: str, winner: str, *, reasoning: str = "", agent: str | None = None) -> None:
        """Rules on a conflict that was escalated, as the authority that the ground's terms name.

        Args:
            conflict: its id.
            winner: the party that is to win: an intention's id, or the agent of a finding.
            reasoning: why, on record; of more than 1,000 bytes the beginning.
            agent: one of several agents of this program; None: the hub's agent.

        Raises:
            Denied: the agent is not asked, the conflict is over, or the winner no party. Details `reason`.
            NotFound: there is no such conflict, or it ended long ago.
            Degraded, KafkaUnreachable: nobody decides, or no broker answers.
        """
        whose = self._hub.agent if agent is None else check_name(agent, "agent")
        text = shortened(reasoning, TEXT_MAX_BYTES)
        answer = await self._send(RuleOnConflict(whose, check_name(conflict, "conflict"), winner, text))
        for event in answer.events:
            match event:
                case ConflictUnknown():
                    raise self._unknown(conflict)
                case RulingRefused(reason=why):
                    raise self._denied(
                        f"the verdict of {whose} on {conflict} does not count: {why}.", answer, whose, why
                    )

    async def _send(self, command: Command) -> Answer:
        self._hub.ensure_open("ground()")
        task = signals.current_task()
        return await asyncio.wrap_future(self._hub.connection.submit(DOMAIN, self.name, command, task=task).decided)

    def _denied(self, text: str, answer: Answer, agent: str, reason: str) -> Denied:
        return Denied(text, key=self.name, agent=agent, position=str(answer.position), reason=reason)

    def _unknown(self, conflict: str) -> NotFound:
        return NotFound(
            f"there is no conflict {conflict} on {self.name}, or it ended long ago.",
            remedy="See: accord conflicts list.", key=self.name,
        )  # fmt: skip
