"""accord itself: a worker process, and clients in plain code."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

from accord.schemas.topics import INBOX_PARTITIONS_DEFAULT

from accord import sync
from accord.settings import Settings
from benchmarks.bench import bench
from benchmarks.peers.peer import Address, Cycle, Peer

PARTITIONS: Final = 6
START_MS: Final = 60_000
"""How long the first commands wait for the worker, which is starting."""
DURABLE: Final = "the log; a single Kafka broker acknowledges from the page cache"


def accord(bootstrap_servers: str) -> Peer:
    """accord on a Kafka that runs already; clients take their answers from the events."""
    return Peer("accord", DURABLE, lambda: None, partial(serve, bootstrap_servers, 0), client)


def accord_inbox(bootstrap_servers: str) -> Peer:
    """The same, with clients that take their answers from their inbox."""
    return Peer("inbox", DURABLE, lambda: None, partial(serve, bootstrap_servers, INBOX_PARTITIONS_DEFAULT), client)


@contextmanager
def serve(bootstrap_servers: str, inboxes: int) -> Iterator[Address]:
    with bench(bootstrap_servers, PARTITIONS, inboxes=inboxes) as place, place.worker():
        answers = "inbox" if inboxes else "events"
        yield place.worker_arguments() | {"client": {"worker_wait_ms": START_MS, "answers": answers}}


@contextmanager
def client(address: Address, number: int) -> Iterator[Cycle]:
    with sync.Accord(agent=f"client-{number}", settings=Settings.load(**address)) as hub:

        def cycle(name: str) -> float:
            grant = hub.lock(name).acquire()
            granted_s = time.perf_counter()
            grant.release()
            return granted_s

        yield cycle
