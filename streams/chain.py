"""The chain of a partition's decisions, and the one way to read it.

Every decision carries its number (`seq`) and the hash of the decision before it (`prev`). A reader accepts a record
only if it continues what the reader holds: `seq` and `prev` follow, and its cause lies after the last one. The first
such record in log order wins; repeats, forks and foreign records are skipped. Processors, clients, replay and console
all read through `Chain`.

The hash (BLAKE2b, 16 bytes) is keyed by the genesis (cluster, topic, partition) and covers chain, cause, rules, clock,
type and task headers, the key and the value. `accord-confirmed` is outside it: it says how far the writer had seen.
"""

from __future__ import annotations

from binascii import unhexlify
from functools import lru_cache
from hashlib import blake2b
from struct import Struct
from typing import Final

import msgspec
from accord.schemas import headers as h
from accord.schemas.headers import Confirmed, Headers, Record

from accord.errors import ChainBroken, LogGap

DIGEST_BYTES: Final = 16
GENESIS_CAUSE: Final = -1


class Head(msgspec.Struct, frozen=True, gc=False):
    """The last accepted decision, as far as the next one must continue it.

    `digest` is the hash that the next one names as `prev`, `cause` the offset of the command, `offset` where the record
    lies or is to land.
    """

    seq: int
    digest: bytes
    cause: int
    offset: int


class Decision(Head, frozen=True, gc=False):
    """One accepted (or just made) decision: all the events that one command brought, as one record.

    Once accepted it serves as the head itself. `value` is the encoded array of events; `clock`, `type` and `task` are
    headers as they are written, and so are the three of `written`: cause, chain and rules. `pointer` is the header
    `accord-confirmed` of a decision that was read, `followed_by` its header `accord-followed`.
    """

    prev: bytes
    now_ms: int
    command_id: str
    rules: int
    clock: bytes
    type: bytes
    task: bytes
    key: bytes
    value: bytes
    trace: bytes
    written: tuple[bytes, bytes, bytes]
    pointer: bytes | None = None
    followed_by: bytes | None = None

    @property
    def followed(self) -> int:
        """Up to which decision all that follows, such as commands of process managers, was acknowledged when this one
        was written; 0 if that is not said. Outside the hash."""
        told = self.followed_by
        return int(told) if told is not None and told.isdigit() and len(told) < _DIGITS_MAX else 0

    @property
    def confirmed(self) -> Confirmed | None:
        """The last decision that the writer had seen confirmed.

        Outside the hash, so a damaged pointer is as good as none: it must not decide what is accepted.
        """
        try:
            return Confirmed.decode(self.pointer) if self.pointer is not None else None
        except ValueError:
            return None

    def headers(
        self, message_id: str, source: bytes, confirmed: Confirmed | None, followed: int | None = None
    ) -> Headers:
        """The record's headers, ready to produce."""
        cause, chain, rules = self.written
        result: Headers = [
            h.SPEC_VERSION,
            (h.ID, message_id.encode()),
            (h.SOURCE, source),
            (h.TYPE, self.type),
            (h.CLOCK, self.clock),
            (h.CAUSE, cause),
            (h.CHAIN, chain),
            (h.RULES, rules),
        ]
        if self.task:
            result.append((h.TASK, self.task))
        if self.trace:
            result.append((h.TRACE, self.trace))
        if confirmed is not None:
            result.append((h.CONFIRMED, _encoded(confirmed)))
        if followed:
            result.append((h.FOLLOWED, b"%d" % followed))
        return result


_DIGITS_MAX: Final = 20
_encoded: Final = lru_cache(maxsize=64)(Confirmed.encode)
"""Many decisions on their way name the same one."""


def genesis(cluster: str, topic: str, partition: int) -> bytes:
    """What the chain of a partition starts from: the `prev` of seq 1, and the key of all its hashes."""
    return blake2b(f"{cluster}\n{topic}\n{partition}".encode(), digest_size=DIGEST_BYTES).digest()


def digest_of(
    root: bytes,
    chain: bytes,
    cause: bytes,
    rules: bytes,
    clock: bytes,
    kind: bytes,
    task: bytes,
    key: bytes,
    value: bytes,
) -> bytes:
    """The hash of a decision, from its headers as they are written; the lengths of all parts come first."""
    sizes = _SIZES(
        len(chain), len(cause), len(rules), len(clock), len(kind), len(task), len(key), len(value)
    )  # fmt: skip
    parts = b"".join((sizes, chain, cause, rules, clock, kind, task, key, value))
    hasher = _keyed(root).copy()
    hasher.update(parts)
    return hasher.digest()


