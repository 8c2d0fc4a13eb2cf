"""Planted bugs: each a rule of the product that is switched off, by a patch from outside. The simulator must find them.

Where a bug needs certain agents or workers of different releases to show, `OPTIONS` tells.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec
from accord.agents.leases import leases
from accord.schemas.headers import Confirmed, LogRecord, Record
from accord.schemas.messages.locks import AcquireLock, RenewLease
from accord.streams import checkpoint as cp
from accord.streams.chain import Chain, Decision, Head, parse
from accord.streams.domains import DOMAINS
from accord.streams.limits.pool import Pool
from accord.streams.locks import decider as locks
from accord.streams.locks.decider import NameDecider
from accord.streams.locks.queue import Queue
from accord.streams.owner import Append, Owner
from accord.streams.partition import Decided, Partition, Window
from accord.streams.proposals import decider as proposals
from accord.streams.runtime import recovery
from accord.streams.runtime.followups import Followups
from accord.streams.runtime.processor import Processor
from accord.streams.signals import decider as signals
from accord.streams.state import decider as state
from accord.streams.tasks import decider as tasks
from accord.streams.transactions import decider as transactions
from msgspec.structs import replace
from pytest import MonkeyPatch

from accord import kafka
from accord.testing.simulation.faults import USUAL, Fault

Bug = Callable[[MonkeyPatch], None]
BUGS: Final[dict[str, Bug]] = {}
OPTIONS: Final[dict[str, dict[str, Any]]] = {}
"""Of `runs.build`, by the bug's name."""


BUSY: Final[dict[str, Any]] = {"pace": 0.05, "latency_ms": 200.0, "partitions": 1, "minutes": 1.0, "workers": 2}
"""Many commands on one partition over a slow network: much is under way at any time."""


TWO_OWNERS: Final = tuple(Fault(at_ms, "double", "worker-0", 60_000) for at_ms in range(400, 3_000, 50))
LEAPS: Final = (
    *[Fault(0, "duplicates", f"holder-{n}", 60_000, 40) for n in range(3)],
    *[Fault(at_ms, "leap", "broker-0", 0, 150_000) for at_ms in range(5_000, 60_000, 5_000)],
    *[Fault(at_ms, "crash", "worker-0", 500) for at_ms in range(7_000, 60_000, 5_000)],
)
CRASHES_WHILE_IT_WRITES: Final = (
    Fault(8_000, "slow_disk", "worker-0", 60_000, 300),
    Fault(8_000, "slow_disk", "worker-1", 60_000, 300),
    *[Fault(at_ms, "crash", f"worker-{at_ms % 2}", 500) for at_ms in range(11_000, 60_000, 1_701)],
)


