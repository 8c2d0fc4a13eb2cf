"""Which faults befall a trial: drawn from its seed, written as text, shrunk."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from random import Random
from typing import Final, NamedTuple

from accord.errors import BadInput
from accord.testing.trials.agent import Fault

LONG_SHARE: Final = 0.5
"""So many pauses and cuts are longer than a lease is unless somebody says otherwise."""
LONG_MS: Final = (31_000, 90_000)
SHORT_MS: Final = (50, 30_000)
OUTAGE_MS: Final = (1_000, 15_000)
"""As long as the failover of a worker takes, and less."""
MS_LEAST: Final = 50
FAULTS_MAX: Final = 20
"""Of one kind, in one trial."""

_FORM: Final = re.compile(r"(crash|pause|cut|outage)(?: (.+))?@(\d+)(?:\.(\d+))?(?:\+(\d+))?")


class Faults(NamedTuple):
    """How many faults of each kind a trial may have; see `accord_sim.faults`."""

    crashes: int = 2
    pauses: int = 2
    cuts: int = 1
    outages: int = 1

    def draw(self, seed: int, turns: Mapping[str, Sequence[int]], length_ms: float) -> list[Fault]:
        """The faults of a seed.

        Args:
            turns: of each agent, how many it takes without faults after each thing that is told of it.
            length_ms: how long all of them take without faults.
        """
        chance = Random(f"{seed}/faults")
        agents = list(turns)
        found = []
        for kind, most in (("crash", self.crashes), ("pause", self.pauses), ("cut", self.cuts)):
            for _ in range(chance.randint(0, most)):
                agent = chance.choice(agents)
                after = chance.randrange(len(turns[agent]))
                turn = chance.randint(1, max(1, turns[agent][after]))
                found.append(Fault(kind, agent, after, turn, 0 if kind == "crash" else _lasting_ms(chance)))
        for _ in range(chance.randint(0, self.outages)):
            found.append(Fault("outage", "", round(chance.uniform(0, length_ms)), ms=chance.randint(*OUTAGE_MS)))
        return found


def parsed(faults: Iterable[str | Fault]) -> list[Fault]:
    """Faults from their texts. Raises BadInput: one is none."""
    found = []
    for text in faults:
        if isinstance(text, Fault):
            found.append(text)
            continue
        match = _FORM.fullmatch(text.strip())
        kind, agent, _, turn, ms = match.groups() if match is not None else (None,) * 5
        is_outage, is_crash = kind == "outage", kind == "crash"
        if match is None or is_outage != (agent is None) or is_outage != (turn is None) or is_crash != (ms is None):
            raise BadInput(
                f"{text!r} is no fault.",
                remedy='For example "crash booker-1@3.2", "pause booker-1@4.1+35000", "outage@900+12000".',
            )
        found.append(Fault(match[1], agent or "", int(match[3]), int(turn or 0), int(ms or 0)))
    return found


def shrunk(faults: Sequence[Fault], fails: Callable[[list[Fault]], bool], runs_max: int) -> list[Fault]:
    """The fewest and shortest of these faults that `fails` still says yes to; none can be left out without.

    Args:
        fails: runs a trial with them.
        runs_max: how often it may be asked.
    """
    best = list(faults)
    runs = 0
    progress = True
    while progress:
        progress = False
        for candidate in _simpler(best):
            if runs >= runs_max:
                return best
            runs += 1
            if fails(candidate):
                best, progress = candidate, True
                break
    return best


def _simpler(faults: list[Fault]) -> Iterator[list[Fault]]:
    """Lists that are simpler: none, then without one, then with one of half its length."""
    if len(faults) > 1:
        yield []
    for index in range(len(faults)):
        yield faults[:index] + faults[index + 1 :]
    for index, fault in enumerate(faults):
        if fault.ms >= 2 * MS_LEAST:
            yield [*faults[:index], fault._replace(ms=_rounder(fault.ms // 2)), *faults[index + 1 :]]


def _rounder(ms: int) -> int:
    """With two digits that count."""
    digits = len(str(ms)) - 2
    return max(MS_LEAST, round(ms, -digits) if digits > 0 else ms)


def _lasting_ms(chance: Random) -> int:
    return chance.randint(*(LONG_MS if chance.random() < LONG_SHARE else SHORT_MS))