@lru_cache(maxsize=4_096)
def _keyed(root: bytes) -> blake2b:
    """A hasher that has taken its key in, to be copied: half the time of making one."""
    return blake2b(digest_size=DIGEST_BYTES, key=root)


_SIZES: Final = Struct(">8I").pack


def parse(root: bytes, record: Record) -> Decision:
    """A record of an events topic as a decision, its hash computed.

    Raises:
        ValueError: the record is no decision.
    """
    try:
        fields = dict(record.headers)
        chain, cause, rules = fields[h.CHAIN], fields[h.CAUSE], fields[h.RULES]
        clock, kind = fields[h.CLOCK], fields[h.TYPE]
        task = fields.get(h.TASK, b"")
        key, value = record.key or b"", record.value or b""
        seq, now_ms, prev = chain.split(b" ")
        cause_offset, _, command_id = cause.partition(b" ")
        return Decision(
            int(seq),
            digest_of(root, chain, cause, rules, clock, kind, task, key, value),
            int(cause_offset),
            record.offset,
            unhexlify(prev),
            int(now_ms),
            command_id.decode(),
            int(rules),
            clock,
            kind,
            task,
            key,
            value,
            fields.get(h.TRACE, b""),
            (cause, chain, rules),
            fields.get(h.CONFIRMED),
            fields.get(h.FOLLOWED),
        )
    except (AttributeError, KeyError, TypeError) as error:  # a header is missing or has no value
        raise ValueError(f"the record at offset {record.offset} is no decision: {error!r}") from error


class Chain:
    """Reads one partition's events in log order and keeps the head.

    Args:
        root: the partition's `genesis`.
        head: where to go on; without one, from seq 1.

    `skipped` counts what was not accepted: repeats, forks, foreign records.
    """

    __slots__ = ("_anchor", "head", "root", "skipped")

    def __init__(self, root: bytes, head: Head | None = None) -> None:
        self.root = root
        self.head: Head = head or Head(0, root, GENESIS_CAUSE - 1, -1)
        self.skipped = 0
        self._anchor: Confirmed | None = None

    @classmethod
    def anchored(cls, root: bytes, anchor: Confirmed) -> Chain:
        """A chain that starts at a confirmed decision: the next record read must be that one."""
        chain = cls(root)
        chain._anchor = anchor
        return chain

    def accept(self, record: Record) -> Decision | None:
        """The record as an accepted decision, or None if it does not continue the chain.

        Raises:
            ChainBroken: the log itself shows that a decision is missing or was changed: a later writer had seen one
                confirmed that is not in it, or the anchor is not what it should be.
        """
        try:
            decision = parse(self.root, record)
        except ValueError:
            self.skipped += 1
            return None
        if self._anchor is not None:
            return self._accept_anchor(decision, self._anchor)
        head = self.head
        if decision.seq == head.seq + 1 and decision.prev == head.digest and decision.cause > head.cause:
            self.head = decision
            return decision
        self.skipped += 1
        confirmed = decision.confirmed
        if confirmed is not None and confirmed.offset < decision.offset:
            self._check(confirmed, decision.offset)
        return None

    def _check(self, confirmed: Confirmed, offset: int) -> None:
        """Holds what a skipped record's writer had seen confirmed, all of it earlier in the log, against the chain."""
        head = self.head
        if confirmed.seq > head.seq:
            problem = f"Decision {head.seq + 1} is missing or was changed"
        elif confirmed.seq == head.seq and confirmed.digest != head.digest:
            problem = f"Decision {head.seq} was changed"
        else:
            return
        error = LogGap if head.seq == 0 else ChainBroken
        raise error(
            f"{problem}: the record at offset {offset} names decision {confirmed.seq} at offset {confirmed.offset} "
            f"with hash {confirmed.digest.hex()} as confirmed, but the chain read so far ends with decision {head.seq} "
            f"at offset {head.offset} with hash {head.digest.hex()}.",
            seq=min(confirmed.seq, head.seq + 1),
            offset=offset,
        )

    def _accept_anchor(self, decision: Decision, anchor: Confirmed) -> Decision:
        if (decision.offset, decision.seq, decision.digest) != anchor:
            raise ChainBroken(
                f"Offset {anchor.offset} should hold decision {anchor.seq} with hash {anchor.digest.hex()}, but the "
                f"record at offset {decision.offset} is decision {decision.seq} with hash {decision.digest.hex()}.",
                seq=anchor.seq,
                offset=decision.offset,
            )
        self._anchor = None
        self.head = decision
        return decision
