"""Loading a partition: from its checkpoint and the events after it, or from all its events.

The table is a cache. Its checkpoint must be what the log says at that point, and its rows must add up; otherwise the
partition is folded from its first decision. The window of known command ids comes from the headers alone, from the
offset that the checkpoint names.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from accord.schemas.headers import CHAIN, Confirmed, Record
from accord.schemas.position import Position
from accord.streams.chain import Chain, Decision, parse
from accord.streams.checkpoint import Checkpoint, Loaded, restore
from accord.streams.decider import Domain
from accord.streams.partition import Identity, Partition

from accord import logs
from accord.errors import ChainBroken, LogGap
from accord.fetch import Fetcher

logger = logs.get("accord.worker")


class Recovered(NamedTuple):
    """A partition folded up to `end_offset`. `checkpoint` is None when the table's was not used.

    `refold` are the decisions taken in after the checkpoint: what follows from them may not have been written.
    """

    partition: Partition
    confirmed: Confirmed | None
    end_offset: int
    checkpoint: Checkpoint | None
    refold: list[Decision]


def recover(log: Fetcher, topic: str, identity: Identity, domain: Domain, loaded: Loaded | None) -> Recovered:
    """Loads a partition.

    Raises:
        LogGap: the events log does not reach back far enough.
        ChainBroken: the events log itself is damaged.
        KafkaUnreachable: the log could not be read.
    """
    low, end = log.bounds(topic, identity.partition)
    if loaded is not None:
        try:
            return _from_checkpoint(log, topic, identity, domain, loaded, end)
        except (ChainBroken, LogGap) as error:
            logger.warning("checkpoint does not match the log, rebuilding", partition=identity.name, why=str(error))
    if low > 0:
        at = str(Position(identity.domain, identity.partition, low))
        raise LogGap(
            f"The events of {identity.name} start at {at} and there is no checkpoint that fits.",
            remedy="Events topics must never be cut: set retention.ms to -1.",
            position=at,
        )
    partition = Partition(identity, domain)
    chain = Chain(partition.root)
    decisions: list[Decision] = []
    for decision in _accepted(log, topic, chain, identity.partition, 0, end):
        partition.apply(partition.read(decision))
        decisions.append(decision)
    return Recovered(partition, _pointer(chain), end, None, decisions)


def _from_checkpoint(
    log: Fetcher, topic: str, identity: Identity, domain: Domain, loaded: Loaded, end: int
) -> Recovered:
    partition = Partition(identity, domain)
    checkpoint, ahead = loaded.checkpoint, loaded.ahead
    chain = Chain.anchored(partition.root, checkpoint.window)
    refold: list[Decision] = []
    for decision in _accepted(log, topic, chain, identity.partition, checkpoint.window.offset, end):
        if decision.seq <= checkpoint.seq:
            partition.window.add(decision)
            if decision.seq == checkpoint.seq:
                if decision.digest != checkpoint.digest:
                    raise ChainBroken(f"decision {decision.seq} is not the one that the checkpoint names")
                restore(partition, loaded)
        else:
            fold = ahead.get(decision.key.decode(errors="replace"), 0) < decision.seq
            partition.apply(partition.read(decision), fold=fold)
            refold.append(decision)
    if partition.head.seq < max([checkpoint.seq, *ahead.values()]):
        raise ChainBroken(f"the log ends with decision {partition.head.seq}, the table knows later ones")
    return Recovered(partition, _pointer(chain), end, checkpoint, refold)


def accepted_after(
    log: Fetcher, topic: str, identity: Identity, confirmed: Confirmed | None
) -> tuple[list[Decision], int]:
    """The decisions accepted after a confirmed one, and the end of the log."""
    root = identity.root
    low, end = log.bounds(topic, identity.partition)
    chain = Chain.anchored(root, confirmed) if confirmed else Chain(root)
    start = confirmed.offset if confirmed else low
    decisions = list(_accepted(log, topic, chain, identity.partition, start, end))
    return decisions[1:] if confirmed else decisions, end


def read_back(log: Fetcher, topic: str, identity: Identity, start: Confirmed | None, head: Confirmed) -> Confirmed:
    """Reads an owner's own decisions back, from one known point to its head.

    Both ends are compared by their hash, what lies between by its numbers: each decision follows the one before, and
    the head's hash covers them all. Hashing every one again would take a fifth of a worker's time. Only if that does
    not add up (another writer's records lie between), every hash is checked.

    Returns:
        The head as the log has it.

    Raises:
        ChainBroken: the log holds something else.
    """
    root, begin = identity.root, start.offset if start else 0
    if _adds_up(log.read(topic, identity.partition, begin, head.offset + 1), root, start, head):
        return head
    chain = Chain.anchored(root, start) if start else Chain(root)
    for _ in _accepted(log, topic, chain, identity.partition, begin, head.offset + 1):
        pass
    if (chain.head.seq, chain.head.digest) != (head.seq, head.digest):
        raise ChainBroken(
            f"{identity.name}: up to offset {head.offset} the log goes on to decision {chain.head.seq}; this worker "
            f"wrote decision {head.seq} with hash {head.digest.hex()} there.",
        )
    return Confirmed(chain.head.offset, chain.head.seq, chain.head.digest)


def _adds_up(records: Iterator[Record], root: bytes, start: Confirmed | None, head: Confirmed) -> bool:
    """Whether the numbers go on without a gap from one pointer to the other."""
    seq = start.seq - 1 if start else 0
    last: Record | None = None
    for record in records:
        if _number(record) == seq + 1:
            seq, last = seq + 1, record
            if start is not None and seq == start.seq and not _lies_at(start, root, record):
                return False
    return seq == head.seq and last is not None and _lies_at(head, root, last)


def _lies_at(pointer: Confirmed, root: bytes, record: Record) -> bool:
    """Whether a record is the decision that a pointer names."""
    try:
        decision = parse(root, record)
    except ValueError:
        return False
    return (decision.offset, decision.seq, decision.digest) == pointer


def _number(record: Record) -> int | None:
    """The number of a decision, by its header alone; None if it has none."""
    for name, value in record.headers:
        if name == CHAIN and value:
            number = value.partition(b" ")[0]
            return int(number) if number.isdigit() else None
    return None


def _accepted(log: Fetcher, topic: str, chain: Chain, partition: int, start: int, end: int) -> Iterator[Decision]:
    for record in log.read(topic, partition, start, end):
        decision = chain.accept(record)
        if decision is not None:
            yield decision


def _pointer(chain: Chain) -> Confirmed | None:
    head = chain.head
    return Confirmed(head.offset, head.seq, head.digest) if head.seq else None
