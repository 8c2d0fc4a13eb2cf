"""A whole run: workers, agents, a log, faults and those who watch, from one seed.

    cluster = Cluster(7)
    cluster.add_agent("ada", program)
    cluster.run()          # to the end of the faults and until all is quiet; raises Violation

The same seed, agents and faults give the same run: the same records, byte for byte, in any process.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from accord.errors import KafkaUnreachable, UnknownRules
from accord.schemas.topics import commands_topic
from accord.settings import Settings
from accord.streams.chain import Decision
from accord.streams.decider import Domain
from accord.streams.domains import DOMAINS
from accord.testing.simulation import faults as fault_kinds
from accord.testing.simulation import invariants
from accord.testing.simulation.auditor import Auditor
from accord.testing.simulation.client import Client, partition_for
from accord.testing.simulation.faults import KINDS, Fault
from accord.testing.simulation.group import Group
from accord.testing.simulation.history import History
from accord.testing.simulation.invariants import Violation, demand
from accord.testing.simulation.log import BROKERS_COUNT, Log
from accord.testing.simulation.network import LATE_MS, LATENCY_MS, Link
from accord.testing.simulation.process import Process
from accord.testing.simulation.scheduler import Scheduler
from accord.testing.simulation.table import Changelog
from accord.testing.simulation.worker import Worker

MINUTE_MS: Final = 60_000
DRIFT: Final = 0.0005
"""How far clocks of processes may be from true time: half of what holders of leases allow for."""
QUIET_MS: Final = 300_000
"""After the faults everything must come to rest within this time."""
AUDIT_MS: Final = 2_000

Program = Callable[[Client], Coroutine[Any, Any, None]]
"""What an agent does; run anew when its process was killed."""


class Cluster:
    """See the module's text.

    Args:
        seed: where all chance comes from.
        workers: how many.
        partitions: of every topic.
        domains: which; all by default. With them come those that their events lead to.
        faults: the schedule; None draws one, of about one fault in 8 s.
        minutes: of the run, before faults and new work end.
        kinds: of the faults that are drawn.
        releases: of each worker in turn, rules that differ from the usual ones. Who lacks the version in force is given
            the newest after a while, as by an operator.
        drift: most by which clocks of processes differ from true time, as a share.
        pace: agents' pauses are this much of what they usually are.
        latency_ms: between workers and the log, on average.
    """

    def __init__(
        self,
        seed: int,
        *,
        workers: int = 2,
        partitions: int = 4,
        domains: Iterable[str] | None = None,
        faults: Sequence[Fault] | None = None,
        minutes: float = 3.0,
        kinds: Iterable[str] = fault_kinds.USUAL,
        releases: Sequence[Mapping[str, Domain]] = (),
        drift: float = DRIFT,
        pace: float = 1.0,
        latency_ms: float = LATENCY_MS,
    ) -> None:
        self.pace = pace
        self.latency_ms = latency_ms
        self.seed = seed
        self.scheduler = Scheduler(seed)
        self.drift = drift
        self.settings = _settings()
        self.log = Log(self.scheduler, partitions=partitions)
        self.domains = _closed(domains)
        self.auditor = Auditor(self.log, self.domains)
        self.history = History()
        self.changelogs: dict[str, Changelog] = {}
        self.ends_ms = minutes * MINUTE_MS
        self.asking_until_ms = self.ends_ms
        self.group = Group(self.scheduler, [(d, p) for d in self.domains for p in range(partitions)])
        self.rules = {name: DOMAINS[name] for name in self.domains}
        for release in releases:
            for name, domain in release.items():
                if domain.newest > self.rules[name].newest:
                    self.rules[name] = domain
        self.workers: list[Worker] = []
        for number in range(workers):
            release = dict(releases[number % len(releases)]) if releases else {}
            self.workers.append(Worker(self, f"worker-{number}", self.rules | release))
        self.agents: dict[str, Agent] = {}
        self.read: list[tuple[str, int, Decision]] = []
        self._troubles: dict[str, dict[str, tuple[float, float]]] = {}
        self._given = faults
        self._kinds = tuple(kinds)
        self.faults: list[Fault] = []
        self._begun = False
        self.calm = False

    # -- who takes part

    def add_agent(self, name: str, program: Program) -> None:
        """An agent that begins with the run; a killed one begins again, as another process."""
        self.agents[name] = Agent(self, name, program)

    def worker(self, name: str) -> Worker:
        return self.workers[int(name.removeprefix("worker-"))]

    def targets(self, sort: str) -> list[str]:
        """Whom faults may befall: workers, clients, processes, brokers, partitions, cluster."""
        workers = [worker.name for worker in self.workers]
        clients = list(self.agents)
        match sort:
            case "workers":
                return workers
            case "clients":
                return clients
            case "processes":
                return workers + clients
            case "brokers":
                return [f"broker-{number}" for number in range(BROKERS_COUNT)]
            case "partitions":
                return [f"{domain}/{index}" for domain in self.domains for index in range(self.log.partitions)]
            case _:
                return ["cluster"]

    def partition_of(self, key: str) -> int:
        return partition_for(key, self.log.partitions)

    # -- running

    def begin(self) -> None:
        """Starts all that takes part, and draws the faults."""
        if self._begun:
            return
        self._begun = True
        self.faults = list(self._given) if self._given is not None else self._draw()
        for worker in self.workers:
            self.scheduler.call_later(self.scheduler.random.random() * 500, worker.start)
        for agent in self.agents.values():
            self.scheduler.call_later(self.scheduler.random.random() * 2_000, agent.start)
        for fault in self.faults:
            self.scheduler.call_at(fault.at_ms, partial(KINDS[fault.kind].befall, self, fault))
        self.scheduler.call_later(AUDIT_MS, self._audit)

    def _draw(self) -> list[Fault]:
        chance = self.scheduler.stream("faults")
        count = chance.randint(0, max(1, int(self.ends_ms / 4_000)))
        return fault_kinds.draw(chance, int(self.ends_ms), count, self.targets, self._kinds)

    def step(self) -> bool:
        """Lets the next event happen. Raises Violation."""
        self.begin()
        return self.scheduler.step()

    def run_until(self, at_ms: float) -> None:
        """Lets everything happen that does by then. Raises Violation."""
        self.begin()
        self.scheduler.run_until(at_ms)

    def run(self) -> None:
        """The whole run: with faults, then without until all is quiet; and all that must hold of it.

        Raises:
            Violation: something does not.
        """
        self.run_until(self.ends_ms)
        self.calm_down()
        until_ms = self.scheduler.now_ms + QUIET_MS
        while not self.is_quiet():
            demand(self.scheduler.now_ms < until_ms, lambda: f"it does not come to rest: {self.unrest()}")
            self.run_until(self.scheduler.now_ms + 1_000)
        invariants.check(self)

    def calm_down(self) -> None:
        """Ends all faults."""
        self.calm = True
        now_ms = self.scheduler.now_ms
        self._troubles.clear()
        for worker in self.workers:
            worker.deaf_until_ms = now_ms
            self._heal(worker.process, getattr(worker, "link", None))
            worker.slow_until_ms = now_ms
            worker.start()
        for agent in self.agents.values():
            self._heal(agent.process, agent.link)
            agent.start()
        self.run_until(now_ms + LATE_MS + 1_000)

    def _heal(self, process: Process | None, link: Link | None) -> None:
        if process is not None and link is not None:
            now_ms = self.scheduler.now_ms
            process.paused_until_ms = min(process.paused_until_ms, now_ms)
            link.cut_until_ms = min(link.cut_until_ms, now_ms)
            link.loss = link.duplicates = link.reorder = link.delay_ms = 0.0

    # -- what is wrong

    def _audit(self) -> None:
        """What must hold at every moment."""
        for worker in self.workers:
            for place, owned in worker.owned.items():
                confirmed = owned.owner.confirmed
                if confirmed is not None and not self.auditor.truths[place].confirms(confirmed):
                    raise Violation(f"{worker.name} takes {confirmed} of {place} for confirmed, and it is not accepted")
                if isinstance(owned.halted, UnknownRules):
                    worker.upgrade(self.rules)
                    break
                if owned.halted is not None:
                    raise Violation(f"{worker.name} has halted {place}: {owned.halted!r}") from owned.halted
        self._check_processes()
        self.scheduler.call_later(AUDIT_MS, self._audit)

    def _check_processes(self) -> None:
        processes = [worker.process for worker in self.workers] + [agent.process for agent in self.agents.values()]
        for process in processes:
            for failure in process.failures if process is not None else ():
                raise Violation(f"{process} failed: {failure!r}") from failure

    def worker_failed(self, worker: Worker, error: BaseException) -> None:
        """A worker stops by itself."""
        if isinstance(error, UnknownRules):
            worker.domains = self.rules
        elif not isinstance(error, KafkaUnreachable):
            raise Violation(f"{worker.name} stopped: {error!r}") from error

    def was_read(self, domain: str, partition: int, decision: Decision) -> None:
        """A client has accepted a decision."""
        self.read.append((domain, partition, decision))

    def is_quiet(self) -> bool:
        """Whether nothing is under way."""
        return self.unrest() is None

    def unrest(self) -> str | None:
        """What is still under way."""
        self._check_processes()
        for name, agent in self.agents.items():
            if not agent.done:
                return f"{name} has not finished"
        for (domain, index), truth in self.auditor.truths.items():
            end = self.log.bounds(commands_topic(domain), index)[1]
            last = -1
            for record in self.log.read(commands_topic(domain), index, truth.chain.head.cause + 1):
                last = record.offset
            if last >= 0:
                return f"{domain}/{index} has commands without decision before {end}"
            owners = [worker for worker in self.workers if (domain, index) in worker.owned]
            if len(owners) != 1:
                return f"{domain}/{index} has {len(owners)} owners"
            owned = owners[0].owned[domain, index]
            owner = owned.owner
            if owner.contested or owner.pending or owned.ticking or not owned.followups.done(owner.partition.head.seq):
                return f"{domain}/{index} is not settled"
        return None

    # -- faults

    def crash(self, target: str, down_ms: float, after_turns: int) -> None:
        """Kills a process; it starts again after so long."""
        started = self.worker(target) if target.startswith("worker-") else self.agents[target]
        process = started.process
        if process is not None and process.alive:
            process.on_crash.append(partial(self.scheduler.call_later, down_ms, started.start))
            process.crash(after_turns=after_turns)

    def pause(self, target: str, ms: float) -> None:
        process, _ = self._at(target)
        if process is not None:
            process.pause(ms)

    def cut(self, target: str, ms: float) -> None:
        """Cuts a process off from the log and the group."""
        _, link = self._at(target)
        if link is not None:
            link.cut(ms)

    def trouble(self, target: str, name: str, amount: float, ms: float) -> None:
        """Sets something on a process's link for so long, over its restarts."""
        until_ms = self.scheduler.now_ms + ms
        self._troubles.setdefault(target, {})[name] = until_ms, amount
        _, link = self._at(target)
        if link is not None:
            setattr(link, name, amount)
        self.scheduler.call_at(until_ms, partial(self._end_trouble, target, name))

    def _end_trouble(self, target: str, name: str) -> None:
        until_ms, _ = self._troubles.get(target, {}).get(name, (0.0, 0.0))
        _, link = self._at(target)
        if until_ms <= self.scheduler.now_ms and link is not None:
            setattr(link, name, 0.0)

    def keep_faults(self, target: str, link: Link, process: Process) -> None:
        """A process has started: what troubled its link still does."""
        for name, (until_ms, amount) in self._troubles.get(target, {}).items():
            if until_ms > self.scheduler.now_ms:
                setattr(link, name, amount)

    def _at(self, target: str) -> tuple[Process | None, Link | None]:
        if target.startswith("worker-"):
            worker = self.worker(target)
            return worker.process, getattr(worker, "link", None)
        agent = self.agents[target]
        return agent.process, agent.link


