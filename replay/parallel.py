"""Partitions side by side, in processes: they do not depend on each other, and replay is CPU work."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Final, TypeVar

from accord.replay.source import Source

from accord.errors import Unavailable

R = TypeVar("R")

RECORDS_MIN: Final = 50_000
"""Fewer records are read faster than processes start."""

_source: Source | None = None


def processes_for(source: Source, where: Sequence[tuple[str, int]]) -> int:
    """How many processes pay for these partitions: at most one a core."""
    ends = [source.bounds(domain, partition)[1] for domain, partition in where]
    busy = sum(end > 0 for end in ends)
    return min(os.cpu_count() or 1, busy) if sum(ends) >= RECORDS_MIN else 1


def each(
    source: Source, where: Sequence[tuple[str, int]], function: Callable[[Source, str, int], R], processes: int
) -> list[R]:
    """What `function` returns for each partition, in order.

    Args:
        function: importable by name, or a `functools.partial` of such; it and what it returns can be pickled.
        processes: how many at a time; 1 stays in this one.

    Raises:
        Unavailable: a process was killed.
        Exception: what `function` raised for the first partition that failed.
    """
    if processes <= 1 or len(where) <= 1:
        return [function(source, *partition) for partition in where]
    # Not by fork: a thread of librdkafka's, which Python does not count, may hold a lock that the child would inherit.
    spawn = multiprocessing.get_context("spawn")
    workers = min(processes, len(where))
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=_enter, initargs=(source,)) as pool:
        try:
            found: list[R] = []
            for result in pool.map(_call, [(function, *partition) for partition in where]):
                found.append(result)
                source.finished(len(found), len(where))
            return found
        except BrokenProcessPool as error:
            raise Unavailable(
                "A process of the replay was killed, for want of memory perhaps.", remedy="Try with --processes 1."
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _enter(source: Source) -> None:
    global _source  # noqa: PLW0603  what a process works on, for all its life
    _source = source
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a word


def _call(work: tuple[Callable[[Any, str, int], R], str, int]) -> R:
    function, domain, partition = work
    return function(_source, domain, partition)
