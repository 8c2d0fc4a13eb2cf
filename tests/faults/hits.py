"""What is done to workers, their disks, and the broker.

- `kill`: kill -9 of a worker, which is started again under its name after up to one and a half session timeouts, so
  that some restarts find their partitions again and others find them taken over; every third time its data is deleted;
  every fourth time it is killed again while it starts.
- `freeze`: SIGSTOP of a worker until another one has its partitions: it wakes as a second owner, with decisions and
  records under way.
- `cut`: a worker is cut off from the broker until another one has its partitions, and goes on deciding meanwhile: what
  it has written then arrives, or is dropped.
- `drop`: all connections of a process are reset, several times. `delay`: what a worker sends and is sent comes late.
- `full disk`: nothing more can be written where a worker has its data, while a worker is killed and comes back.
- `join`: a third worker comes and goes: two rebalances.
- `upgrade`: one worker is started again with another version of the rules, which is then made the one in force: the
  other stops its partitions at the switch, and when it is ended the first one takes them over.
- `broker kill`, `broker freeze`: kill -9 and restart; SIGSTOP for longer than the session timeout.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections import Counter as Counts
from collections.abc import Callable

from accord.admin import switch_rules
from tests.faults import rules
from tests.faults.cluster import HEARTBEAT_MS, JOINER, SESSION_TIMEOUT_MS, WORKERS, Cluster
from tests.faults.processes import Process

TAKEN_OVER_S = 6.0
"""Once its session may have expired, who is frozen or cut off is so no longer than this, whoever has its partitions."""
STOPS_S = 5.0
"""A worker that lacks a version comes to the switch in this time, if it has partitions of the domain."""
TAKEN_ON = b"partition recovered"
HALTED = b"partition halted"


class Hits:
    """Each method does one fault; `note(kind, target)` is called at the moment at which it begins to hurt.

    Args:
        generator: draws what is random about faults.
        done: counts what a run is to reach; see `report.Report.done`.
    """

    def __init__(
        self, cluster: Cluster, generator: random.Random, note: Callable[[str, str], None], done: Counts[str]
    ) -> None:
        self.cluster = cluster
        self.random = generator
        self._note = note
        self.done = done
        self._kills = 0
        self._cuts = 0

    def kill(self) -> None:
        worker = self._worker()
        self._kills += 1
        wiped, again = self._kills % 3 == 0, self._kills % 4 == 0
        self._kill(worker)
        self._note("kill", worker.name + ", its data deleted" * wiped + ", killed again while it started" * again)
        if wiped:
            shutil.rmtree(self.cluster.data_of(worker.name) / worker.name, ignore_errors=True)
        time.sleep(self.random.uniform(0, 1.5 * SESSION_TIMEOUT_MS / 1_000))
        worker.start()
        if again:
            time.sleep(self.random.uniform(0.5, 3))
            self._kill(worker)
            worker.start()

    def freeze(self) -> None:
        worker = self._one_of_all()
        worker.freeze()
        self._note("freeze", worker.name)
        self._second_owner(worker)
        worker.thaw()
        self.done["pauses"] += 1  # the session timeout is longer than the lease

    def cut(self) -> None:
        worker = self._one_of_all()
        link = self.cluster.links[worker.name]
        self._cuts += 1
        lost = self._cuts % 2 == 0
        link.hold()
        self._note("cut", worker.name + ", what it had sent dropped" * lost)
        self._second_owner(worker)
        if lost:
            link.drop()
        link.heal()

    def drop(self) -> None:
        name = self.random.choice([name for name in self.cluster.links if name != JOINER])
        for times in range(self.random.randint(1, 4)):
            count = self.cluster.links[name].drop()
            if times == 0:
                self._note("drop", f"{count} connections of {name}")
            time.sleep(self.random.uniform(0, 0.5))

    def delay(self) -> None:
        worker = self._worker()
        delay_s, link = self.random.uniform(0.05, 0.4), self.cluster.links[worker.name]
        link.slow(delay_s)
        self._note("delay", f"{worker.name}, {1_000 * delay_s:.0f} ms")
        time.sleep(self.random.uniform(2, 4))
        link.slow(0)

    def full_disk(self) -> None:
        worker = self._one_of_all()
        disk = self.cluster.disks[worker.name]
        disk.fill()
        self._note("full disk", worker.name)
        time.sleep(self.random.uniform(2, 4))
        hit = self.random.choice([worker, *self.cluster.others(worker)])  # which is to open its tables, or take over
        self._kill(hit)
        time.sleep(self.random.uniform(0, 1.5 * SESSION_TIMEOUT_MS / 1_000))
        hit.start()
        self.cluster.wait_until_ready(hit)
        time.sleep(self.random.uniform(0, 2))
        disk.free()

    def join(self) -> None:
        cluster = self.cluster
        cluster.wait_until_all_ready()
        joiner = cluster.start_worker(JOINER)
        self._note("join", JOINER)
        cluster.wait_until_ready(joiner)
        time.sleep(self.random.uniform(0.5, 2))
        if self.random.random() < 0.5:
            self._kill(joiner)
        else:
            joiner.terminate()
        cluster.forget(JOINER)

    def upgrade(self) -> None:
        cluster = self.cluster
        older = self._one_of_all()
        (newer,) = cluster.others(older)
        cluster.rules += 1
        newer.arguments = cluster.program()
        newer.terminate()
        newer.start()
        cluster.wait_until_ready(newer)
        rules.have(cluster.rules)
        before = {worker.name: worker.log_bytes for worker in (older, newer)}
        switch_rules(cluster.settings, rules.NAME, cluster.rules, "a fault run")
        self._note("upgrade", f"{newer.name} to version {cluster.rules}, {older.name} without it")
        if self._printed(older, before[older.name], HALTED, STOPS_S):
            self.done["stopped_at_unknown_rules"] += 1
        older.terminate()
        self._printed(newer, before[newer.name], TAKEN_ON, TAKEN_OVER_S)
        older.arguments = cluster.program()
        older.start()

    def broker_kill(self) -> None:
        self.cluster.kafka.kill()
        self._note("broker kill", "")
        time.sleep(self.random.uniform(0, 1))
        self.cluster.kafka.restart()
        self.done["broker_restarts"] += 1

    def broker_freeze(self) -> None:
        pid = self.cluster.kafka.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        self._note("broker freeze", "")
        time.sleep(SESSION_TIMEOUT_MS / 1_000 + self.random.uniform(0.5, 2))
        os.kill(pid, signal.SIGCONT)

    # -- helpers

    def _worker(self) -> Process:
        """One of the workers, once it has started; the other one may be starting."""
        worker = self.cluster.workers[self.random.choice(WORKERS)]
        self.cluster.wait_until_ready(worker)
        return worker

    def _one_of_all(self) -> Process:
        """One of the workers, once all have started."""
        self.cluster.wait_until_all_ready()
        return self._worker()

    def _kill(self, worker: Process) -> None:
        worker.kill()
        self.done["kills"] += 1

    def _second_owner(self, first: Process) -> None:
        """Waits until another one has taken on a partition whose owner is frozen or cut off, and a little longer.

        Before its session can have expired, a partition that comes to another one was handed over.
        """
        time.sleep((SESSION_TIMEOUT_MS - HEARTBEAT_MS) / 1_000)
        before = {where: taken for where, taken in self.cluster.taken_on().items() if taken[0] == first.name}
        deadline = time.monotonic() + TAKEN_OVER_S
        while time.monotonic() < deadline:
            now = self.cluster.taken_on()
            if any(now[where][0] != first.name for where in before):
                self.done["two_owners"] += 1
                break
            time.sleep(0.1)
        time.sleep(self.random.uniform(0, 1))

    def _printed(self, worker: Process, since_bytes: int, text: bytes, seconds_max: float) -> bool:
        deadline = time.monotonic() + seconds_max
        while text not in worker.printed(since_bytes):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True