class Agent:
    """An agent over its whole life."""

    def __init__(self, cluster: Cluster, name: str, program: Program) -> None:
        self.cluster = cluster
        self.name = name
        self.program = program
        self.starts = 0
        self.done = False
        self.notes: dict[str, Any] = {}
        self.process: Process | None = None
        self.link: Link | None = None

    def start(self) -> None:
        """Starts it, unless it runs or has finished."""
        if self.done or (self.process is not None and self.process.alive):
            return
        self.starts += 1
        scheduler = self.cluster.scheduler
        rate = 1 + scheduler.stream(f"{self.name}/clock").uniform(-1, 1) * self.cluster.drift
        self.process = Process(scheduler, f"{self.name}.{self.starts}", rate=rate)
        self.link = Link(self.process, self.cluster.log, in_order=False)
        self.cluster.keep_faults(self.name, self.link, self.process)
        client = Client(self.cluster, self.name, self.process, self.link, self.notes)
        self.process.spawn(self._run(client))

    async def _run(self, client: Client) -> None:
        try:
            await self.program(client)
        except Exception as error:
            client.process.failures.append(error)
        self.done = True


def _settings() -> Settings:
    return Settings()


def _closed(names: Iterable[str] | None) -> list[str]:
    """Domains, and those to which their reactions send commands."""
    if names is None:
        return list(DOMAINS)
    wanted = set(names)
    while True:
        more = {other for name in wanted for other in _LEADS_TO.get(name, ())} - wanted
        if not more:
            return [name for name in DOMAINS if name in wanted]
        wanted |= more


_LEADS_TO: Final = {
    "locks": ("waits",),
    "limits": ("waits",),
    "tasks": ("roster",),
    "roster": ("tasks",),
    "state": ("transactions",),
    "transactions": ("state",),
    "proposals": ("signals",),
    "auctions": ("signals",),
    "sagas": ("signals",),
    "triggers": ("signals",),
    "hierarchy": ("signals",),
    "conflicts": ("signals", "hierarchy"),
}
"""To which domains what follows from a domain's events goes, by itself."""
