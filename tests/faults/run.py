"""A fault run: workers and clients as processes on a Kafka of its own, faults in a random order, then the verdict.

Faults are bounded in number and time, and drawn from a seed (their effect is not: processes and the broker run free).
What is done to workers and the broker is in `hits.py`, to clients in `clients.py`. About every second fault comes when
service is back after the one before, the others when it may not be.

The clients' programs are in `parts/`; some have a goal, and the run goes on until it is reached. Once all is quiet, one
who waits at the barrier is killed: the others must be let go by its lease, and pass the barrier afterwards.
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import time
from collections import Counter as Counts
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.faults.api import Api
from tests.faults.checker import Decided, Violation
from tests.faults.clients import Clients, linked
from tests.faults.cluster import Cluster
from tests.faults.disk import may_mount
from tests.faults.history import Operation
from tests.faults.hits import Hits
from tests.faults.outages import PLACES, Answers, Fault, place
from tests.faults.parts import counting, gate, store
from tests.faults.plan import FIRST, Plan
from tests.faults.proxy import Network
from tests.faults.report import Report
from tests.faults.resource import Counters
from tests.faults.verdict import Evidence, judge

SERVED_BOUND_S = 45.0
"""After the start and the last fault: every partition answers every client, and every open operation has ended."""
RECOVERED_MAX_S = 15.0
"""A fault that waits until service is back waits no longer than this."""
GOAL_BOUND_S = 600.0
"""After the last fault: all has been counted and taken."""
PEACE_S = 3.0
"""How long the load goes on after that; nothing may fail."""
GATE_TRIES = 3
GATE_BEFORE_S = 30.0
"""Who waits at the barrier has not done so for longer."""


class Run:
    """One run. `tell` takes its progress, a line at a time."""

    def __init__(self, plan: Plan, directory: Path, tell: Callable[[str], None]) -> None:
        self.plan = plan
        self.directory = directory
        self.random = random.Random(plan.seed)
        self.began = time.monotonic()
        self._tell = tell
        self.faults: list[Fault] = []
        self.done: Counts[str] = Counts()
        self.violations: list[Violation] = []
        self.loads: list[float] = []

    def tell(self, text: str) -> None:
        self._tell(f"{time.monotonic() - self.began:6.1f} s  {text}")

    def run(self) -> Report:
        disks = self.plan.full_disks > 0 and may_mount()
        if self.plan.full_disks and not disks:
            self.tell("no file system may be mounted here: no disk is going to be full")
            self.plan = self.plan._replace(full_disks=0)
        with ExitStack() as stack:
            network = stack.enter_context(Network())
            self.cluster = Cluster(network, self.directory, self.tell, self.violations, disks=disks, linked=linked())
            stack.enter_context(self.cluster.kafka)
            self.counters = stack.enter_context(Counters())
            self.api = stack.enter_context(Api())
            self.clients = Clients(self.plan, self.cluster, self.counters, self.api, self.random, self._note, self.done)
            self.cluster.create_topics()
            stack.callback(self.cluster.end)
            stack.callback(self.clients.end)
            self._start()
            self._wait_until_served("the start")
            faults_ms = self._do_faults()
            self._wait_until_reached()
            quiet_ns = time.monotonic_ns()
            self.cluster.wait_until_all_ready()  # a worker that joins takes partitions from the others
            self._wait_until_served("the last fault")
            peace_ns = time.monotonic_ns()
            if self.plan.gate:
                self._kill_at_gate()
            time.sleep(max(0.0, PEACE_S - (time.monotonic_ns() - peace_ns) / 1e9))
            log = self._finish()
            evidence = Evidence(
                plan=self.plan,
                cluster=self.cluster,
                counters=self.counters,
                api=self.api,
                operations=self.clients.operations(),
                log=log,
                faults=self.faults,
                done=self.done,
                killed=self.clients.killed,
                faults_ms=faults_ms,
                quiet_ns=quiet_ns,
                peace_ns=peace_ns,
                bound_ms=int(SERVED_BOUND_S * 1_000),
                loads=self.loads,
                cores=os.cpu_count() or 1,
                seconds=round(time.monotonic() - self.began, 1),
            )
            return judge(evidence, self.violations)

    def _start(self) -> None:
        self.cluster.start_workers()
        self.clients.start()
        self.tell(f"{len(self.cluster.workers)} workers and {len(self.clients.at)} clients are up")

    # -- faults

    def _do_faults(self) -> tuple[int, int]:
        """When the first fault began and the last one had been done, in ms since 1970."""
        plan, hits, clients = self.plan, Hits(self.cluster, self.random, self._note, self.done), self.clients
        kinds: dict[str, Callable[[], None]] = {
            "kill": hits.kill,
            "freeze": hits.freeze,
            "cut": hits.cut,
            "drop": hits.drop,
            "delay": hits.delay,
            "full disk": hits.full_disk,
            "join": hits.join,
            "upgrade": hits.upgrade,
            "broker kill": hits.broker_kill,
            "broker freeze": hits.broker_freeze,
            "client kill": clients.kill,
            "client freeze": clients.freeze,
            "client cut": clients.cut,
        }
        began_ms, began = time.time_ns() // 1_000_000, time.monotonic()
        bound_s = plan.seconds or plan.seconds_max
        for number, kind in enumerate(plan.faults(self.random), start=1):
            if self.random.random() < 0.5:
                self._wait_until_recovered()
            time.sleep(self.random.uniform(min(0.5, plan.pause_s_max), plan.pause_s_max))
            self.cluster.look_for_the_dead()
            clients.look_for_the_dead()
            if time.monotonic() > began + bound_s:
                if not plan.seconds:
                    text = f"only {number - 1} faults in the time given"
                    self.violations.append(Violation("run", text))
                break
            kinds[kind]()
            self.loads.append(os.getloadavg()[0])
            progress = f"{self.counters.value(counting.KEY)} counted, {self.counters.value(store.TAKEN)} taken"
            self.tell(f"fault {number}: {self.faults[-1].kind} {self.faults[-1].target}; {progress}")
        return began_ms, time.time_ns() // 1_000_000

    def _note(self, kind: str, target: str) -> None:
        self.faults.append(Fault(kind, target, time.monotonic_ns()))

    def _wait_until_recovered(self) -> None:
        """Until all partitions have answered what was asked after the last fault; for a bounded time."""
        if not self.faults:
            return
        at_ns, deadline = self.faults[-1].at_ns, time.monotonic() + RECOVERED_MAX_S
        while time.monotonic() < deadline:
            if Answers(self.clients.operations(since_ns=at_ns)).after(at_ns).keys() >= PLACES:
                return
            time.sleep(0.2)

    # -- after the faults

    def _wait_until_reached(self) -> None:
        """Until all has been counted and taken."""
        began = time.monotonic()
        goal, items = self.plan.increments * self.plan.clients, self.plan.items * FIRST
        while (counted := self.counters.value(counting.KEY)) < goal or (
            taken := self.counters.value(store.TAKEN)
        ) < items:
            if time.monotonic() > began + GOAL_BOUND_S:
                taken = self.counters.value(store.TAKEN)
                text = f"{counted} of {goal} counted, {taken} of {items} taken"
                self.violations.append(Violation("served", f"{text} {GOAL_BOUND_S:.0f} s after the last fault"))
                return
            self.cluster.look_for_the_dead()
            self.clients.look_for_the_dead()
            time.sleep(0.1)
        self.tell(f"{counted} counted, {taken} taken")

    def _wait_until_served(self, what: str) -> None:
        """Until every client has had an answer from every partition to a question asked from now on."""
        began_ns = time.monotonic_ns()
        wanted = {(client.name, place) for client in self.clients.at[:FIRST] for place in PLACES}
        while missing := wanted - {
            (o.process, place(o)) for o in self.clients.operations(range(FIRST), began_ns) if o.ok
        }:
            if time.monotonic_ns() > began_ns + SERVED_BOUND_S * 1e9:
                text = f"{sorted(missing)} without an answer {SERVED_BOUND_S:.0f} s after {what}"
                self.violations.append(Violation("served", text))
                self.cluster.print_stacks()
                break
            time.sleep(0.5)
        self.tell(
            f"every client is answered by every partition {(time.monotonic_ns() - began_ns) / 1e9:.1f} s after {what}"
        )

    def _kill_at_gate(self) -> None:
        """Kills one who waits at the barrier: by its lease the others are let go, before the last one comes, and with
        the one that takes its place they pass."""
        for _ in range(GATE_TRIES):
            if (two := self._two_at_gate()) is None:
                return
            victim, other = two
            killed_ns = time.monotonic_ns()
            self.clients.kill_at(victim)
            waited = self._at_gate(lambda waits, o=other: [w for w in waits if (w.process, w.op) == o and w.ended_ns])
            self.clients.replace(victim)
            if not waited:
                return
            if waited[0].error == "BrokenBarrier":
                break
        else:
            self.violations.append(Violation("gate", f"nobody was let go in {GATE_TRIES} tries"))
            return
        let_go_ms = ((waited[0].ended_ns or 0) - killed_ns) / 1e6
        self.tell(f"who waited with one that was killed was let go {let_go_ms:.0f} ms later")
        since_ns = time.monotonic_ns()
        self._at_gate(lambda found: [o for o in found if o.ok and o.invoked_ns > since_ns])

    def _two_at_gate(self) -> tuple[int, tuple[str, int]] | None:
        """Waits until two are at the barrier and the third has just passed it: the seat of one and the other's wait."""
        seats = {self.clients.at[seat].name: seat for seat in range(FIRST) if str(seat) != gate.LATE_SEAT}

        def found(waits: list[Operation]) -> list[Operation]:
            passed_ns, waiting = since_the_last_pass(waits, self.clients.killed)
            just_passed = time.monotonic_ns() < passed_ns + gate.LATE_S * 1e9 / 4
            there = waiting if just_passed and {o.process for o in waiting} == set(seats) else []
            # The histories are read one after the other: only who waits at a second look, too, did so at one time.
            ops = [(o.process, o.op) for o in there]
            seen.append(ops)
            return there if seen[-2:] == [ops, ops] else []

        seen: list[list[tuple[str, int]]] = []
        both = self._at_gate(found)
        if not both:
            return None
        one, other = both
        return seats[one.process], (other.process, other.op)

    def _at_gate(self, found: Callable[[list[Operation]], list[Operation]]) -> list[Operation]:
        """Waits until what is wanted is among the waits at the barrier; none if it takes too long, which is wrong."""
        deadline = time.monotonic() + SERVED_BOUND_S
        since_ns = time.monotonic_ns() - round(GATE_BEFORE_S * 1e9)  # all that was done would take long to look at
        while not (wanted := found([o for o in self.clients.operations(range(FIRST), since_ns) if o.kind == "wait"])):
            if time.monotonic() > deadline:
                text = f"the barrier was not waited at, or not left, for {SERVED_BOUND_S:.0f} s"
                self.violations.append(Violation("gate", text))
                break
            time.sleep(0.1)
        return wanted

    def _finish(self) -> dict[str, Decided]:
        """Ends clients and workers; returns the log."""
        self.cluster.look_for_the_dead()
        self.clients.look_for_the_dead()
        self.violations += self.clients.finish(SERVED_BOUND_S)
        self.tell("the clients have ended")
        log = self._decided()
        self.tell("every command is decided")
        self.cluster.stop_workers()
        self.tell("the workers have stopped")
        return log

    def _decided(self) -> dict[str, Decided]:
        """The log once every command in it is decided. A client that leaves brings commands of process managers, which
        come after its own; a worker that stopped meanwhile would leave them to the next one."""
        deadline = time.monotonic() + SERVED_BOUND_S
        while True:
            log = self.cluster.log()
            if all(len(partition.events.accepted) == partition.commands + 1 for partition in log.values()):
                return log
            if time.monotonic() > deadline:  # the checker tells which are not
                self.cluster.print_stacks()
                return log


def since_the_last_pass(waits: Sequence[Operation], killed: Collection[str]) -> tuple[int, list[Operation]]:
    """When the barrier was passed last, and who has come to it since. Who came before has passed, too, even if it has
    not noted that yet."""
    passed_ns = max([o.ended_ns or 0 for o in waits if o.ok], default=0)
    came = [o for o in waits if o.ended_ns is None and o.invoked_ns > passed_ns]
    return passed_ns, [o for o in came if o.process not in killed]


def run(plan: Plan, tell: Callable[[str], None] = print, keep: bool = False) -> Report:
    """Does a run in a directory of its own, which is kept when something is wrong.

    Args:
        keep: keep it in any case.
    """
    directory = Path(tempfile.mkdtemp(prefix="accord-faults-"))
    right = False
    try:
        report = Run(plan, directory, tell).run()
        right = not report.violations
    finally:
        if right and not keep:
            shutil.rmtree(directory)
        else:
            tell(f"histories and logs: {directory}")
    return report
