"""The clients of a fault run: how they are started, hit, watched and heard.

- `client kill`: kill -9, whatever it holds, waits for or writes; another one takes its place, under another name.
- `client freeze`: SIGSTOP for longer than its leases: it wakes with writes in hand.
- `client cut`: cut off from the broker for longer than its leases, while it goes on with what it believes to hold.
"""

from __future__ import annotations

import random
import time
from collections import Counter as Counts
from collections.abc import Callable, Iterable
from subprocess import TimeoutExpired

import msgspec

from tests.faults import history
from tests.faults.api import Api
from tests.faults.checker import Violation
from tests.faults.cluster import PARTITIONS, Cluster
from tests.faults.history import Operation
from tests.faults.parts import counting, store
from tests.faults.parts.player import LEASE_MS, Config
from tests.faults.plan import FIRST, Plan
from tests.faults.processes import Process
from tests.faults.resource import Counters


def linked() -> list[str]:
    """The names of the links that clients have: by seat, whoever has it."""
    return [_link(seat) for seat in range(FIRST)]


class Clients:
    """One at each seat. `killed` are the names of those that are gone.

    Args:
        generator: draws whom a fault hits.
        note: is told what was done to whom, at the moment at which it begins to hurt.
        done: counts what a run is to reach; see `report.Report.done`.
    """

    def __init__(
        self,
        plan: Plan,
        cluster: Cluster,
        counters: Counters,
        api: Api,
        generator: random.Random,
        note: Callable[[str, str], None],
        done: Counts[str],
    ) -> None:
        self.plan = plan
        self.cluster = cluster
        self.counters = counters
        self.api = api
        self.random = generator
        self.killed: set[str] = set()
        self.at: list[Process] = []
        """By seat."""
        self._histories: list[list[history.Reader]] = [[] for _ in range(plan.clients)]
        """Of all clients that have had a seat."""
        self._note = note
        self._done = done

    def start(self) -> None:
        self.at = [self._new(seat) for seat in range(self.plan.clients)]
        for client in self.at:
            client.wait_until_ready()

    def operations(self, seats: Iterable[int] | None = None, since_ns: int = 0) -> list[Operation]:
        """What they have noted so far, of some seats or of all, without what began before a time."""
        return [
            operation
            for seat in seats or range(self.plan.clients)
            for reader in self._histories[seat]
            for operation in reader.operations(since_ns)
        ]

    # -- faults

    def kill(self) -> None:
        seat = self.random.randrange(self.plan.clients)
        self.kill_at(seat)
        time.sleep(self.random.uniform(0, 1))
        self.replace(seat)

    def kill_at(self, seat: int) -> None:
        self.at[seat].kill()
        self.killed.add(self.at[seat].name)
        self._done["client_kills"] += 1
        self._note("client kill", self.at[seat].name)

    def replace(self, seat: int) -> None:
        """Starts one in place of one that was killed."""
        self.at[seat] = self._new(seat)

    def freeze(self) -> None:
        seats = [seat for seat in range(self.plan.clients) if "calls" not in self.plan.parts(seat)]
        client = self.at[self.random.choice(seats)]
        client.freeze()
        self._note("client freeze", client.name)
        time.sleep(LEASE_MS / 1_000 + self.random.uniform(0.5, 1))
        client.thaw()
        self._done["pauses"] += 1

    def cut(self) -> None:
        seat = self.random.randrange(FIRST)
        link = self.cluster.links[_link(seat)]
        link.hold()
        self._note("client cut", self.at[seat].name)
        time.sleep(LEASE_MS / 1_000 + self.random.uniform(0.5, 2))
        if self.random.random() < 0.5:
            link.drop()
        link.heal()

    # -- watching

    def look_for_the_dead(self) -> None:
        """Only we end processes. A client that found no broker at its start, and so did nothing, is started again.

        Raises:
            RuntimeError: one ended by itself.
        """
        for client in self.at:
            if not client.running and b"KafkaUnreachable" in client.printed() and not client.is_ready:
                self.cluster.tell(f"{client.name} found no broker; starting it again")
                client.kill()
                client.start()
            elif not client.running:
                raise RuntimeError(f"{client.name} ended by itself:\n{client.last_words()}")

    def finish(self, seconds_max: float) -> Iterable[Violation]:
        """Tells them to end what they do, and waits.

        Raises:
            RuntimeError: one failed.
        """
        for client in self.at:
            client.close_input()
        for client in self.at:
            try:
                status = client.wait(seconds_max)
            except TimeoutExpired:
                yield Violation("served", f"{client.name} hangs:\n{client.last_words()}")
                client.kill()
                continue
            if status != 0:
                raise RuntimeError(f"{client.name} failed ({status}):\n{client.last_words()}")

    def end(self) -> None:
        for process in self.at:
            process.kill()

    def _new(self, seat: int) -> Process:
        """Starts one that does what is left to do for a seat."""
        histories, plan, directory = self._histories[seat], self.plan, self.cluster.directory
        name = f"c{seat}" + f".{len(histories)}" * bool(histories)
        path = directory / f"{name}.jsonl"
        histories.append(history.Reader(name, path))
        config = Config(
            name=name,
            seat=str(seat),
            history=str(path),
            seed=plan.seed * 10_000 + seat * 100 + len(histories),
            partitions=PARTITIONS,
            parts=plan.parts(seat),
            counters_port=self.counters.port,
            api_port=self.api.port,
            increments=plan.increments - self.counters.accepted(str(seat), counting.KEY),
            items=plan.items - self.counters.accepted(str(seat), store.PUT),
            items_total=plan.items * FIRST,
            parties=FIRST,
            think_ms=plan.think_ms,
            load_per_s=plan.load_per_s / FIRST,
            fills=seat == 0,
        )
        arguments = ["-m", "tests.faults.client", msgspec.json.encode(config).decode()]
        environment = self.cluster.environment(_link(seat))
        client = Process(name, arguments, "client ready", directory / f"{name}.log", environment)
        client.start()
        return client


def _link(seat: int) -> str:
    return f"seat-{seat}"
