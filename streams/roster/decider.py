"""Rosters: one aggregate a team, and one a process that beats (`presence.py`). A team's members say what they are able
to do; it says who does which step.

Rules:
- A step goes to a member that is able to do it and has a free slot: to whom the least part of its slots is taken,
  among equals to whom nothing was given for longest. If nobody is free it waits; who has a slot again, or joins, gets
  what has waited longest of all that it is able to do.
- A member that does not renew its membership is gone, and so is one whose process failed: what it had been given is
  told to the tasks, which ask again.
- Five failures of a capability in a row open its breaker: for 60 s such work is refused at once. Then one request is
  let through: it closes the breaker if it is completed, else it is open again. A failure is a failed run, a missed
  limit of time, an agent that is gone, and nobody there for what is urgent. A breaker that is open for want of anybody
  is closed by who joins.
- Who asks is the tasks' process manager, at least once: a slot that is known, taken or waiting, is not asked for again,
  and one that is not known is not given back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
from accord.schemas.messages import Command, Event
from accord.schemas.messages.log import CommandRejected, Reason, Tick
from accord.schemas.messages.roster import (
    AgentFailed,
    AgentsAssigned,
    AgentsAwaited,
    AgentsFreed,
    AgentsRefused,
    Assignment,
    BreakerClosed,
    BreakerHalfOpened,
    BreakerOpened,
    FailMember,
    FreeAgents,
    JoinRefused,
    JoinTeam,
    LeaveTeam,
    MemberFailed,
    MemberJoined,
    MemberLeft,
    MemberLost,
    MembershipRenewed,
    ReadTeam,
    RenewalRefused,
    RenewMembership,
    Request,
    RequestAgents,
    TeamRead,
)
from accord.schemas.messages.tasks import Freed, LoseSteps, Refusal, RefuseSteps, Slot, Wanted
from accord.streams.decider import At, Decider, Domain, Order
from accord.streams.roster.bounds import (
    ASSIGNED_AT_ONCE_MAX,
    BREAKERS_MAX,
    FAILURES_MAX,
    FULL_RETRY_MS,
    MEMBERS_MAX,
    OPEN_MS,
    WAITING_MAX,
    problem_of,
)
from accord.streams.roster.presence import OWN_COMMANDS, OWN_EVENTS, Presence, PresenceDecider, tell_failed
from accord.streams.roster.team import CLOSED, HALF_OPEN, OPEN, Breaker, Key, Member, Taken, Team

_replace: Final = msgspec.structs.replace
_NOBODY: Final = Team()
_UNTRIED: Final = Breaker()


class TeamDecider:
    """The rules of a name that is a team's."""

    state_type = Team

    def decide(self, state: Team | None, command: Command, at: At) -> Sequence[Event]:
        draft = Draft(_NOBODY if state is None else state, at)
        draft.lose_the_silent()
        _ANSWERS[type(command)](draft, command)
        draft.assign()
        return draft.events

    def evolve(self, state: Team | None, event: Event) -> Team | None:
        team = evolve(_NOBODY if state is None else state, event)
        return team if team.members or team.taken or team.waiting or team.breakers else None

    def deadline_ms(self, state: Team) -> int | None:
        return 0 if state.more else state.members.due_ms


class RosterDecider:
    """Version 1 of the domain. A name is a team's or a process's."""

    state_type: Any = Team | Presence

    def __init__(self) -> None:
        self._teams: Decider[Any] = TeamDecider()
        self._presences: Decider[Any] = PresenceDecider()

    def decide(self, state: Team | Presence | None, command: Command, at: At) -> Sequence[Event]:
        problem = problem_of(command)
        if problem is not None:
            return [CommandRejected(Reason.INVALID, problem)]
        own = type(command) in OWN_COMMANDS
        if type(state) is Presence:
            if own or type(command) is Tick:
                return self._presences.decide(state, command, at)
            return [CommandRejected(Reason.INVALID, "the name is a process's, no team's")]
        if own:
            if state is None:
                return self._presences.decide(None, command, at)
            return [CommandRejected(Reason.INVALID, "the name is a team's, no process's")]
        return self._teams.decide(state, command, at)

    def evolve(self, state: Team | Presence | None, event: Event) -> Team | Presence | None:
        if type(state) is Presence or type(event) in OWN_EVENTS:
            return self._presences.evolve(state, event)
        return self._teams.evolve(state, event)

    def deadline_ms(self, state: Team | Presence) -> int | None:
        rules = self._teams if type(state) is Team else self._presences
        return rules.deadline_ms(state)


