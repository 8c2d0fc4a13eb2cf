"""Histories of a simulated cluster, and the proof that the simulation would notice: each rule switched off, once.

The long run has more seeds. A failure names its seed; `simulate(seed)` brings the history back.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import pytest
from accord.schemas.headers import Confirmed, LogRecord
from accord.streams import checkpoint as cp
from accord.streams.chain import Chain, Decision, Head, parse
from accord.streams.locks import decider as locks
from accord.streams.locks.queue import Queue
from accord.streams.owner import Append, Owner
from accord.streams.partition import Decided, Partition, Window
from msgspec.structs import replace

from accord import kafka
from accord.errors import ChainBroken
from tests.counts import LONG, long
from tests.streams.simulated import Worker, first_failure, simulate

HISTORIES = 600 if LONG else 60
BATCH = HISTORIES // 6
SEEDS_MAX = 150
"""Within so many histories a rule that is switched off must show."""


@long
@pytest.mark.parametrize("batch", range(6))
def test_the_invariants_hold(batch: int) -> None:
    failure = first_failure(range(batch * BATCH, (batch + 1) * BATCH))
    assert failure is None, f"seed {failure[0]}: {failure[1]!r}"


@long
def test_three_workers() -> None:
    failure = first_failure(range(BATCH), workers=3)
    assert failure is None, f"seed {failure[0]}: {failure[1]!r}"


def test_a_seed_brings_its_history_back() -> None:
    one, two = simulate(7), simulate(7)
    assert one.broker.commands == two.broker.commands
    assert one.broker.events == two.broker.events
    assert one.broker.events != simulate(8).broker.events


@long
def test_the_invariants_hold_when_every_row_stands_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cp, "PART_BYTES", 40)
    in_parts = 0
    for seed in range(BATCH):
        table = simulate(seed).table
        in_parts += any(key.startswith(cp.PART_PREFIX) for key in table)
        assert all(len(value) <= 40 for key, value in table.items() if key.startswith(cp.PART_PREFIX))
    assert in_parts > BATCH // 4


def test_what_can_go_wrong_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """A simulation in which nothing happens proves nothing."""
    seen: Counter[str] = Counter()
    settle, start = Owner.settle, Worker.start

    def counted_settle(self: Owner, accepted: Iterable[Decision], end_offset: int) -> bool:
        decisions, pending = list(accepted), len(self.pending)
        settled = settle(self, decisions, end_offset)
        seen["contest lost" if not settled else "contest won"] += 1
        seen["others' decisions taken in"] += settled and len(decisions) > pending
        return settled

    def counted_start(self: Worker) -> None:
        start(self)
        loaded = (
            cp.load(self.cluster.workers[0].owner.partition.root, self.rows) if self.cluster.workers[0].owner else None
        )
        seen["started from a checkpoint"] += self.owner is not None and self.checkpoint is not None
        seen["rows ahead of the checkpoint"] += loaded is not None and bool(loaded.ahead)
        seen["stopped at an unknown version"] += self.halted

    monkeypatch.setattr(Owner, "settle", counted_settle)
    monkeypatch.setattr(Worker, "start", counted_start)
    for seed in range(40):
        cluster = simulate(seed)
        accepted = cluster.auditor.accepted
        offsets = [record.offset for record in cluster.broker.commands]
        seen["forks and repeats skipped"] += cluster.auditor.chain.skipped
        seen["repeated commands"] += sum(b"CommandRepeated" in decision.type for decision in accepted)
        seen["rejected commands"] += sum(b"CommandRejected" in decision.type for decision in accepted)
        seen["grants"] += sum(b"LockGranted" in decision.type for decision in accepted)
        seen["expiries"] += sum(b"LeaseExpired" in decision.type for decision in accepted)
        seen["switches"] += len({decision.rules for decision in accepted}) > 1
        seen["holes"] += offsets != list(range(len(offsets)))
        seen["answers"] += sum(len(client.answers) for client in cluster.clients)
        stamps = [record.timestamp for record in cluster.broker.commands]
        seen["clock steps back"] += sum(two < one for one, two in itertools.pairwise(stamps))
    assert len(seen) == 15
    rare = {name: count for name, count in seen.items() if count < 3}
    assert not rare, seen


# -- each rule switched off


Mutation = Callable[[pytest.MonkeyPatch], None]


def chain_without_prev(patch: pytest.MonkeyPatch) -> None:
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


def command_decided_again(patch: pytest.MonkeyPatch) -> None:
    """An owner decides what is delivered again."""

    def take(self: Owner, record: LogRecord, *, hole: bool = False) -> Append | None:
        return self._append(self.partition.decide(record, landing=self.expected))

    patch.setattr(Owner, "take", take)


def position_taken_from_the_group(patch: pytest.MonkeyPatch) -> None:
    """An owner goes on where the group's offset says, whatever lies between."""
    take = Owner.take
    patch.setattr(Owner, "take", lambda self, record, *, hole=False: take(self, record, hole=True))


