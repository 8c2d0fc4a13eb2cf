"""A fault run: workers and clients as processes on a Kafka of its own, faults in a random order, then the verdict.

Faults are bounded in number and time, and drawn from a seed (their effect is not: processes and the broker run free):
- kill -9 of a worker, which is started again under its name after up to one and a half session timeouts, so that some
  restarts find their partitions again and others find them taken over; every third time its data directory is deleted;
  every fourth time it is killed again while it starts;
- kill -9 of a client, whatever it holds, waits for or writes; another one takes its place, under another name;
- SIGSTOP of a worker for longer than the session timeout: it wakes as a zombie with decisions and records under way;
- SIGSTOP of a client for longer than its leases: it wakes with writes in hand;
- kill -9 and restart of the broker; SIGSTOP of the broker for longer than the session timeout.

The clients' programs are in `parts/`; some have a goal, and the run goes on until it is reached. Once all is quiet, one
who waits at the barrier is killed: the others must be let go by its lease, and pass the barrier afterwards.
"""

from __future__ import annotations

import random
import shutil
import tempfile
import time
from collections import Counter as Counts
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from subprocess import TimeoutExpired
from typing import NamedTuple

import msgspec

from accord import replay
from accord.testing.broker import NativeKafka
from tests.faults import checker, history, porcupine, steps
from tests.faults.api import Api
from tests.faults.checker import Decided, Violation
from tests.faults.cluster import PARTITIONS, Cluster
from tests.faults.history import Operation
from tests.faults.outages import DOMAINS, Fault, outages_ms, place
from tests.faults.parts import counting, gate, store
from tests.faults.parts.player import LEASE_MS, Config
from tests.faults.processes import Process
from tests.faults.resource import Counters

SERVED_BOUND_S = 45.0
"""After the start and the last fault: every partition answers every client, and every open operation has ended."""
GOAL_BOUND_S = 300.0
"""After the last fault: all has been counted and taken."""
PEACE_S = 3.0
"""How long the load goes on after that; nothing may fail."""
GATE_TRIES = 3
FIRST = 3
"""So many clients play nearly all parts."""
CALLERS_MAX = 10


class Plan(NamedTuple):
    """How many of each fault, and for how many clients."""

    kills: int = 4
    client_kills: int = 2
    freezes: int = 1
    client_freezes: int = 1
    broker_kills: int = 1
    broker_freezes: int = 0
    clients: int = 3
    """3 or more."""
    increments: int = 60
    """Of each client."""
    items: int = 25
    """Of each of the first clients, that go through the store."""
    think_ms: int = 60
    """Mean pause of a client's task."""
    pause_s_max: float = 2.5
    """Between one fault and the next."""
    seed: int = 1
    seconds_max: float = 240.0
    """No fault begins later than this after the first."""

    def parts(self, seat: int) -> list[str]:
        """What the client of a seat plays. All count; the first three do all else but the calls, which are of those
        who are not frozen: whoever wakes from that calls without a slot, and an API knows no fencing."""
        parts = ["counting"]
        if seat < FIRST:
            parts += ["rooms", "probes", "library", "seats", "gate", "store", "table", "pipeline"]
        if seat >= max(1, self.clients - CALLERS_MAX):
            parts.append("calls")
        return parts


class Report(msgspec.Struct):
    """What came of a run. `violations` must be empty. `outage_ms` are times without service, by kind of fault, of those
    faults that neither met an earlier outage nor were met by the next fault."""

    plan: dict[str, float]
    faults: dict[str, int]
    outage_ms: dict[str, dict[str, float]]
    commands: int
    decisions: int
    grants: int
    emitted: int
    counted: int
    taken: int
    passed: int
    broken: int
    calls: int
    guarded_writes: int
    stale_writes: int
    tasks: dict[str, int]
    failed: dict[str, int]
    skipped_records: int
    contests: int
    rebuilds: int
    verify: str
    seconds: float
    violations: list[Violation]


