"""Judges a fault run from what its clients wrote down and from the raw log; accord's own fold has no say.

Rules:
- `one_holder`: no two grants of a lock have the same token, unless they share it; a grant that ended before another was
  asked for has the smaller token; the times in which holders saw their grants valid overlap only of those who share
  the lock, and of as many at once as they asked for.
- `in_turn`: nobody who asked after another one stood in the queue was granted before it; so no writer starves.
- `guarded`: a guarded resource accepts writes in the order of tokens, refuses exactly those below the highest token
  it has seen, and every accepted value continues the one before.
- `acknowledged`: what a client was told lies in the accepted chain, at the position that it was told, under its key;
  a lock that it was told to be released is, before the next grant.
- `chained`: the chain is unbroken, and every command up to its end has exactly one decision.
- `once`: no command has two decisions under one id, unless the second says that it repeats the first.
- `served`: every operation has ended in bounded time, unless its process was killed, and once the faults are over, with
  success.
- `linearizable`: there is an order of all operations in which a lock or a barrier would have answered as it did
  (`porcupine.py`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, pairwise
from math import inf
from typing import NamedTuple

from tests.faults.history import Operation
from tests.faults.rawlog import Chained

REFUSALS = frozenset(
    {"LockTimeout", "StaleToken", "LeaseLost", "NotOwner", "BrokenBarrier", "DeadlockVictim", "Withdrawn"}
)
"""Outcomes that are the coordination's answer, not its failure."""
RULES = (
    "one_holder",
    "in_turn",
    "guarded",
    "acknowledged",
    "chained",
    "once",
    "ended",
    "served",
    "linearizable",
    "reached",
    "gate",
    "verify",
    "run",
)
"""All that a violation can break; those that are not told above are in `steps.py`, `verdict.py` and `run.py`."""
EVENT_OF = {"acquire": "LockGranted", "take": "CapacityGranted", "emit": "SignalEmitted"}


class Violation(NamedTuple):
    """What must not be: the rule that it breaks, and which operations or records show it."""

    rule: str
    what: str


class Write(NamedTuple):
    """What the guarded resource did with a write (or, value None, with a fenced read), in its own order."""

    key: str
    token: int
    value: int | None
    accepted: bool
    seat: str = ""


class Decided(NamedTuple):
    """One partition of a domain: its events log, and how many commands it was sent."""

    events: Chained
    commands: int


def one_holder(operations: Iterable[Operation]) -> Iterator[Violation]:
    grants: defaultdict[str, list[Operation]] = defaultdict(list)
    for operation in operations:
        if operation.kind in ("acquire", "take") and operation.ok:
            grants[operation.key].append(operation)
    for mine in grants.values():
        mine.sort(key=lambda grant: grant.token or 0)
        for earlier, later in pairwise(mine):
            if earlier.token == later.token and None in (earlier.permits, later.permits):
                yield Violation("one_holder", f"the same token twice: {earlier} and {later}")
        yield from _tokens_against_time(mine)
        yield from _overlaps(mine)


def _tokens_against_time(by_token: Sequence[Operation]) -> Iterator[Violation]:
    """From the largest token down: no grant may have been asked for after one with a larger token had ended."""
    first: Operation | None = None
    for grant in reversed(by_token):
        assert grant.ended_ns is not None
        if first is not None and first.ended_ns is not None and first.ended_ns < grant.invoked_ns:
            yield Violation("one_holder", f"a token fell: {grant} was asked for after {first} had been granted")
        if first is None or first.ended_ns is None or grant.ended_ns < first.ended_ns:
            first = grant


def _overlaps(grants: Iterable[Operation]) -> Iterator[Violation]:
    together: list[Operation] = []
    for since_ns, grant in sorted(((g.belief[0], g) for g in grants if g.belief), key=lambda pair: pair[0]):
        together = [other for other in together if other.belief and other.belief[1] > since_ns]
        together.append(grant)
        if len(together) > (most := min(_most(one) for one in together)):
            number = "two" if most == 1 else str(len(together))
            others = " and ".join(str(one) for one in together)
            yield Violation("one_holder", f"{number} holders: {most} at most, and now {others}")


def _most(grant: Operation) -> float:
    """How many it agreed to be among."""
    return 1 if grant.permits is None else grant.permits or inf


def in_turn(operations: Iterable[Operation]) -> Iterator[Violation]:
    grants: defaultdict[str, list[Operation]] = defaultdict(list)
    for operation in operations:
        if operation.kind == "acquire" and operation.ok:
            grants[operation.key].append(operation)
    for mine in grants.values():
        mine.sort(key=lambda grant: grant.invoked_ns)
        # From the last to ask: who has the smallest token of those who asked at that time or later.
        first = list(accumulate(reversed(mine), lambda one, other: min(one, other, key=lambda g: g.token or 0)))[::-1]
        for waited in mine:
            after = bisect_right(mine, waited.queued_ns or 0, key=lambda g: g.invoked_ns)
            if waited.queued_ns is not None and after < len(mine) and (first[after].token or 0) < (waited.token or 0):
                yield Violation("in_turn", f"overtaken: {waited} stood in the queue when {first[after]} was asked for")