def any_offset_confirms(patch: pytest.MonkeyPatch) -> None:
    """A report confirms wherever the record landed."""
    delivered = Owner.delivered

    def trusting(self: Owner, seq: int, offset: int | None) -> None:
        if offset is not None and self.pending and seq >= self.pending[0].seq:
            offset = self.pending[seq - self.pending[0].seq].offset
        delivered(self, seq, offset)

    patch.setattr(Owner, "delivered", trusting)


def failure_confirms(patch: pytest.MonkeyPatch) -> None:
    """A report without an offset counts as success."""
    delivered = Owner.delivered

    def hopeful(self: Owner, seq: int, offset: int | None) -> None:
        if offset is None and self.pending and seq >= self.pending[0].seq:
            offset = self.pending[seq - self.pending[0].seq].offset
        delivered(self, seq, offset)

    patch.setattr(Owner, "delivered", hopeful)


def failure_hidden_by_the_next_success(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Worker, "hears_every_failure", False)


def contest_won_by_decree(patch: pytest.MonkeyPatch) -> None:
    """After a contest an owner goes on without comparing."""

    def settle(self: Owner, accepted: Iterable[Decision], end_offset: int) -> bool:
        self.pending.clear()
        for decision in accepted:
            self.confirmed = Confirmed(decision.offset, decision.seq, decision.digest)
        self.expected, self.contested = end_offset, False
        return True

    patch.setattr(Owner, "settle", settle)


def pointer_to_what_is_only_hoped(patch: pytest.MonkeyPatch) -> None:
    """Records name the decision before them as confirmed, whether it is or not."""
    append = Owner._append

    def hoping(self: Owner, decided: Decided) -> Append:
        head = self.partition.head
        made = append(self, decided)
        return msgspec.structs.replace(
            made, confirmed=Confirmed(head.offset, head.seq, head.digest) if head.seq else None
        )

    patch.setattr(Owner, "_append", hoping)


def readers_start_anywhere(patch: pytest.MonkeyPatch) -> None:
    """A reader trusts the last record that it finds."""

    def anchor(client: Any, topic: str, partition: int, root: bytes) -> tuple[Chain, int]:
        low, high = kafka.bounds(client, topic, partition)
        for record in kafka.read(client, topic, partition, high - 1, high):
            decision = parse(root, record)
            return Chain.anchored(root, Confirmed(decision.offset, decision.seq, decision.digest)), decision.offset
        return Chain(root), low

    patch.setattr(kafka, "anchor", anchor)


def clock_runs_back(patch: pytest.MonkeyPatch) -> None:
    """The clock is the command's timestamp, not the largest."""
    decide = Partition.decide

    def newest(self: Partition, record: LogRecord, *, landing: int = -1) -> Decided:
        kept, self.now_ms = self.now_ms, 0
        try:
            return decide(self, record, landing=landing)
        finally:
            self.now_ms = kept

    patch.setattr(Partition, "decide", newest)


def clock_of_the_machine(patch: pytest.MonkeyPatch) -> None:
    """Every process decides by a clock of its own."""
    decide = Partition.decide
    skews = itertools.cycle([0, 3, -2])
    mine: dict[int, int] = {}

    def local(self: Partition, record: LogRecord, *, landing: int = -1) -> Decided:
        skew = mine.setdefault(id(self), next(skews))
        return decide(self, record._replace(timestamp=record.timestamp + skew), landing=landing)

    patch.setattr(Partition, "decide", local)


