"""Client processes that go through cycles of a lock, all at once, and tell how long each took.

`time.perf_counter` is one clock for all processes of a machine, so they start and stop together by its time.
"""

from __future__ import annotations

import multiprocessing
import random
import time
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from benchmarks.peers.peer import Address, Peer
from benchmarks.report import quantile

FIRST_CYCLES: Final = 40
"""Cycles of each client before it counts, so that it has met what it needs: connections, partitions, paths."""
START_S: Final = 0.1
ANSWER_S: Final = 120.0


class Workload(NamedTuple):
    """How many clients go through cycles, and over how many locks; which one each time is drawn by chance."""

    name: str
    clients: int
    locks: int


class Figures(NamedTuple):
    """What came of a workload. `least` is the cycles of the client served least over those of the one served most,
    `jain` Jain's index of fairness: 1 if all had the same, 1/n if one had all."""

    per_second: float
    p50_ms: float
    p99_ms: float
    least: float
    jain: float


class Clients:
    """A number of client processes of one peer; a context manager."""

    def __init__(self, peer: Peer, address: Address, count: int) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._pipes: list[Connection] = []
        self._processes = []
        for number in range(count):
            mine, theirs = spawn.Pipe()
            process = spawn.Process(target=run, args=(theirs, peer.client, address, number), daemon=True)
            process.start()
            theirs.close()  # so that its end is noticed
            self._pipes.append(mine)
            self._processes.append(process)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join(ANSWER_S if error is None else 1.0)
            process.kill()
            process.join()

    def go(self, workload: Workload, seconds: float) -> Figures:
        """Has as many of the clients as it says go through a workload.

        Raises:
            RuntimeError: a client failed, or did not answer within `ANSWER_S`.
        """
        pipes = self._pipes[: workload.clients]
        self._ask(pipes, workload)
        begin_s = time.perf_counter() + START_S
        done: list[list[float]] = self._ask(pipes, (begin_s, begin_s + seconds))
        return figures(done, seconds)

    def _ask(self, pipes: Sequence[Connection], question: Any) -> list[Any]:
        """Asks every one, then waits for every answer."""
        for pipe in pipes:
            pipe.send(question)
        answers = []
        for pipe in pipes:
            if not pipe.poll(ANSWER_S):
                raise RuntimeError(f"a client does not answer for {ANSWER_S:g} s")
            try:
                answers.append(pipe.recv())
            except EOFError:
                raise RuntimeError("a client ended; what it said is above") from None
        return answers


def figures(done: Sequence[Sequence[float]], seconds: float) -> Figures:
    """Of the seconds that each acquire of each client took."""
    counts = [len(times) for times in done]
    times_ms = [1_000 * took for times in done for took in times]
    if not times_ms:
        raise RuntimeError(f"nobody got a lock in {seconds:g} s")
    jain = sum(counts) ** 2 / (len(counts) * sum(count**2 for count in counts))
    return Figures(
        len(times_ms) / seconds,
        quantile(times_ms, 0.5),
        quantile(times_ms, 0.99),
        min(counts) / max(counts),
        jain,
    )


def run(pipe: Connection, client: Any, address: Address, number: int) -> None:
    """A client process: for each workload a few cycles first, then from start to end; tells how long acquires took."""
    chance = random.Random(number)
    with client(address, number) as cycle:
        for workload in _questions(pipe):
            names = [f"{workload.name}-{lock}" for lock in range(workload.locks)]
            for _ in range(FIRST_CYCLES):
                cycle(chance.choice(names))
            pipe.send(None)
            begin_s, end_s = pipe.recv()
            time.sleep(max(0.0, begin_s - time.perf_counter()))
            took = []
            while (asked_s := time.perf_counter()) < end_s:
                granted_s = cycle(chance.choice(names))
                if time.perf_counter() <= end_s:
                    took.append(granted_s - asked_s)
            pipe.send(took)


def _questions(pipe: Connection) -> Iterator[Any]:
    """What the parent asks, until it has no more."""
    try:
        while True:
            yield pipe.recv()
    except EOFError:
        return
