"""Invariants: what must hold in every trial.

An `Invariant` has a name and makes, for each trial, a `Check`, which is told of all that happens and asked once more at
the end. A check returns what is wrong, in words, or None.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from accord.testing.trials.happenings import Happened

if TYPE_CHECKING:
    from accord.testing.trials.trial import Trial


class Check:
    """The check of one trial. Args: the trial."""

    def __init__(self, trial: Trial) -> None:
        self.trial = trial

    def happened(self, event: Happened) -> str | None:
        """Something happened."""
        return None

    def ended(self) -> str | None:
        """Nothing more will."""
        return None


class Invariant(NamedTuple):
    """See the module's text."""

    name: str
    begin: Callable[[Trial], Check]


class Violation(NamedTuple):
    """An invariant does not hold: which, what is wrong, and when it was seen, in ms of virtual time."""

    invariant: str
    what: str
    at_ms: float


# -- those that are there


def exclusion(resource: str) -> Invariant:
    """Between an agent's read of a resource and its write, nobody else writes there: no update is lost.

    Args:
        resource: its name.
    """

    class Excludes(Check):
        def __init__(self, trial: Trial) -> None:
            super().__init__(trial)
            trial.resource(resource)
            self._last: Happened | None = None

        def happened(self, event: Happened) -> str | None:
            if event.kind != "wrote" or event.name != resource:
                return None
            before, self._last = self._last, event
            if before is None or event.based_on is None or event.based_on == event.version - 1:
                return None
            read = "had not read it since" if event.based_on else "had read it before anybody wrote"
            return (
                f"{event.agent} writes {resource} over what {before.agent} wrote {event.at_ms - before.at_ms:,.0f} ms "
                f"before, and {read}."
            )

    return Invariant(f"exclusion({resource})", Excludes)


def order(first: str, then: str, *, by: str | None = None) -> Invariant:
    """Nobody notes `then` before somebody has noted `first` (`accord_sim.note`).

    Args:
        by: the detail that says which belong together, as `order`: `note("paid", order=7)`. None: all do.
    """

    class Orders(Check):
        def __init__(self, trial: Trial) -> None:
            super().__init__(trial)
            self._noted: list[Any] = []

        def happened(self, event: Happened) -> str | None:
            if event.kind != "noted" or event.name not in (first, then):
                return None
            key = event.details.get(by) if by is not None else None
            if event.name == first:
                self._noted.append(key)
            elif key not in self._noted:
                of = f" of {by}={key!r}" if by is not None else ""
                return f"{event.agent} notes {then}{of}, and nobody has noted {first} before."
            return None

    return Invariant(f"order({first}, {then})", Orders)


def atomicity(*resources: str, holds: Callable[..., bool]) -> Invariant:
    """Who reads all of these resources, and did not write meanwhile, finds that `holds` is true of them; and so they
    stand at the end.

    Args:
        resources: their names.
        holds: gets a value of each, in this order.
    """

    class Together(Check):
        def __init__(self, trial: Trial) -> None:
            super().__init__(trial)
            for name in resources:
                trial.resource(name)
            self._read: dict[tuple[str, int], dict[str, Any]] = {}

        def happened(self, event: Happened) -> str | None:
            if event.name not in resources:
                return None
            who = event.agent, event.life
            if event.kind == "wrote":
                self._read.pop(who, None)
            elif event.kind == "read":
                read = self._read.setdefault(who, {})
                read[event.name] = event.value
                if len(read) == len(resources):
                    del self._read[who]
                    return self._wrong(read, f"{event.agent} reads")
            return None

        def ended(self) -> str | None:
            return self._wrong({name: self.trial.resource(name).value for name in resources}, "In the end there is")

        def _wrong(self, values: dict[str, Any], how: str) -> str | None:
            if holds(*[values[name] for name in resources]):
                return None
            return f"{how} {', '.join(f'{name}={values[name]!r}' for name in resources)}."

    return Invariant(f"atomicity({', '.join(resources)})", Together)