class HalfLeases(NameDecider):
    """Version 2 of the rules of locks: half the lease."""

    def decide(self, state: Any, command: Any, at: Any) -> Any:
        if isinstance(command, AcquireLock | RenewLease):
            command = replace(command, lease_ms=max(1_000, command.lease_ms // 2))
        return super().decide(state, command, at)


OLD: Final = {"locks": DOMAINS["locks"]._replace(versions={1: NameDecider()})}
NEW: Final = {"locks": DOMAINS["locks"]._replace(versions={1: NameDecider(), 2: HalfLeases()})}


def planted(*drivers: str, releases: bool = False, **options: Any) -> Callable[[Bug], Bug]:
    """Registers a bug, whose agents show it, whether it takes workers of two releases, and what else shows it soon."""

    def register(bug: Bug) -> Bug:
        BUGS[bug.__name__] = bug
        OPTIONS[bug.__name__] = {"drivers": drivers or ("locks",)}
        if releases:
            OPTIONS[bug.__name__] |= {"releases": (OLD, NEW), "workers": 2, "kinds": (*USUAL, "switch", "switch")}
        OPTIONS[bug.__name__] |= options
        return bug

    return register


# -- the chain and its readers


@planted(releases=True, faults=TWO_OWNERS, **BUSY)
def chain_without_prev(patch: MonkeyPatch) -> None:
    """A reader accepts whatever has the next number."""
    accept = Chain.accept

    def loose(self: Chain, record: LogRecord) -> Decision | None:
        if self._anchor is None:
            try:
                decision = parse(self.root, record)
            except ValueError:
                return None
            if decision.seq == self.head.seq + 1 and decision.cause > self.head.cause:
                self.head = Head(decision.seq, decision.digest, decision.cause, decision.offset)
                return decision
        return accept(self, record)

    patch.setattr(Chain, "accept", loose)


@planted()
def readers_start_anywhere(patch: MonkeyPatch) -> None:
    """A reader trusts the last record that it finds."""

    def anchor(bounds: Any, read: Any, topic: str, partition: int, root: bytes, at: Any = None) -> tuple[Chain, int]:
        low, high = bounds(topic, partition)
        for record in read(topic, partition, high - 1, high):
            decision = parse(root, record)
            return Chain.anchored(root, Confirmed(decision.offset, decision.seq, decision.digest)), decision.offset
        return Chain(root), low

    patch.setattr(kafka, "anchor_in", anchor)


@planted(kinds=("loss", "producer", "deaf", "delay", "crash"), **BUSY)
def pointer_to_what_is_only_hoped(patch: MonkeyPatch) -> None:
    """Records name the decision before them as confirmed, whether it is or not."""
    append = Owner._append

    def hoping(self: Owner, decided: Decided) -> Append:
        head = self.partition.head
        made = append(self, decided)
        return msgspec.structs.replace(
            made, confirmed=Confirmed(head.offset, head.seq, head.digest) if head.seq else None
        )

    patch.setattr(Owner, "_append", hoping)


# -- the owner


@planted()
def command_decided_again(patch: MonkeyPatch) -> None:
    """An owner decides what is delivered again."""

    def take(self: Owner, record: Record, *, hole: bool = False) -> Append | None:
        return self._append(self.partition.decide(record, landing=self.expected))

    patch.setattr(Owner, "take", take)


@planted()
def any_offset_confirms(patch: MonkeyPatch) -> None:
    """A report confirms wherever the record landed."""
    delivered = Owner.delivered

    def trusting(self: Owner, seq: int, offset: int | None) -> None:
        if offset is not None and self.pending and seq >= self.pending[0].seq:
            offset = self.pending[seq - self.pending[0].seq].offset
        delivered(self, seq, offset)

    patch.setattr(Owner, "delivered", trusting)


@planted()
def failure_confirms(patch: MonkeyPatch) -> None:
    """A report without an offset counts as success."""
    delivered = Owner.delivered

    def hopeful(self: Owner, seq: int, offset: int | None) -> None:
        if offset is None and self.pending and seq >= self.pending[0].seq:
            offset = self.pending[seq - self.pending[0].seq].offset
        delivered(self, seq, offset)

    patch.setattr(Owner, "delivered", hopeful)


@planted()
def contest_won_by_decree(patch: MonkeyPatch) -> None:
    """After a contest an owner goes on without comparing."""

    def settle(self: Owner, accepted: Iterable[Decision], end_offset: int) -> bool:
        self.pending.clear()
        for decision in accepted:
            self.confirmed = Confirmed(decision.offset, decision.seq, decision.digest)
        self.expected, self.contested = end_offset, False
        return True

    patch.setattr(Owner, "settle", settle)


# -- the partition


@planted()
def clock_runs_back(patch: MonkeyPatch) -> None:
    """The clock is the command's timestamp, not the largest."""
    decide = Partition.decide

    def newest(self: Partition, record: Record, *, landing: int = -1) -> Decided:
        kept, self.now_ms = self.now_ms, 0
        try:
            return decide(self, record, landing=landing)
        finally:
            self.now_ms = kept

    patch.setattr(Partition, "decide", newest)


@planted()
def clock_of_the_machine(patch: MonkeyPatch) -> None:
    """Every process decides by a clock of its own."""
    decide = Partition.decide
    skews = itertools.cycle([0, 3, -2])
    mine: dict[int, int] = {}

    def local(self: Partition, record: LogRecord, *, landing: int = -1) -> Decided:
        skew = mine.setdefault(id(self), next(skews))
        return decide(self, record._replace(timestamp=record.timestamp + skew), landing=landing)

    patch.setattr(Partition, "decide", local)


@planted()
def window_forgotten(patch: MonkeyPatch) -> None:
    """No command id is known again."""
    patch.setattr(Window, "get", lambda self, command_id: None)


@planted(faults=LEAPS, **BUSY)
def repeats_enter_the_window(patch: MonkeyPatch) -> None:
    """A window read back from the middle of the log takes a repeat for the first command of its id."""
    add = Window.add
    patch.setattr(Window, "add", lambda self, decision: add(self, replace(decision, type=b"")))


@planted(releases=True)
def any_version_will_do(patch: MonkeyPatch) -> None:
    """A worker that lacks the version in force decides by the newest it has."""
    patch.setattr(
        Partition,
        "decider",
        property(lambda self: self.domain.versions.get(self.rules) or self.domain.versions[self.domain.newest]),
    )


# -- deciders


@planted()
def randomness_in_a_decider(patch: MonkeyPatch) -> None:
    grant = locks._grant
    patch.setattr(locks, "_grant", lambda waiter, at: replace(grant(waiter, at), lease_ms=random.randint(1_000, 9_000)))


@planted()
def tokens_start_again(patch: MonkeyPatch) -> None:
    """A token counts the grants of a lock that is remembered."""
    grant = locks._grant
    patch.setattr(locks, "_grant", lambda waiter, at: replace(grant(waiter, at), token=1))


@planted()
def two_grants_at_once(patch: MonkeyPatch) -> None:
    """Somebody who asks is granted the lock, held or not."""

    def granted(_: Any, c: Any, at: Any) -> list[Any]:
        return [locks._grant(locks.Waiter(at.request, c.agent, c.owner, c.lease_ms, at.now_ms, None), at)]

    patch.setitem(locks._ANSWERS, locks.AcquireLock, granted)


@planted()
def last_come_first_served(patch: MonkeyPatch) -> None:
    evolve = locks.LockDecider.evolve

    def pushed_in(self: Any, state: Any, event: Any) -> Any:
        after = evolve(self, state, event)
        if isinstance(event, locks.LockQueued) and after is not None:
            *waiters, last = after.waiters
            return replace(after, waiters=Queue.of([last, *waiters]))
        return after

    patch.setattr(locks.LockDecider, "evolve", pushed_in)


@planted()
def leases_never_end(patch: MonkeyPatch) -> None:
    patch.setattr(locks, "_due", lambda lock, now_ms: [])


@planted("limits")
def capacity_without_limit(patch: MonkeyPatch) -> None:
    """A pool believes that nothing of it is in use."""
    patch.setattr(Pool, "in_use", property(lambda self: 0))


# -- clients


@planted()
def leases_believed_too_long(patch: MonkeyPatch) -> None:
    """A holder counts the lease from when it heard of it, and takes no margin off."""

    def believed(sent_s: float, span_ms: int, clock_step_ms: int) -> float:
        now_s = asyncio.get_running_loop().time()
        return now_s + span_ms / 1_000

    patch.setattr(leases, "believed_until_s", believed)


# -- checkpoints and recovery


@planted(faults=CRASHES_WHILE_IT_WRITES, **BUSY)
def rows_ahead_folded_twice(patch: MonkeyPatch) -> None:
    """Recovery folds decisions that a row reflects already."""
    apply = Partition.apply

    def careless(self: Partition, decided: Decided, *, fold: bool = True) -> None:
        apply(self, decided)

    patch.setattr(Partition, "apply", careless)


@planted()
def checkpoints_unchecked(patch: MonkeyPatch) -> None:
    """The rows of a checkpoint need not add up."""
    patch.setattr(cp, "row_hash", lambda key, value: 0)


@planted()
def checkpoint_before_its_rows(patch: MonkeyPatch) -> None:
    """The checkpoint is written first, as if its rows were there, and what they are is not looked at."""
    rows_of = cp.rows_of

    def early(taken: Any, last: Any, get_row: Any) -> Any:
        rows, done, stale = rows_of(taken, last, get_row)
        return {cp.CHECKPOINT_KEY: done.encode(), **rows}, done, stale

    patch.setattr(cp, "rows_of", early)
    patch.setattr(cp, "row_hash", lambda key, value: 0)


@planted()
def checkpoint_not_compared_with_the_log(patch: MonkeyPatch) -> None:
    """An owner's checkpoint counts before what it reflects is confirmed, and recovery believes it."""
    alone = Processor._checkpoint_alone

    async def hasty(self: Processor, index: int, owned: Any) -> None:
        patch.setattr(recovery, "read_back", lambda *args: args[-1])
        owner = owned.owner
        if owner.partition.changed and not owner.contested:
            head = owner.partition.head
            kept, owner.confirmed = owner.confirmed, Confirmed(head.offset, head.seq, head.digest)
            try:
                await alone(self, index, owned)
            finally:
                if owner.confirmed is not None and owner.confirmed.seq == head.seq:
                    owner.confirmed = kept

    patch.setattr(Processor, "_checkpoint_alone", hasty)


# -- the runtime


@planted("state")
def followups_before_confirmation(patch: MonkeyPatch) -> None:
    """What follows from a decision goes out before it is known to be accepted."""
    add = Followups.add

    def eager(self: Followups, seq: int, build: Any, *, lasting: bool = False) -> None:
        add(self, seq, build, lasting=lasting)
        self.send(seq)

    patch.setattr(Followups, "add", eager)


@planted("state", "tasks")
def followups_lost_with_their_worker(patch: MonkeyPatch) -> None:
    """What follows from decisions is not derived again after a crash."""

    async def nothing(self: Processor, index: int, owned: Any, decisions: list[Decision]) -> None:
        pass

    patch.setattr(Processor, "_follow_again", nothing)


@planted("state", "tasks")
def followups_sent_once(patch: MonkeyPatch) -> None:
    """What failed on its way is not sent again."""
    reported = Followups._reported
    patch.setattr(Followups, "_reported", lambda self, entry, offset: reported(self, entry, offset or 0))


@planted("state", "tasks")
def checkpoint_does_not_wait_for_followups(patch: MonkeyPatch) -> None:
    """A checkpoint is written although what follows from decisions before it is still under way."""
    patch.setattr(Followups, "done", lambda self, seq: True)


@planted("locks", "limits")
def lost_ticks_not_sent_again(patch: MonkeyPatch) -> None:
    """A tick that failed is taken for one that is under way, for ever."""
    patch.setattr(Processor, "_tick_reported", lambda self, owned, key, offset: None)


@planted()
def memory_kept_without_a_look(patch: MonkeyPatch) -> None:
    """A partition that comes back to its worker is taken for what it was."""

    async def fits(self: Processor, index: int, kept: Any) -> bool:
        return True

    patch.setattr(Processor, "_still_fits", fits)


@planted()
def delivery_starts_at_the_end(patch: MonkeyPatch) -> None:
    """After an assignment delivery begins with the next command that comes."""
    on_assigned = Processor.on_assigned

    async def late(self: Processor, partitions: frozenset[int]) -> Mapping[int, int]:
        starts = await on_assigned(self, partitions)
        return {index: max(start, self.delivery.commands_end(index) or 0) for index, start in starts.items()}

    patch.setattr(Processor, "on_assigned", late)
    patch.setattr(Processor, "_is_hole", _is_a_hole)


async def _is_a_hole(self: Processor, index: int, owned: Any, offset: int) -> bool:
    return True


# -- deciders of several domains


@planted("tasks")
def any_run_counts(patch: MonkeyPatch) -> None:
    """The word of a run that was taken over counts."""

    def running(draft: Any, task: Any, c: Any) -> int | None:
        number = task.graph.number(c.step)
        return None if number is None or task.has_ended or task.steps[number].status != tasks.RUNNING else number

    patch.setattr(tasks, "_running", running)


@planted("proposals")
def votes_count_twice(patch: MonkeyPatch) -> None:
    """A voter may vote again."""

    def cast(draft: Any, proposal: Any, c: Any) -> None:
        if proposal.status == proposals.OPEN:
            draft.vote(c.agent, c.choice, c.reason)

    patch.setitem(proposals._ANSWERS, proposals.CastVote, cast)


@planted("state")
def committed_at_the_first_yes(patch: MonkeyPatch) -> None:
    """A transaction does not wait for all votes."""
    patch.setattr(transactions.Transaction, "is_ready", property(lambda self: True))


@planted("state")
def prepared_keys_are_not_held(patch: MonkeyPatch) -> None:
    """A commit goes over what another transaction has prepared."""
    patch.setattr(state, "holder_of", lambda scope, c: None)


@planted("signals")
def numbers_of_groups_start_again(patch: MonkeyPatch) -> None:
    patch.setattr(signals, "_numbered", lambda group, c: [signals.SignalNumbered(c.agent, c.event, 1, c.data, c.trail)])