class Draft:
    """A decision as it comes into being: its events, and the team after them."""

    def __init__(self, team: Team, at: At) -> None:
        self.team = team
        self.at = at
        self.events: list[Event] = []
        self.room = ASSIGNED_AT_ONCE_MAX

    def add(self, event: Event) -> None:
        self.events.append(event)
        self.team = evolve(self.team, event)

    def lose_the_silent(self) -> None:
        due_ms = self.team.members.due_ms
        if due_ms is None or due_ms > self.at.now_ms:
            return
        for member in self.team.members.due(self.at.now_ms):
            if member.busy > self.room:
                self.room = 0
                return
            given = self.team.taken.of(member.name)
            self.room -= 1 + len(given)
            self.add(MemberLost(member.agent, member.name, _requests(given), member.deadline_ms))
            for key, taken in given:
                self.failed(taken.capability, key)

    def assign(self) -> None:
        """Gives out what waits and can be done now, as much as there is room for."""
        team, more = self.team, False
        given: list[Assignment] = []
        while team.waiting:
            first = team.waiting.first(team.members.to_spare())
            more = first is not None and len(given) >= self.room
            if first is None or more:
                break
            capability, (task, step, attempt) = first
            member = team.members.free(capability)
            assert member is not None
            assignment = Assignment(task, step, attempt, capability, member.agent, member.name)
            given.append(assignment)
            team = _given(team, assignment, self.at.seq)
        if given or more != team.more:
            self.add(AgentsAssigned(tuple(given), self.at.seq, more))

    # -- breakers

    def failed(self, capability: str, key: Key, reason: str = "failures") -> None:
        """Counts a failure, which the event before it has told."""
        breaker = self.team.breakers.get(capability, _UNTRIED)
        on_trial = breaker.state == HALF_OPEN and breaker.trial == key
        if on_trial or (breaker.state == CLOSED and breaker.failures >= FAILURES_MAX):
            self.add(BreakerOpened(capability, breaker.failures, reason, self.at.now_ms + OPEN_MS))

    def admits(self, wanted: Wanted, key: Key) -> int | None:
        """None if the breaker lets a request through; else how long it will not, in ms."""
        breaker = self.team.breakers.get(wanted.capability, _UNTRIED)
        if breaker.state == CLOSED:
            return None
        if breaker.state == HALF_OPEN:
            return OPEN_MS
        if self.at.now_ms < breaker.until_ms:
            return breaker.until_ms - self.at.now_ms
        self.add(BreakerHalfOpened(wanted.capability, *key))
        return None


def _requests(given: Iterable[tuple[Key, Taken]]) -> tuple[Request, ...]:
    return tuple([Request(*key, taken.capability) for key, taken in given])


# -- what commands bring


def _join(draft: Draft, c: JoinTeam) -> None:
    known = draft.team.members.get(c.member)
    if known is None and len(draft.team.members) >= MEMBERS_MAX:
        draft.add(JoinRefused(c.agent, c.member, len(draft.team.members)))
        return
    deadline_ms = draft.at.now_ms + c.lease_ms
    draft.add(MemberJoined(c.agent, c.member, c.capabilities, c.slots, c.lease_ms, deadline_ms))
    for capability in c.capabilities:
        breaker = draft.team.breakers.get(capability, _UNTRIED)
        if breaker.state == OPEN and breaker.reason == "absent":
            draft.add(BreakerClosed(capability, "joined"))


def _renew(draft: Draft, c: RenewMembership) -> None:
    if draft.team.members.get(c.member) is None:
        draft.add(RenewalRefused(c.agent, c.member))
    else:
        draft.add(MembershipRenewed(c.agent, c.member, draft.at.now_ms + c.lease_ms))


def _leave(draft: Draft, c: LeaveTeam) -> None:
    if draft.team.members.get(c.member) is not None:
        draft.add(MemberLeft(c.agent, c.member, _requests(draft.team.taken.of(c.member))))


def _fail(draft: Draft, c: FailMember) -> None:
    """Ends a membership at once; what is more than one decision can tell, the next one does."""
    if draft.team.members.get(c.member) is not None:
        draft.add(MemberFailed(c.agent, c.member, c.presence, c.failed_ms, draft.at.now_ms))
        draft.lose_the_silent()


