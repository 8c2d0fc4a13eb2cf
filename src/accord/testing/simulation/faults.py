"""Faults, as a schedule that is drawn before a run begins: so a run that fails can be repeated without some of them.

A schedule is text, one fault a line: when it begins, what it is, whom it befalls, for how long, and how much.

    12500 pause worker-0 15000
    31000 crash worker-1 3000 17

Times are ms of the run. What the amount means stands with each kind below.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import TYPE_CHECKING, Final, NamedTuple

from accord.schemas.codec import commands_codec
from accord.schemas.headers import command_headers
from accord.schemas.messages.log import SwitchRules
from accord.schemas.topics import commands_topic

if TYPE_CHECKING:
    from accord.testing.simulation.cluster import Cluster


class Fault(NamedTuple):
    """One fault: see the module's text."""

    at_ms: int
    kind: str
    target: str
    ms: int = 0
    amount: int = 0

    def __str__(self) -> str:
        return f"{self.at_ms} {self.kind} {self.target} {self.ms} {self.amount}"

    @classmethod
    def parse(cls, line: str) -> Fault:
        """Raises ValueError: the line is no fault."""
        at_ms, kind, target, *numbers = line.split()
        if kind not in KINDS:
            raise ValueError(f"{kind} is no fault; there are {', '.join(KINDS)}")
        return cls(int(at_ms), kind, target, *[int(number) for number in numbers])


class Kind(NamedTuple):
    """A kind of fault: whom it may befall, how long it lasts in ms, its amounts, and what it does."""

    targets: str
    ms: tuple[int, int]
    amounts: tuple[int, int]
    befall: Callable[[Cluster, Fault], None]


def _crash(cluster: Cluster, fault: Fault) -> None:
    cluster.crash(fault.target, fault.ms, fault.amount)


def _pause(cluster: Cluster, fault: Fault) -> None:
    cluster.pause(fault.target, fault.ms)


def _on_link(name: str) -> Callable[[Cluster, Fault], None]:
    def befall(cluster: Cluster, fault: Fault) -> None:
        cluster.trouble(fault.target, name, fault.amount if name == "delay_ms" else fault.amount / 100, fault.ms)

    return befall


def _cut(cluster: Cluster, fault: Fault) -> None:
    cluster.cut(fault.target, fault.ms)


def _outage(cluster: Cluster, fault: Fault) -> None:
    for target in cluster.targets("processes"):
        cluster.cut(target, fault.ms)


def _deaf(cluster: Cluster, fault: Fault) -> None:
    worker = cluster.worker(fault.target)
    worker.deaf_until_ms = max(worker.deaf_until_ms, cluster.scheduler.now_ms + fault.ms)


def _producer(cluster: Cluster, fault: Fault) -> None:
    worker = cluster.worker(fault.target)
    if worker.alive:
        worker.output.fail()


def _double(cluster: Cluster, fault: Fault) -> None:
    cluster.group.double(fault.target, fault.ms)


def _rebalance(cluster: Cluster, fault: Fault) -> None:
    cluster.group.rebalance()


def _slow_disk(cluster: Cluster, fault: Fault) -> None:
    worker = cluster.worker(fault.target)
    worker.slow_until_ms, worker.slow_ms = cluster.scheduler.now_ms + fault.ms, float(fault.amount)


def _lost_table(cluster: Cluster, fault: Fault) -> None:
    for number, changelog in enumerate(cluster.changelogs.values()):
        for partition, rows in changelog.items():
            if (number + partition) % 2 == fault.amount % 2:
                rows.clear()


def _torn_table(cluster: Cluster, fault: Fault) -> None:
    """A row of each table is lost, or is not what it was."""
    chance = Random(fault.amount)
    for changelog in cluster.changelogs.values():
        for rows in changelog.values():
            if rows:
                key = chance.choice(sorted(rows))
                if chance.random() < 0.5:
                    del rows[key]
                else:
                    rows[key] = rows[chance.choice(sorted(rows))]


def _clock(cluster: Cluster, fault: Fault) -> None:
    cluster.log.step_clock(int(fault.target.removeprefix("broker-")), fault.amount)


def _hole(cluster: Cluster, fault: Fault) -> None:
    domain, _, partition = fault.target.partition("/")
    cluster.log.skip(commands_topic(domain), int(partition), fault.amount)