def randomness_in_a_decider(patch: pytest.MonkeyPatch) -> None:
    grant = locks._grant
    patch.setattr(locks, "_grant", lambda waiter, at: replace(grant(waiter, at), lease_ms=random.randint(1_000, 9_000)))


def window_forgotten(patch: pytest.MonkeyPatch) -> None:
    """No command id is known again."""
    patch.setattr(Window, "get", lambda self, command_id: None)


def repeats_enter_the_window(patch: pytest.MonkeyPatch) -> None:
    """A window read back from the middle of the log takes a repeat for the first command of its id."""
    add = Window.add
    patch.setattr(Window, "add", lambda self, decision: add(self, replace(decision, type=b"")))


def tokens_start_again(patch: pytest.MonkeyPatch) -> None:
    """A token counts the grants of a lock that is remembered."""
    grant = locks._grant
    patch.setattr(locks, "_grant", lambda waiter, at: replace(grant(waiter, at), token=1))


def two_grants_at_once(patch: pytest.MonkeyPatch) -> None:
    """Somebody who asks is granted the lock, held or not."""

    def granted(_: Any, c: Any, at: Any) -> list[Any]:
        return [locks._grant(locks.Waiter(at.request, c.agent, c.owner, c.lease_ms, at.now_ms, None), at)]

    patch.setitem(locks._ANSWERS, locks.AcquireLock, granted)


def last_come_first_served(patch: pytest.MonkeyPatch) -> None:
    evolve = locks.LockDecider.evolve

    def pushed_in(self: Any, state: Any, event: Any) -> Any:
        after = evolve(self, state, event)
        if isinstance(event, locks.LockQueued) and after is not None:
            *waiters, last = after.waiters
            return replace(after, waiters=Queue.of([last, *waiters]))
        return after

    patch.setattr(locks.LockDecider, "evolve", pushed_in)


def leases_never_end(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(locks, "_due", lambda lock, now_ms: [])


def any_version_will_do(patch: pytest.MonkeyPatch) -> None:
    """A worker that lacks the version in force decides by the newest it has."""
    patch.setattr(
        Partition,
        "decider",
        property(lambda self: self.domain.versions.get(self.rules) or self.domain.versions[self.domain.newest]),
    )


def rows_ahead_folded_twice(patch: pytest.MonkeyPatch) -> None:
    """Recovery folds decisions that a row reflects already."""
    apply = Partition.apply

    def careless(self: Partition, decided: Decided, *, fold: bool = True) -> None:
        apply(self, decided)

    patch.setattr(Partition, "apply", careless)


def checkpoints_unchecked(patch: pytest.MonkeyPatch) -> None:
    """The rows of a checkpoint need not add up."""
    patch.setattr(cp, "row_hash", lambda key, value: 0)


def lost_ticks_not_sent_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Worker, "rearms_lost_ticks", False)


MUTATIONS: list[Mutation] = [
    chain_without_prev,
    command_decided_again,
    position_taken_from_the_group,
    any_offset_confirms,
    failure_confirms,
    failure_hidden_by_the_next_success,
    contest_won_by_decree,
    pointer_to_what_is_only_hoped,
    readers_start_anywhere,
    clock_runs_back,
    clock_of_the_machine,
    randomness_in_a_decider,
    window_forgotten,
    repeats_enter_the_window,
    tokens_start_again,
    two_grants_at_once,
    last_come_first_served,
    leases_never_end,
    any_version_will_do,
    rows_ahead_folded_twice,
    checkpoints_unchecked,
    lost_ticks_not_sent_again,
]


@pytest.mark.parametrize("switch_off", MUTATIONS, ids=lambda mutation: mutation.__name__)
def test_a_rule_that_is_switched_off_shows(switch_off: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    switch_off(monkeypatch)
    failure = first_failure(range(SEEDS_MAX))
    assert failure is not None, f"{SEEDS_MAX} histories without {switch_off.__name__} and nobody noticed"
    assert isinstance(failure[1], AssertionError | ChainBroken)