def _request(draft: Draft, c: RequestAgents) -> None:
    awaited: dict[Key, Wanted] = {}
    refusals: list[Refusal] = []
    absent: list[Key] = []
    team, able = draft.team, set(draft.team.members.abilities())
    for wanted in c.wanted:
        key = (c.task, wanted.step, wanted.attempt)
        if key in awaited or _is_known(team, key):
            continue
        if len(team.waiting) + len(awaited) >= WAITING_MAX:
            refusals.append(Refusal(wanted.step, wanted.attempt, wanted.capability, "team_full", FULL_RETRY_MS))
            continue
        retry_after_ms = draft.admits(wanted, key)
        if retry_after_ms is not None:
            refusals.append(Refusal(wanted.step, wanted.attempt, wanted.capability, "breaker_open", retry_after_ms))
            continue
        awaited[key] = wanted
        if wanted.urgent and wanted.capability not in able:
            absent.append(key)
    if awaited:
        absences = tuple([awaited[key].capability for key in absent])
        draft.add(AgentsAwaited(c.task, tuple(awaited.values()), absences))
        for key in absent:
            draft.failed(awaited[key].capability, key, "absent")
    if refusals:
        draft.add(AgentsRefused(c.task, tuple(refusals)))


def _free(draft: Draft, c: FreeAgents) -> None:
    named = {(c.task, freed.step, freed.attempt): freed for freed in c.freed}
    known = {key: freed for key, freed in named.items() if _is_known(draft.team, key)}
    if not known:
        return
    before = draft.team.breakers
    draft.add(AgentsFreed(c.task, tuple(known.values())))
    for key, freed in known.items():
        for outcome in freed.outcomes:
            if not outcome.completed:
                draft.failed(outcome.capability, key)
            elif before.get(outcome.capability, _UNTRIED).trial == key:
                draft.add(BreakerClosed(outcome.capability, "completed"))


def _is_known(team: Team, key: Key) -> bool:
    return key in team.waiting or team.taken.get(key) is not None


def _read(draft: Draft, c: ReadTeam) -> None:
    team = draft.team
    slots = sum(member.slots for member in team.members)
    draft.add(TeamRead(c.agent, len(team.members), slots, len(team.taken), len(team.waiting)))


def _tick(_: Draft, __: Tick) -> None:
    pass


_ANSWERS: Final[Mapping[type[Command], Callable[[Draft, Any], None]]] = {
    JoinTeam: _join,
    RenewMembership: _renew,
    LeaveTeam: _leave,
    FailMember: _fail,
    RequestAgents: _request,
    FreeAgents: _free,
    ReadTeam: _read,
    Tick: _tick,
}


# -- what events change


def evolve(team: Team, event: Event) -> Team:
    """The team after an event."""
    change = _CHANGES.get(type(event))
    if change is None:
        raise TypeError(f"the roster domain has no event {type(event).__name__}")
    return change(team, event)


def _unchanged(team: Team, _: Event) -> Team:
    return team


def _joined(team: Team, e: MemberJoined) -> Team:
    known = team.members.get(e.member)
    busy, served = (known.busy, known.served) if known else (0, 0)
    member = Member(e.agent, e.member, e.capabilities, e.slots, e.deadline_ms, busy, served)
    return _replace(team, members=team.members.put(member))


def _renewed(team: Team, e: MembershipRenewed | MemberFailed) -> Team:
    member = team.members.get(e.member)
    assert member is not None
    return _replace(team, members=team.members.put(_replace(member, deadline_ms=e.deadline_ms)))


def _left(team: Team, e: MemberLeft) -> Team:
    taken = team.taken
    for one in e.assigned:
        taken = taken.without((one.task, one.step, one.attempt))
    return _untried(_replace(team, members=team.members.without(e.member), taken=taken), e.assigned)


def _lost(team: Team, e: MemberLost) -> Team:
    """One failure of each capability that it was at work with, however much that was."""
    taken = team.taken
    for one in e.assigned:
        taken = taken.without((one.task, one.step, one.attempt))
    for capability in dict.fromkeys([one.capability for one in e.assigned]):
        team = _failure(team, capability)
    return _replace(team, members=team.members.without(e.member), taken=taken)


def _untried(team: Team, ended: Iterable[Request]) -> Team:
    """A trial that ended without a result was none: the next request is one."""
    breakers = team.breakers
    for one in ended:
        breaker = breakers.get(one.capability, _UNTRIED)
        if breaker.state == HALF_OPEN and breaker.trial == (one.task, one.step, one.attempt):
            breakers = {**breakers, one.capability: _replace(breaker, state=OPEN, trial=None)}
    return _replace(team, breakers=breakers)


def _failure(team: Team, capability: str) -> Team:
    breaker = team.breakers.get(capability, _UNTRIED)
    return _with_breaker(team, capability, _replace(breaker, failures=breaker.failures + 1))