def _garbage(cluster: Cluster, fault: Fault) -> None:
    """A record that is no command."""
    domain, _, partition = fault.target.partition("/")
    chance = Random(fault.amount)
    key = chance.choice([None, b"", b"anything", b"\xff" * 300])
    headers = chance.choice([[], [("ce_id", b"garbage")], [("ce_id", b"g"), ("accord-clock", b"{")]])
    cluster.log.append(commands_topic(domain), int(partition), key, chance.choice([None, b"\xc3\x01junk"]), headers)


def _switch(cluster: Cluster, fault: Fault) -> None:
    """An operator switches a partition to another version of its rules."""
    domain, _, partition = fault.target.partition("/")
    if fault.amount not in cluster.rules[domain].versions:
        return  # nobody could go on
    key = next(key for n in range(1_000_000) if cluster.partition_of(key := f"switch-{n}") == int(partition))
    command, codec = SwitchRules(fault.amount, "simulated"), commands_codec(domain)
    headers = command_headers(f"switch-{fault.at_ms}-{fault.target}", "operator", codec.type_name(command), b"")
    cluster.log.append(commands_topic(domain), int(partition), key.encode(), codec.encode(command), headers)


KINDS: Final[dict[str, Kind]] = {
    "crash": Kind("processes", (500, 8_000), (0, 60), _crash),  # amount: callbacks that it still comes to
    "pause": Kind("processes", (500, 25_000), (0, 0), _pause),
    "cut": Kind("processes", (1_000, 20_000), (0, 0), _cut),
    "outage": Kind("cluster", (500, 15_000), (0, 0), _outage),
    "loss": Kind("processes", (2_000, 20_000), (5, 40), _on_link("loss")),  # amount: in 100 sends
    "duplicates": Kind("processes", (2_000, 20_000), (5, 40), _on_link("duplicates")),
    "reorder": Kind("clients", (2_000, 30_000), (20, 90), _on_link("reorder")),
    "delay": Kind("processes", (2_000, 20_000), (20, 3_000), _on_link("delay_ms")),  # amount: ms
    "producer": Kind("workers", (0, 0), (0, 0), _producer),
    "deaf": Kind("workers", (11_000, 40_000), (0, 0), _deaf),
    "double": Kind("workers", (2_000, 30_000), (0, 0), _double),  # another has its partitions, too
    "rebalance": Kind("cluster", (0, 0), (0, 0), _rebalance),
    "slow_disk": Kind("workers", (2_000, 20_000), (10, 400), _slow_disk),  # amount: ms a row
    "lost_table": Kind("cluster", (0, 0), (0, 99), _lost_table),
    "torn_table": Kind("cluster", (0, 0), (0, 9_999), _torn_table),
    "clock": Kind("brokers", (0, 0), (-4_000, 450), _clock),  # amount: ms; leaps ahead are for `leap`
    "leap": Kind("brokers", (0, 0), (1_000, 200_000), _clock),
    "hole": Kind("partitions", (0, 0), (1, 3), _hole),
    "switch": Kind("partitions", (0, 0), (2, 2), _switch),  # amount: the version of the rules
    "garbage": Kind("partitions", (0, 0), (0, 9_999), _garbage),
}
"""Every kind of fault. Two are drawn on demand alone: `leap` breaks the assumption under which leases exclude by
belief, and `switch` needs another version of the rules."""
USUAL: Final = tuple(name for name in KINDS if name not in ("leap", "switch"))


def draw(
    chance: Random, until_ms: int, count: int, targets: Callable[[str], Sequence[str]], kinds: Iterable[str] = USUAL
) -> list[Fault]:
    """A schedule.

    Args:
        until_ms: faults begin before this.
        count: how many.
        targets: who there is of each sort.
        kinds: of which kinds; each is as likely as the others.
    """
    names = list(kinds)
    faults = []
    for _ in range(count):
        name = chance.choice(names)
        kind = KINDS[name]
        there = targets(kind.targets)
        if there:
            at_ms = chance.randrange(max(until_ms, 1))
            faults.append(
                Fault(at_ms, name, chance.choice(there), chance.randint(*kind.ms), chance.randint(*kind.amounts))
            )
    return sorted(faults)


def text_of(faults: Iterable[Fault]) -> str:
    """A schedule as text."""
    return "\n".join(map(str, faults))


def parse(text: str) -> list[Fault]:
    """A schedule from text. Raises ValueError: a line is no fault."""
    return [Fault.parse(line) for line in text.splitlines() if line.strip()]
