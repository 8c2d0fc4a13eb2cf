"""What must hold of every run, whoever takes part: checked against the truth, decision by decision.

- One chain: decisions are a function of the commands, byte for byte, and what any reader accepted is among them.
- Every command has one decision, in order; nothing acknowledged is lost; one id takes effect once, within its window.
- What follows from a decision elsewhere is there, and nothing that follows from none.
- Live state, and what a worker would load, is what the log says.
- Each domain's judge agrees with its events (`judges/`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from accord import kafka
from accord.schemas.headers import ID
from accord.schemas.messages import Event
from accord.schemas.messages.log import CommandRepeated, PartitionOpened
from accord.schemas.topics import commands_topic, events_topic
from accord.streams.chain import Decision
from accord.streams.decider import source_of
from accord.streams.partition import WINDOW_MS, Partition
from accord.streams.runtime.consequences import Consequences
from accord.testing.simulation import judges
from accord.testing.simulation.judges.seen import Seen

if TYPE_CHECKING:
    from accord.testing.simulation.cluster import Cluster

READERS_COUNT = 3
"""Readers that start at any point of each partition."""


class Violation(AssertionError):
    """Something that must hold does not."""


def demand(holds: bool, what: str | Callable[[], str]) -> None:
    """Raises Violation unless it holds."""
    if not holds:
        raise Violation(what if isinstance(what, str) else what())


def check(cluster: Cluster) -> None:
    """All of it, of a run that has come to rest. Raises Violation."""
    seen: list[Seen] = []
    for place, truth in cluster.auditor.truths.items():
        rebuilt = check_function_of_the_log(cluster, place, truth.accepted, seen)
        check_every_command(cluster, place, truth.accepted)
        check_live_state(cluster, place, rebuilt)
        check_readers(cluster, place, truth.accepted)
    check_consequences(cluster)
    check_acknowledged(cluster)
    judges.check(cluster, seen, demand)


def check_function_of_the_log(
    cluster: Cluster, place: tuple[str, int], accepted: list[Decision], seen: list[Seen]
) -> Partition:
    """Every command decided once more, by the version in force, gives the decision that was accepted; the clock does
    not run back; no id takes effect twice within its window. Notes the events in `seen`."""
    domain, index = place
    name = f"{domain}/{index}"
    commands = {record.offset: record for record in cluster.log.read(commands_topic(domain), index, 0)}
    partition = Partition(cluster.auditor.truths[place].identity, cluster.rules[domain])
    effective: dict[str, int] = {}
    now_ms = 0
    for decision, order in zip(accepted, cluster.auditor.truths[place].orders, strict=True):
        back = partition.read(decision)
        events: list[Event] = list(back.events)
        if decision.seq == 1:
            demand(isinstance(events[0], PartitionOpened), f"the first decision of {name} is no genesis")
        else:
            again = partition.decide(commands[decision.cause]).decision
            demand(again.digest == decision.digest, f"decision {decision.seq} of {name} is no function of the log")
            if not events or not isinstance(events[0], CommandRepeated):
                before = effective.get(decision.command_id)
                demand(
                    before is None or decision.now_ms - before > WINDOW_MS,
                    f"{decision.command_id} took effect twice in {name}",
                )
                effective[decision.command_id] = decision.now_ms
        demand(decision.now_ms >= now_ms, f"the clock of decision {decision.seq} of {name} runs back")
        now_ms = decision.now_ms
        partition.apply(back)
        seen.append(Seen(order, domain, index, decision, tuple(events)))
    return partition


def check_every_command(cluster: Cluster, place: tuple[str, int], accepted: list[Decision]) -> None:
    """Each command has one decision; they come in order."""
    causes = [decision.cause for decision in accepted[1:]]
    offsets = [record.offset for record in cluster.log.read(commands_topic(place[0]), place[1], 0)]
    demand(causes == offsets, f"{place} has commands without a decision, or with two")


def check_live_state(cluster: Cluster, place: tuple[str, int], rebuilt: Partition) -> None:
    """What the owner holds is what the log says."""
    truth = state_of(rebuilt)
    for worker in cluster.workers:
        owned = worker.owned.get(place)
        if owned is not None:
            live = state_of(owned.owner.partition)
            different = [name for name in truth if live[name] != truth[name]]
            demand(not different, f"what {worker.name} holds of {place} differs from the log in {different}")


def check_readers(cluster: Cluster, place: tuple[str, int], accepted: list[Decision]) -> None:
    """Whoever starts in the middle, at any time, accepts what one from the start does."""
    domain, index = place
    topic, log = events_topic(domain), cluster.log
    end = log.bounds(topic, index)[1]
    root = cluster.auditor.truths[place].identity.root
    for _ in range(READERS_COUNT if end else 0):
        upto = cluster.scheduler.random.randint(1, end)
        chain, start = kafka.anchor_in(lambda *_, upto=upto: (0, upto), log.read, topic, index, root)
        seen = [made.digest for record in log.read(topic, index, start) if (made := chain.accept(record)) is not None]
        expected = [decision.digest for decision in accepted if decision.offset >= start]
        demand(seen == expected, f"a reader of {place} that starts at {start} sees another chain")


def check_consequences(cluster: Cluster) -> None:
    """Dead letters and the commands of process managers: at least once, and of accepted decisions alone."""
    there: dict[tuple[str, int], set[str]] = {}
    for topic in cluster.log.topics:
        for index in range(cluster.log.partitions):
            records = cluster.log.read(topic, index, 0)
            there[topic, index] = {dict(record.headers).get(ID, b"").decode(errors="replace") for record in records}
    follows: set[str] = set()
    for (domain, index), truth in cluster.auditor.truths.items():
        rules = cluster.rules[domain]
        consequences = Consequences(rules, truth.identity.prefix, cluster.log.partitions, 0)
        partition = Partition(truth.identity, rules)
        for decision in filter(consequences.any_of, truth.accepted):
            for sent in consequences.of(truth.identity, decision, partition.read(decision).events, None):
                name = dict(sent.headers)[ID].decode()
                follows.add(name)
                demand(
                    name in there.get((sent.topic, sent.partition), ()),
                    f"{name} follows from decision {decision.seq} of {domain}/{index} and is not in {sent.topic}",
                )
    for (topic, _), names in there.items():
        for name in names - follows:
            of_none = any(source_of(name, domain) is not None for domain in cluster.domains)
            demand(not of_none, f"{name} is in {topic} and follows from no decision")


def check_acknowledged(cluster: Cluster) -> None:
    """What any client was told is accepted."""
    truths = cluster.auditor.truths
    for domain, index, decision in cluster.read:
        accepted = truths[domain, index].accepted
        true = accepted[decision.seq - 1] if decision.seq <= len(accepted) else None
        demand(
            true is not None and true.digest == decision.digest and true.offset == decision.offset,
            f"a client was told of decision {decision.seq} of {domain}/{index}, which is not accepted",
        )


def state_of(partition: Partition) -> dict[str, Any]:
    """All that a partition's further decisions depend on."""
    return {
        **partition.canonical(),
        "window": [entry[:2] for entry in partition.window._order],
        "window's first": partition.window.oldest(),
        "deadline": partition.deadlines.next(),
    }