def _with_breaker(team: Team, capability: str, breaker: Breaker) -> Team:
    breakers = {name: one for name, one in team.breakers.items() if name != capability}
    if breaker != _UNTRIED:
        breakers[capability] = breaker
    if len(breakers) > BREAKERS_MAX:
        del breakers[next(iter(breakers))]
    return _replace(team, breakers=breakers)


def _awaited(team: Team, e: AgentsAwaited) -> Team:
    waiting = team.waiting
    for wanted in e.wanted:
        waiting = waiting.put(wanted.capability, (e.task, wanted.step, wanted.attempt))
    for capability in e.absent:
        team = _failure(team, capability)
    return _replace(team, waiting=waiting)


def _assigned(team: Team, e: AgentsAssigned) -> Team:
    for assignment in e.assignments:
        team = _given(team, assignment, e.seq)
    return _replace(team, more=e.more)


def _given(team: Team, one: Assignment, seq: int) -> Team:
    key = (one.task, one.step, one.attempt)
    member = team.members.get(one.member)
    assert member is not None
    return _replace(
        team,
        waiting=team.waiting.without(key),
        taken=team.taken.put(key, Taken(one.member, one.capability)),
        members=team.members.put(_replace(member, busy=member.busy + 1, served=seq)),
    )


def _freed(team: Team, e: AgentsFreed) -> Team:
    for freed in e.freed:
        team = _freed_one(team, (e.task, freed.step, freed.attempt), freed)
    return team


def _freed_one(team: Team, key: Key, freed: Freed) -> Team:
    taken = team.taken.get(key)
    capability = taken.capability if taken is not None else team.waiting.capability_of(key)
    if taken is not None:
        member = team.members.get(taken.member)
        members = team.members.put(_replace(member, busy=member.busy - 1)) if member else team.members
        team = _replace(team, taken=team.taken.without(key), members=members)
    team = _replace(team, waiting=team.waiting.without(key))
    for outcome in freed.outcomes:
        breaker = team.breakers.get(outcome.capability, _UNTRIED)
        if not outcome.completed:
            team = _failure(team, outcome.capability)
        elif breaker.state == CLOSED and breaker.failures:
            team = _with_breaker(team, outcome.capability, _UNTRIED)
    if capability is not None and capability not in {outcome.capability for outcome in freed.outcomes}:
        team = _untried(team, [Request(*key, capability)])
    return team


def _opened(team: Team, e: BreakerOpened) -> Team:
    return _with_breaker(team, e.capability, Breaker(OPEN, e.failures, e.reason, e.until_ms))


def _half_opened(team: Team, e: BreakerHalfOpened) -> Team:
    breaker = team.breakers.get(e.capability, _UNTRIED)
    trial = (e.task, e.step, e.attempt)
    return _with_breaker(team, e.capability, _replace(breaker, state=HALF_OPEN, trial=trial))


def _closed(team: Team, e: BreakerClosed) -> Team:
    return _with_breaker(team, e.capability, _UNTRIED)


_CHANGES: Final[Mapping[type[Event], Callable[[Team, Any], Team]]] = {
    MemberJoined: _joined,
    JoinRefused: _unchanged,
    MembershipRenewed: _renewed,
    MemberFailed: _renewed,
    RenewalRefused: _unchanged,
    MemberLeft: _left,
    MemberLost: _lost,
    AgentsAssigned: _assigned,
    AgentsAwaited: _awaited,
    AgentsRefused: _unchanged,
    AgentsFreed: _freed,
    BreakerOpened: _opened,
    BreakerHalfOpened: _half_opened,
    BreakerClosed: _closed,
    TeamRead: _unchanged,
}


# -- what follows elsewhere


def _tell_lost(_: str, e: MemberLost | MemberLeft) -> list[Order]:
    """Each task is told what it has to ask for again."""
    by_task: dict[str, list[Slot]] = {}
    for one in e.assigned:
        by_task.setdefault(one.task, []).append(Slot(one.step, one.attempt))
    return [Order("tasks", task, LoseSteps(e.agent, e.member, tuple(slots))) for task, slots in by_task.items()]


def _tell_refused(_: str, e: AgentsRefused) -> list[Order]:
    return [Order("tasks", e.task, RefuseSteps(e.refusals))]


DOMAIN: Final = Domain(
    "roster",
    {1: RosterDecider()},
    reactions={
        MemberLost: _tell_lost,
        MemberLeft: _tell_lost,
        AgentsRefused: _tell_refused,
        AgentFailed: tell_failed,
    },
)
"""Who does what, and who is there: one aggregate a team, one a process."""