def guarded(writes: Iterable[Write], operations: Iterable[Operation]) -> Iterator[Violation]:
    granted = {(o.key, o.token) for o in operations if o.kind == "acquire" and o.ok}
    highest: defaultdict[str, int] = defaultdict(int)
    values: defaultdict[str, int] = defaultdict(int)
    for write in writes:
        if write.accepted != (write.token >= highest[write.key]):
            verb = "accepted" if write.accepted else "refused"
            yield Violation("guarded", f"{write} was {verb}, and the highest token was {highest[write.key]}")
        highest[write.key] = max(highest[write.key], write.token)
        if not write.accepted:
            continue
        if (write.key.partition("/")[0], write.token) not in granted:
            yield Violation("guarded", f"{write} has a token that no client was granted")
        if write.value is not None:
            if write.value != values[write.key] + 1:
                yield Violation("guarded", f"a lost update: {write} after the value {values[write.key]}")
            values[write.key] = write.value


def acknowledged(operations: Sequence[Operation], log: Mapping[str, Decided]) -> Iterator[Violation]:
    """`log` by partition, as `locks/3`."""
    ends = _ends_of_grants(log)
    shared = {(o.process, o.op) for o in operations if o.permits is not None}
    for operation in operations:
        ended = ends[operation.key, operation.token] or (operation.process, operation.of) in shared
        if operation.kind == "release" and operation.ok and not ended:
            yield Violation("acknowledged", f"not released in the log: {operation}")
        event = EVENT_OF.get(operation.kind)
        if event is None or not operation.ok:
            continue
        where, _, offset = operation.position.partition("@")
        record = log[where].events.accepted.get(int(offset)) if where in log and offset else None
        if record is None:
            yield Violation("acknowledged", f"lost: {operation}")
        elif record.key != operation.key.encode() or event not in record.kind.split("+"):
            yield Violation("acknowledged", f"{operation}: the log has {record.kind} {record.key!r} there")
        elif operation.kind in ("acquire", "take") and record.seq != operation.token:
            yield Violation("acknowledged", f"{operation}: the log has decision {record.seq} there")
        elif operation.kind == "emit" and record.command_id != operation.message_id:
            yield Violation("acknowledged", f"{operation}: the log answers {record.command_id} there")


def _ends_of_grants(log: Mapping[str, Decided]) -> defaultdict[tuple[str, int | None], bool]:
    """By lock and token: whether the holder that was alone gave it back before the next one (or the end of the log)."""
    released: defaultdict[tuple[str, int | None], bool] = defaultdict(bool)
    for partition in log.values():
        holder: dict[bytes, int] = {}
        for record in partition.events.accepted.values():
            kinds = record.kind.split("+")
            if record.key in holder and ("LockReleased" in kinds or "ConditionAwaited" in kinds):
                released[record.key.decode(), holder[record.key]] = True
            if "LockGranted" in kinds:
                holder[record.key] = record.seq
    return released


def chained(log: Mapping[str, Decided]) -> Iterator[Violation]:
    for where, partition in log.items():
        causes = [record.cause for record in partition.events.accepted.values()]
        expected = list(range(-1, partition.commands))
        if causes != expected:
            missing = sorted(set(expected) - set(causes))
            text = f"{len(missing)} of {partition.commands} commands without a decision, the first at {missing[:1]}"
            yield Violation("chained", f"{where}: {text}; {len(causes)} decisions are accepted")


def once(log: Mapping[str, Decided]) -> Iterator[Violation]:
    for where, partition in log.items():
        seen: dict[str, int] = {}
        for record in partition.events.accepted.values():
            if record.kind == "CommandRepeated":
                continue
            if (first := seen.setdefault(record.command_id, record.seq)) != record.seq:
                text = f"{where}: {record.command_id} has decisions {first} and {record.seq}"
                yield Violation("once", text)


def stale(writes: Iterable[Write]) -> tuple[int, int]:
    """How many writes and reads had a token below the highest before, and how many of them were refused."""
    highest: defaultdict[str, int] = defaultdict(int)
    found: list[bool] = []
    for write in writes:
        if write.token < highest[write.key]:
            found.append(not write.accepted)
        highest[write.key] = max(highest[write.key], write.token)
    return len(found), sum(found)


def served(
    operations: Iterable[Operation], quiet_ns: int, peace_ns: int, bound_ms: int, killed: Collection[str] = ()
) -> Iterator[Violation]:
    """Every operation has ended, at most `bound_ms` after the last fault (`quiet_ns`) or its own begin, and those
    that began after service was back everywhere (`peace_ns`) have not failed. Those of `killed` may be open."""
    for operation in operations:
        if operation.ended_ns is None:
            if operation.process in killed:
                continue
            yield Violation("served", f"never ended: {operation}")
            continue
        took_ms = (operation.ended_ns - max(operation.invoked_ns, quiet_ns)) / 1e6
        if took_ms > bound_ms:
            yield Violation("served", f"took {took_ms:.0f} ms: {operation}")
        if operation.invoked_ns > peace_ns and not operation.ok and operation.error not in REFUSALS:
            yield Violation("served", f"failed in peace: {operation}: {operation.error}")