class Run:
    """One run. `tell` takes its progress, a line at a time."""

    def __init__(self, plan: Plan, directory: Path, tell: Callable[[str], None]) -> None:
        self.plan = plan
        self.directory = directory
        self.random = random.Random(plan.seed)
        self.began = time.monotonic()
        self._tell = tell
        self.faults: list[Fault] = []
        self.violations: list[Violation] = []
        self.clients: list[Process] = []
        """By seat."""
        self.histories: list[list[history.Reader]] = [[] for _ in range(plan.clients)]
        """Of all clients that have had a seat."""
        self.killed: set[str] = set()
        self.goal = plan.increments * plan.clients
        self.items = plan.items * FIRST

    def tell(self, text: str) -> None:
        self._tell(f"{time.monotonic() - self.began:6.1f} s  {text}")

    def run(self) -> Report:
        with ExitStack() as stack:
            kafka = stack.enter_context(NativeKafka())
            self.cluster = Cluster(kafka, self.directory, self.random, self.tell, self.violations)
            self.counters = stack.enter_context(Counters())
            self.api = stack.enter_context(Api())
            self.cluster.create_topics()
            stack.callback(self._kill_all)
            self._start()
            self._wait_until_served("the start")
            self._do_faults()
            self._wait_until_reached()
            self.quiet_ns = time.monotonic_ns()
            for worker in self.cluster.workers.values():  # a worker that joins takes partitions from the others
                self.cluster.wait_until_ready(worker)
            self._wait_until_served("the last fault")
            self.peace_ns = time.monotonic_ns()
            self._kill_at_gate()
            time.sleep(max(0.0, PEACE_S - (time.monotonic_ns() - self.peace_ns) / 1e9))
            self._finish()
            return self._judge()

    # -- clients

    def _start(self) -> None:
        self.cluster.start_workers()
        self.clients = [self._new_client(seat) for seat in range(self.plan.clients)]
        for client in self.clients:
            client.wait_until_ready()
        self.tell(f"{len(self.cluster.workers)} workers and {len(self.clients)} clients are up")

    def _new_client(self, seat: int) -> Process:
        """Starts one that does what is left to do for a seat."""
        histories, plan = self.histories[seat], self.plan
        name = f"c{seat}" + f".{len(histories)}" * bool(histories)
        path = self.directory / f"{name}.jsonl"
        histories.append(history.Reader(name, path))
        parts = plan.parts(seat)
        config = Config(
            name=name,
            seat=str(seat),
            history=str(path),
            seed=plan.seed * 10_000 + seat * 100 + len(histories),
            partitions=PARTITIONS,
            parts=parts,
            counters_port=self.counters.port,
            api_port=self.api.port,
            increments=plan.increments - self.counters.accepted(str(seat), counting.KEY),
            items=plan.items - self.counters.accepted(str(seat), store.PUT),
            items_total=self.items,
            parties=FIRST,
            think_ms=plan.think_ms,
            fills=seat == 0,
        )
        arguments = ["-m", "tests.faults.client", msgspec.json.encode(config).decode()]
        client = Process(name, arguments, "client ready", self.directory / f"{name}.log", self.cluster.environment())
        client.start()
        return client

    def _operations(self, seats: Iterable[int] | None = None) -> list[Operation]:
        """What the clients have noted so far; of some seats, or of all."""
        return [
            operation
            for seat in seats or range(self.plan.clients)
            for reader in self.histories[seat]
            for operation in reader.operations()
        ]

    def _kill(self, seat: int) -> None:
        self.clients[seat].kill()
        self.killed.add(self.clients[seat].name)
        self._note("client kill", self.clients[seat].name)

    # -- faults

    def _do_faults(self) -> None:
        plan, cluster = self.plan, self.cluster
        kinds = (
            [lambda: cluster.kill_worker(lambda what: self._note("kill", what))] * plan.kills
            + [lambda: cluster.freeze_worker(lambda what: self._note("freeze", what))] * plan.freezes
            + [self._kill_client] * plan.client_kills
            + [self._freeze_client] * plan.client_freezes
            + [lambda: cluster.kill_broker(lambda what: self._note("broker kill", what))] * plan.broker_kills
            + [lambda: cluster.freeze_broker(lambda what: self._note("broker freeze", what))] * plan.broker_freezes
        )
        self.random.shuffle(kinds)
        deadline = time.monotonic() + plan.seconds_max
        for number, fault in enumerate(kinds, start=1):
            time.sleep(self.random.uniform(0.5, self.plan.pause_s_max))
            self._look_for_the_dead()
            if time.monotonic() > deadline:
                self.violations.append(Violation("run", f"only {number - 1} of {len(kinds)} faults in the time given"))
                return
            fault()
            done = f"{self.counters.value(counting.KEY)} counted, {self.counters.value(store.TAKEN)} taken"
            self.tell(f"fault {number}/{len(kinds)}: {self.faults[-1].kind} {self.faults[-1].target}; {done}")

    def _note(self, kind: str, target: str) -> None:
        self.faults.append(Fault(kind, target, time.monotonic_ns()))

    def _kill_client(self) -> None:
        seat = self.random.randrange(self.plan.clients)
        self._kill(seat)
        time.sleep(self.random.uniform(0, 1))
        self.clients[seat] = self._new_client(seat)

    def _freeze_client(self) -> None:
        seats = [seat for seat in range(self.plan.clients) if "calls" not in self.plan.parts(seat)]
        client = self.clients[self.random.choice(seats)]
        client.freeze()
        self._note("client freeze", client.name)
        time.sleep(LEASE_MS / 1_000 + self.random.uniform(0.5, 1))
        client.thaw()

    def _look_for_the_dead(self) -> None:
        """Only we end processes. A client that found no broker at its start, and so did nothing, is started again."""
        self.cluster.look_for_the_dead()
        for client in self.clients:
            if not client.running and b"KafkaUnreachable" in client.printed() and not client.is_ready:
                self.tell(f"{client.name} found no broker; starting it again")
                client.kill()
                client.start()
            elif not client.running:
                raise RuntimeError(f"{client.name} ended by itself:\n{client.last_words()}")

    # -- after the faults

    def _wait_until_reached(self) -> None:
        """Until all has been counted and taken."""
        began = time.monotonic()
        while (counted := self.counters.value(counting.KEY)) < self.goal or (
            taken := self.counters.value(store.TAKEN)
        ) < self.items:
            if time.monotonic() > began + GOAL_BOUND_S:
                taken = self.counters.value(store.TAKEN)
                text = f"{counted} of {self.goal} counted, {taken} of {self.items} taken"
                self.violations.append(Violation("served", f"{text} {GOAL_BOUND_S:.0f} s after the last fault"))
                return
            self._look_for_the_dead()
            time.sleep(0.1)
        self.tell(f"{counted} counted, {taken} taken")

    def _wait_until_served(self, what: str) -> None:
        """Until every client has had an answer from every partition to a question asked from now on."""
        began_ns = time.monotonic_ns()
        places = [f"{domain}/{partition}" for domain in DOMAINS for partition in range(PARTITIONS)]
        wanted = {(client.name, place) for client in self.clients[:FIRST] for place in places}
        while missing := wanted - {
            (o.process, place(o)) for o in self._operations(range(FIRST)) if o.ok and o.invoked_ns > began_ns
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
            self._kill(victim)
            waited = self._at_gate(lambda waits, o=other: [w for w in waits if (w.process, w.op) == o and w.ended_ns])
            self.clients[victim] = self._new_client(victim)
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
        seats = {self.clients[seat].name: seat for seat in range(FIRST) if str(seat) != gate.LATE_SEAT}

        def found(waits: list[Operation]) -> list[Operation]:
            passed_ns = max([o.ended_ns or 0 for o in waits if o.ok], default=0)
            waiting = [o for o in waits if o.ended_ns is None and o.process not in self.killed]
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
        while not (wanted := found([o for o in self._operations(range(FIRST)) if o.kind == "wait"])):
            if time.monotonic() > deadline:
                text = f"the barrier was not waited at, or not left, for {SERVED_BOUND_S:.0f} s"
                self.violations.append(Violation("gate", text))
                break
            time.sleep(0.1)
        return wanted

    def _finish(self) -> None:
        self._look_for_the_dead()
        for client in self.clients:
            client.close_input()
        for client in self.clients:
            try:
                status = client.wait(SERVED_BOUND_S)
            except TimeoutExpired:
                self.violations.append(Violation("served", f"{client.name} hangs:\n{client.last_words()}"))
                client.kill()
                continue
            if status != 0:
                raise RuntimeError(f"{client.name} failed ({status}):\n{client.last_words()}")
        self.log = self._decided()
        self.cluster.stop_workers()
        self.tell("clients and workers have stopped")

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

    def _kill_all(self) -> None:
        for process in self.clients:
            process.kill()
        self.cluster.kill_all()

    # -- the verdict

    def _judge(self) -> Report:
        operations = self._operations()
        log = self.log
        tasks, wrong = steps.judged(log, int(SERVED_BOUND_S * 1_000))
        self.violations += wrong
        self.violations += checker.one_holder(operations)
        self.violations += checker.in_turn(operations)
        self.violations += checker.guarded(self.counters.writes, operations)
        self.violations += checker.acknowledged(operations, log)
        self.violations += checker.chained(log)
        bound_ms = int(SERVED_BOUND_S * 1_000)
        self.violations += checker.served(operations, self.quiet_ns, self.peace_ns, bound_ms, self.killed)
        self.violations += porcupine.linearizable(operations)
        self.violations += self._reached(operations)
        with replay.open(self.cluster.settings) as recorded:
            verified = recorded.verify()
        if not verified.ok:
            self.violations.append(Violation("verify", f"{verified.divergences[:3]} {verified.gaps[:3]}"))
        printed = self.cluster.printed()
        done = Counts(o.kind for o in operations if o.ok)
        return Report(
            plan=self.plan._asdict(),
            faults=dict(Counts(fault.kind for fault in self.faults)),
            outage_ms=dict(outages_ms(self.faults, operations)),
            commands=sum(partition.commands for partition in log.values()),
            decisions=sum(len(partition.events.accepted) for partition in log.values()),
            grants=done["acquire"] + done["take"],
            emitted=done["emit"],
            counted=self.counters.value(counting.KEY),
            taken=self.counters.value(store.TAKEN),
            passed=done["wait"] // FIRST,
            broken=sum(o.error == "BrokenBarrier" for o in operations),
            calls=self.api.answered,
            guarded_writes=sum(w.accepted and w.value is not None for w in self.counters.writes),
            stale_writes=sum(not w.accepted for w in self.counters.writes),
            tasks=tasks._asdict(),
            failed=dict(Counts(f"{o.kind} {o.error}" for o in operations if o.error)),
            skipped_records=sum(len(partition.events.skipped) for partition in log.values()),
            contests=printed.count(b"contested partition"),
            rebuilds=printed.count(b"contested partition differs"),
            verify="identical" if verified.ok else "different",
            seconds=round(time.monotonic() - self.began, 1),
            violations=self.violations,
        )

    def _reached(self, operations: list[Operation]) -> Iterator[Violation]:
        """What was counted, put, taken, called and filled is what it should be in the end."""
        accepted = Counts(w.key for w in self.counters.writes if w.accepted and w.value is not None)
        for key, wanted in ((counting.KEY, self.goal), (store.PUT, self.items), (store.TAKEN, self.items)):
            if not wanted == accepted[key] == self.counters.value(key):
                text = f"{key} is {self.counters.value(key)} after {accepted[key]} accepted writes, not {wanted}"
                yield Violation("reached", text)
        for operation in operations:
            if operation.kind == "look" and operation.error:
                yield Violation("reached", f"a writer beside a reader: {operation}")
        if self.api.rejected or not self.api.answered:
            yield Violation("reached", f"the API rejected {self.api.rejected} calls and answered {self.api.answered}")
        if not any(o.kind == "fill" and o.ok for o in operations):
            yield Violation("reached", "nobody had all permits of the semaphore in the end")


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