def serializability(*resources: str) -> Invariant:
    """What was read and written in sections (`accord_sim.section`) is what it would be, had they run one by one.

    That is conflict serializability: a section comes before another if it wrote what that one read or wrote over, or
    read what that one wrote over; there must be no circle.

    Args:
        resources: their names.
    """

    class Serializes(Check):
        def __init__(self, trial: Trial) -> None:
            super().__init__(trial)
            for name in resources:
                trial.resource(name)
            self._after: dict[str, set[str]] = {}
            self._writers: dict[str, str] = {}
            self._readers: dict[str, set[str]] = {}

        def happened(self, event: Happened) -> str | None:
            if event.name not in resources or event.kind not in ("read", "wrote") or not event.section:
                return None
            name, section = event.name, event.section
            before = [self._writers[name]] if name in self._writers else []
            if event.kind == "wrote":
                before += sorted(self._readers.pop(name, ()))
                self._writers[name] = section
            else:
                self._readers.setdefault(name, set()).add(section)
            for earlier in before:
                if earlier != section:
                    self._after.setdefault(earlier, set()).add(section)
                    if (way := self._way(section, earlier)) is not None:
                        return f"{event.agent} {event.line()}; each of these comes before the next: {' -> '.join(way)}."
            return None

        def _way(self, start: str, end: str) -> list[str] | None:
            """From a section to one that comes after it, and back; None: it does not."""
            ways, seen = [[start]], {start}
            for way in ways:
                if way[-1] == end:
                    return [*way, start]
                for following in sorted(self._after.get(way[-1], ())):
                    if following not in seen:
                        seen.add(following)
                        ways.append([*way, following])
            return None

    return Invariant(f"serializability({', '.join(resources)})", Serializes)


def duration(section: str, *, at_most_ms: float) -> Invariant:
    """No section of this name (`accord_sim.section`) takes longer in a trial without faults.

    Time is virtual: a record is under way for 0 to 8 ms, decided in 0 to 6, and nothing else takes any. So what is
    checked is how often an agent waits for an answer, and for whom, not how fast a machine is.
    """

    class Lasts(Check):
        def __init__(self, trial: Trial) -> None:
            super().__init__(trial)
            self._begun: dict[str, float] = {}

        def happened(self, event: Happened) -> str | None:
            if event.name != section or self.trial.faults:
                return None
            if event.kind == "begun":
                self._begun[event.section] = event.at_ms
            elif event.kind == "ended":
                took_ms = event.at_ms - self._begun.pop(event.section)
                if took_ms > at_most_ms:
                    return f"{event.section} of {event.agent} took {took_ms:,.1f} ms."
            return None

    return Invariant(f"duration({section}, {at_most_ms:,g} ms)", Lasts)


def liveness(*, within_ms: int) -> Invariant:
    """Every agent is done within so long after the last fault; but for those that died for good, or run for ever."""

    class Lives(Check):
        def ended(self) -> str | None:
            by_ms = self.trial.faults_over_ms + within_ms
            for agent in self.trial.agents:
                if agent.is_expected and (not agent.is_over or agent.ended_ms > by_ms):
                    state = f"is at {agent.where()}" if not agent.is_over else f"was done at {agent.ended_ms:,.0f} ms"
                    return f"{agent.name} is not done by {by_ms:,.0f} ms of virtual time: it {state}."
            return None

    return Invariant(f"liveness({within_ms:,} ms)", Lives)


# -- users' own functions

Function = Callable[["Trial"], Any]


def always(function: Function) -> Invariant:
    """A function of the trial that is called whenever something happened. It returns None or True when all is well,
    False or a text when it is not; or it raises AssertionError."""

    class Always(Check):
        def happened(self, event: Happened) -> str | None:
            return _asked(function, self.trial)

    return Invariant(_name(function), Always)


def finally_(function: Function) -> Invariant:
    """The same, called at the end."""

    class Finally(Check):
        def ended(self) -> str | None:
            return _asked(function, self.trial)

    return Invariant(_name(function), Finally)


def _asked(function: Function, trial: Trial) -> str | None:
    try:
        found = function(trial)
    except AssertionError as error:
        return str(error) or "it raises AssertionError."
    if found is None or found is True:
        return None
    return str(found) if isinstance(found, str) else f"it returns {found!r}."


def _name(function: Function) -> str:
    return getattr(function, "__name__", type(function).__name__)
