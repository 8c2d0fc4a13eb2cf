"""Acquire and release, again and again, through client processes: accord beside other lock services in the same run.

Three workloads: one client on a lock of its own, 8 clients over 100 locks, 8 clients on one. Before them, each service
gets as long a time to warm up: a JVM needs seconds until its code is compiled. `inbox` is accord again, with clients
that read their inbox instead of the events. A peer that is not installed is left out. What each has made durable when
it answers is told on stderr and in docs/benchmarks.md.
"""

from __future__ import annotations

from typing import Final

from benchmarks.clients import Clients, Figures, Workload
from benchmarks.peers.etcd import ETCD
from benchmarks.peers.own import accord, accord_inbox
from benchmarks.peers.peer import Peer
from benchmarks.peers.postgresql import POSTGRESQL
from benchmarks.peers.redis import REDIS
from benchmarks.peers.zookeeper import ZOOKEEPER
from benchmarks.report import Goal, Line, Sample, progress, summary

SIZE: Final = 4
"""Seconds of a workload."""
CLIENTS: Final = 8
ONE: Final = Workload("one", 1, 1)
MANY: Final = Workload("many", CLIENTS, 100)
HOT: Final = Workload("hot", CLIENTS, 1)
WORKLOADS: Final = (ONE, MANY, HOT)
WARM_UP: Final = MANY._replace(name="warm-up")
PEERS: tuple[Peer, ...] = (REDIS, ETCD, ZOOKEEPER, POSTGRESQL)
AHEAD: Final = Goal("ratio", ">", 1)
GOALS: Final = {
    (ONE, ETCD.name): Goal("ratio", ">=", 1),
    **{(MANY, peer.name): AHEAD for peer in PEERS},
    **{(HOT, peer.name): AHEAD for peer in (ETCD, ZOOKEEPER, POSTGRESQL)},
}
"""Of the cycles a second."""
FAIR: Final = Goal("value", ">=", 0.95)

Found = dict[Workload, list[Figures]]
"""What the runs brought, by workload."""


def benchmark(bootstrap_servers: str, runs: int, size: int | None) -> list[Line]:
    """`size` is the seconds that each workload takes."""
    own = accord(bootstrap_servers)
    peers = [own, accord_inbox(bootstrap_servers), *installed()]
    found: dict[str, Found] = {peer.name: {workload: [] for workload in WORKLOADS} for peer in peers}
    for run in range(runs):
        for peer in peers:
            with peer.serve() as address, Clients(peer, address, CLIENTS) as clients:
                clients.go(WARM_UP, size or SIZE)
                for workload in WORKLOADS:
                    figures = clients.go(workload, size or SIZE)
                    found[peer.name][workload].append(figures)
                    progress(f"cycles {run + 1}/{runs} {peer.name} {workload.name}", **figures._asdict())
    mine = found.pop(own.name)
    lines = [line for workload in WORKLOADS for line in alone(workload, mine)]
    return lines + [line for name, theirs in found.items() for line in beside(name, mine, theirs)]


def installed() -> list[Peer]:
    """The peers that can run here; says of each what it makes durable, or what it lacks."""
    here = []
    for peer in PEERS:
        lack = peer.lacking()
        if lack is None:
            here.append(peer)
        progress(f"cycles: {peer.name}:", **({"left_out": lack} if lack else {"durable_when_it_answers": peer.durable}))
    return here


def alone(workload: Workload, mine: Found) -> list[Line]:
    """accord's own figures of a workload."""
    name, runs = f"cycles_{workload.name}", mine[workload]
    tail = [Sample(figures.p99_ms, figures.p50_ms) for figures in runs]
    lines = [summary(f"{name}_tail", "ms p99 of acquire", tail, "own p50")]
    if workload.clients > 1:
        scale = [Sample(all_.per_second, one.per_second) for all_, one in zip(runs, mine[ONE], strict=True)]
        lines.append(summary(name, "cycles/s", scale, "own, one client"))
    if workload is HOT:
        fair = [Sample(figures.least, figures.jain) for figures in runs]
        lines.append(summary(f"{name}_fair", "least served / most served", fair, "Jain's index", FAIR))
    return lines


def beside(peer: str, mine: Found, theirs: Found) -> list[Line]:
    """accord's figures against a peer's."""
    lines = []
    for workload in WORKLOADS:
        name, pairs = f"cycles_{workload.name}_{peer}", list(zip(mine[workload], theirs[workload], strict=True))
        speed = [Sample(own.per_second, other.per_second) for own, other in pairs]
        lines.append(summary(name, "cycles/s", speed, peer, GOALS.get((workload, peer))))
        for field, unit in (("p50_ms", "ms p50 of acquire"), ("p99_ms", "ms p99 of acquire")):
            latency = [Sample(getattr(own, field), getattr(other, field)) for own, other in pairs]
            lines.append(summary(f"{name}_{field[:3]}", unit, latency, peer))
        if workload is HOT:
            fair = [Sample(own.least, other.least) for own, other in pairs]
            lines.append(summary(f"{name}_fair", "least served / most served", fair, peer))
    return lines
