"""The processor of one domain in one worker: Faust's deliveries in, decisions out.

Each assigned partition is recovered, then decided command by command by its `Owner`; this module does the waiting,
reading and writing around it. What acts here:
- What agents need first is taken on first (`ESSENTIAL`). A partition decides only after its gate: its chain was
  followed to the log's end, its checkpoint is what the log says or it was folded from its events, its next command is
  there, its deadlines are armed.
- After an assignment, delivery starts at the partition's own position, whatever the group had committed.
- A contested partition decides nothing until every report is in and the log was read; then it goes on or is rebuilt.
- A partition that has to wait for something outside the log (a schema registry that does not answer) is paused and
  tries again: nothing is rejected for it.
- A partition that cannot go on (a bug in a decider, unknown rules, lost commands, a broken chain) is halted: it is
  logged with its position, and the others go on.
- Ticks: when the log's time, estimated from the last record and the time passed since, reaches a deadline, a tick for
  that aggregate goes to the commands topic. One that came too early is sent again when its own timestamp says so.
- Checkpoints: every `checkpoint_ms` or `checkpoint_decisions`, after reading back what was written.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, TypeVar

from accord.schemas.codec import commands_codec
from accord.schemas.headers import INBOX, Confirmed, Record, command_headers
from accord.schemas.messages.log import Tick
from accord.schemas.position import Position
from accord.schemas.topics import ESSENTIAL, commands_topic, events_topic
from accord.streams import checkpoint as cp
from accord.streams.chain import Decision
from accord.streams.decider import Domain
from accord.streams.owner import Append, Owner
from accord.streams.partition import Identity, Partition
from accord.streams.runtime import recovery
from accord.streams.runtime.app import Domain as Delivery
from accord.streams.runtime.app import StreamApp
from accord.streams.runtime.consequences import Consequences
from accord.streams.runtime.followups import UNSENT_MAX
from accord.streams.runtime.machine import Machine
from accord.streams.runtime.metrics import DomainMetrics
from accord.streams.runtime.output import Outgoing, Output
from accord.streams.runtime.owned import Owned
from accord.streams.runtime.table import TableDamaged
from accord.streams.runtime.waits import WaitReports
from msgspec import MsgspecError

from accord import logs
from accord.errors import AccordError, ChainBroken, Corrupt, KafkaUnreachable, LogGap, Unavailable
from accord.fetch import Fetcher
from accord.settings import Settings

logger = logs.get("accord.worker")
T = TypeVar("T")

CHUNK_RECORDS: Final = 256
"""Commands decided before the event loop gets a turn; one delivery report speaks for a chunk."""
TICKS_MAX: Final = 1_000
"""Most ticks of one partition under way; further due aggregates wait for the next round."""
TICK_ROUND_S: Final = 0.5
"""Deadlines are looked at when the next is due, and at least so often."""
TICK_ROUND_MIN_S: Final = 0.005
SETTLE_JITTER_S: Final = 0.2
RETRY_S: Final = 1.0
REVOKE_S: Final = 5.0
ROOM_S: Final = 1.0
"""How long a delivery waits until what follows from decisions was sent; others of the domain wait with it."""


class Contested(Exception):
    """Another writer was met; the checkpoint under way is given up, the next one comes after the contest."""


class Processor:
    """One domain's partitions in this worker.

    Args:
        domain: its rules.
        settings: the worker's.
        cluster: the cluster's id, part of every chain's genesis.
        partition_count: of the domain's topics.
        inboxes: partitions of the inbox; 0: there is none, and no notices are sent.
        output: the worker's producer.
        log: the worker's way to read the log.
        timestamps: where the log's clock comes from, for partitions that are opened now.
        clock_ms: the time that records get now; used until the log told its own.
        machine: the time that passes, and chance.
    """

    def __init__(
        self,
        domain: Domain,
        settings: Settings,
        *,
        cluster: str,
        partition_count: int,
        inboxes: int,
        output: Output,
        log: Fetcher,
        timestamps: str,
        clock_ms: Callable[[], int],
        machine: Machine = Machine(),  # noqa: B008
    ) -> None:
        self.domain = domain
        self._machine = machine
        self.settings = settings
        self.cluster = cluster
        self.partition_count = partition_count
        self.inboxes = inboxes
        self.output = output
        self.timestamps = timestamps
        self.clock_ms = clock_ms
        prefix = settings.topics.prefix
        self.commands_topic = commands_topic(domain.name, prefix)
        self.events_topic = events_topic(domain.name, prefix)
        self.owned: dict[int, Owned] = {}
        self._kept: dict[int, Owned] = {}
        self._consequences = Consequences(domain, prefix, partition_count, inboxes)
        self.metrics = DomainMetrics(domain, clock_ms)
        self._tick_value = commands_codec(domain.name).encode(Tick())
        self._tick_type = commands_codec(domain.name).type_name(Tick())
        self._log = log
        self._reading = ThreadPoolExecutor(1, f"accord-{domain.name}-reader")
        self._wake = asyncio.Event()
        self.tick_round_s = TICK_ROUND_S
        self._ticker: asyncio.Task[None] | None = None
        self._delivery: Delivery | None = None

    def attach(self, app: StreamApp) -> None:
        """Registers with the app that delivers."""
        self._delivery = app.domain(
            self.domain.name,
            self.commands_topic,
            on_batch=self.on_batch,
            on_assigned=self.on_assigned,
            on_revoked=self.on_revoked,
            rank=0 if self.domain.name in ESSENTIAL else 1,
        )
        self._ticker = asyncio.create_task(self._tick_forever(app))

    @property
    def in_memory(self) -> dict[int, str]:
        """Partitions whose table the disk does not take, and why."""
        return self.delivery.table.in_memory if self.delivery.is_bound else {}

    @property
    def delivery(self) -> Delivery:
        assert self._delivery is not None, "attach first"
        return self._delivery

    async def close(self) -> None:
        """Ends the timers and the reader; after the app has stopped."""
        if self._ticker is not None:
            self._ticker.cancel()
            await asyncio.gather(self._ticker, return_exceptions=True)
        self._reading.shutdown(wait=True)

    def commands_end(self, index: int) -> int | None:
        """One past the last command of the log, as far as it is known."""
        return self.delivery.commands_end(index)

    def advance(self, ms: int) -> None:
        """The log's time has jumped ahead (embedded broker)."""
        for owned in self.owned.values():
            owned.log_ms += ms
        self._wake.set()

    @property
    def quiet(self) -> bool:
        """No deadline of these partitions is due, nothing is under way."""
        for owned in self.owned.values():
            following = owned.owner.partition.deadlines.next()
            due = following is not None and following <= owned.log_now_ms()
            if owned.halted is None and (due or owned.ticking or owned.owner.pending):
                return False
        return True

    # -- assignment

    async def on_assigned(self, partitions: frozenset[int]) -> Mapping[int, int]:
        """Recovers partitions; returns where delivery goes on for each."""
        starts = {}
        try:
            for index in sorted(partitions):
                owned = await self._take_on(index)
                self.owned[index] = owned
                starts[index] = owned.owner.next_command
        except BaseException:  # also where the next rebalance cuts it off: all or none of them
            for index in partitions:
                self.owned.pop(index, None)
            raise
        for index in partitions:
            self._consequences.tell_waits_anew(self.owned[index])
        self.metrics.assignments += 1
        self._kept.clear()
        self._wake.set()
        return starts

    async def on_revoked(self, partitions: frozenset[int]) -> None:
        """Finishes what is under way and writes a checkpoint; the memory is kept in case the partition comes back."""
        for index in partitions:
            owned = self.owned.pop(index, None)
            if owned is None or owned.halted is not None:
                continue
            try:
                async with asyncio.timeout(0 if owned.followups.failing else REVOKE_S):
                    await owned.wait(lambda owned=owned: owned.owner.contested or not owned.owner.pending)  # type: ignore[misc]
                    await self._checkpoint(index, owned)
            except Exception as error:  # whoever takes the partition on does so without it
                logger.warning("revoked before its checkpoint", partition=self._identity(index).name, why=repr(error))
            self._kept[index] = owned

    async def _take_on(self, index: int) -> Owned:
        kept = self._kept.pop(index, None)
        if kept is not None and await self._still_fits(index, kept):
            return kept
        return await self._recover(index)

    async def _still_fits(self, index: int, kept: Owned) -> bool:
        """Whether the memory of a partition that was revoked is still good: nobody wrote another checkpoint, the rows
        that came with the assignment add up to it, and what the memory believes of the log is there."""
        table = self.delivery.table
        try:
            stored = table.get_row(index, cp.CHECKPOINT_KEY)
        except TableDamaged:
            return False
        if kept.checkpoint is None or stored != kept.checkpoint.encode() or kept.reports:
            return False
        if cp.load(self._identity(index).root, table.rows(index)) is None:
            return False
        try:
            return await self._settle(index, kept)
        except AccordError:
            return False

    async def _recover(self, index: int) -> Owned:
        """Loads a partition; a broken one comes back halted."""
        began = self._machine.time_s()
        identity = self._identity(index)
        loaded = cp.load(identity.root, self.delivery.table.rows(index))
        try:
            recovered = await self._persistently(
                recovery.recover, self._log, self.events_topic, identity, self.domain, loaded
            )
        except Corrupt as error:
            owned = self._new(Owner(Partition(identity, self.domain), 0, None), None)
            self._halt(owned, error)
            return owned
        partition = recovered.partition
        owner = Owner(
            partition,
            recovered.end_offset,
            recovered.confirmed,
            pending_max=self.settings.worker.unconfirmed_max,
        )
        owned = self._new(owner, recovered.checkpoint)
        owned.saw(max(self.clock_ms(), 0))
        if loaded is not None and recovered.checkpoint is not None:
            owned.stale_rows = loaded.stale
        else:
            partition.changed.update(partition.aggregates)
            owned.stale_rows = [key for key, _ in self.delivery.table.rows(index) if key != cp.CHECKPOINT_KEY]
            if owned.stale_rows:
                self.delivery.table.discard(index, "its rows do not add up, or are not what the log says")
        if partition.head.seq == 0:
            self._write(index, owned, [owner.open(self.partition_count, self.timestamps)])
        try:
            await self._check_commands(index, owned)
            await self._follow_again(index, owned, recovered.refold)
        except Corrupt as error:
            self._halt(owned, error)
        self._probe(index, owned)
        self.metrics.recovered(index, used_checkpoint=recovered.checkpoint is not None, began_s=began)
        logger.info(
            "partition recovered",
            partition=identity.name,
            seq=partition.head.seq,
            aggregates=len(partition.aggregates),
            checkpoint=recovered.checkpoint.seq if recovered.checkpoint else None,
            seconds=round(self._machine.time_s() - began, 3),
        )
        return owned

    async def _check_commands(self, index: int, owned: Owned) -> None:
        """The next command must still be in the log, or an operator has said to go on without it."""
        low, owned.catch_up_to = await self._persistently(self._log.bounds, self.commands_topic, index)
        following = owned.owner.next_command
        if following >= low:
            return
        last = Position(self.domain.name, index, low - 1, commands=True)
        if str(last) not in self.settings.worker.accept_loss:
            raise LogGap(
                f"The commands {Position(self.domain.name, index, following, commands=True)} to {last} were removed "
                "from the log before they were decided.",
                remedy=f"To go on without them: accord worker --accept-loss {last}",
                position=str(last),
            )
        logger.warning("going on without lost commands", first=following, last=str(last))
        self._write(index, owned, [owned.owner.lost(low - 1)])

    async def _follow_again(self, index: int, owned: Owned, decisions: list[Decision]) -> None:
        """What follows from decisions read from the log may not have been written: writes it (again). However many they
        are, it was for all but the last ones."""
        recent = self._consequences.unfollowed(decisions)
        for decision in filter(self._consequences.any_of, recent):
            events = owned.owner.partition.read(decision).events
            command = await self._persistently(self._command_at, index, decision.cause)
            self._consequences.add(owned, decision, events, command)
        self._consequences.notify_again(owned, recent)
        owned.follows = True
        self._consequences.send(owned)

    def _command_at(self, index: int, offset: int) -> Record | None:
        try:
            return next(iter(self._log.read(self.commands_topic, index, offset, offset + 1)), None)
        except LogGap:
            return None

    # -- deciding

    async def on_batch(self, index: int, records: list[Record]) -> None:
        """Decides the commands of one delivery, in order."""
        owned = self.owned.get(index)
        if owned is None or owned.halted is not None or owned.paused is not None:
            return
        try:
            for start in range(0, len(records), CHUNK_RECORDS):
                if not await self._decide(index, owned, records[start : start + CHUNK_RECORDS]):
                    return
        except Unavailable as error:
            at = Position(self.domain.name, index, owned.owner.next_command, commands=True)
            logger.warning("partition waits", at=str(at), why=str(error))
            owned.waits_for = str(error)
            owned.paused = asyncio.create_task(self._resume(index, owned))
            return
        except Exception as error:
            self._halt(owned, error)
            return
        owned.waits_for = ""
        worker = self.settings.worker
        done = owned.owner.partition.head.seq - (owned.checkpoint.seq if owned.checkpoint else 0)
        if done >= worker.checkpoint_decisions:
            self._checkpoint_soon(index, owned)
        self._wake.set()

    async def _resume(self, index: int, owned: Owned) -> None:
        """Takes up a paused partition where it stands; what was delivered meanwhile was dropped."""
        await asyncio.sleep(RETRY_S)
        owned.paused = None
        if self.owned.get(index) is owned:
            await self.delivery.seek(index, owned.owner.next_command)

    async def _decide(self, index: int, owned: Owned, records: list[Record]) -> bool:
        """Decides a chunk. False: the partition was rebuilt, and delivery starts again at its position."""
        owner = owned.owner
        needed = min(len(records), owner.pending_max)
        if owner.room < needed:
            await owned.wait(lambda: owner.contested or owner.room >= needed)
            if owner.contested and not await self._settled(index, owned):
                return False
        await self._wait_for_followups(owned, needed)
        # One fetch brought these records, so offsets missing among them do not exist; before them, it must be shown.
        hole = records[0].offset <= owner.next_command or await self._is_hole(index, owned, records[0].offset)
        began_s = time.perf_counter()
        appends: list[Append] = []
        ticking, waits = owned.ticking, owned.waits
        consequences = self._consequences
        try:
            for record in records:
                append = owner.take(record, hole=hole)
                if append is None:
                    continue
                decision = append.decision
                appends.append(append)
                if consequences.any_of(decision):
                    consequences.add(owned, decision, append.decided.events, record)
                if waits is not None:
                    waits.note(decision)
                if ticking:
                    key = decision.key.decode(errors="replace")
                    if key in ticking and decision.command_id.startswith("tick-"):
                        del ticking[key]
                        owner.partition.deadlines.rearm(key)
        finally:
            owned.saw(records[-1].timestamp)
            if appends:
                consequences.notify(owned, [(append.decision, append.decided.events) for append in appends])
            self._write(index, owned, appends)
            self.metrics.decided(index, appends, records, began_s)
        await asyncio.sleep(0)
        return True

    async def _wait_for_followups(self, owned: Owned, needed: int) -> None:
        """Waits until what follows from so many decisions more is within the bound of what was not sent.

        Raises:
            Unavailable: it takes long: where it goes to is away. The partition must not hold others up meanwhile.
        """
        seq = owned.owner.partition.head.seq + needed
        try:
            async with asyncio.timeout(ROOM_S):
                await owned.wait(lambda: owned.followups.has_room(seq))
        except TimeoutError:
            raise Unavailable(
                f"What follows from {UNSENT_MAX:,} decisions could not be sent: dead letters, commands or notices.",
                remedy="Are the topics there? See: accord topics check.",
            ) from None

    async def _is_hole(self, index: int, owned: Owned, offset: int) -> bool:
        """Whether a fetch from the position itself brings this record first: the offsets between do not exist."""
        following = owned.owner.next_command
        first = await self._blocking(self._first_from, index, following, offset + 1)
        return first == offset

    def _first_from(self, index: int, start: int, end: int) -> int | None:
        for record in self._log.read(self.commands_topic, index, start, end):
            return record.offset
        return None

    def _write(self, index: int, owned: Owned, appends: Sequence[Append]) -> None:
        """Sends decisions; the report of the last speaks for all."""
        if not appends:
            return
        name = owned.owner.partition.name
        source = f"accord/{name}".encode()
        inboxes = (INBOX, b"%d" % self.inboxes) if self.inboxes else None
        followed = owned.followed
        records: list[Outgoing] = []
        for append in appends:
            decision = append.decided.decision
            headers = decision.headers(f"{name}:{decision.cause}", source, append.confirmed, followed)
            if inboxes is not None:
                headers.append(inboxes)
            records.append((decision.key, decision.value, headers))
        owned.reports += 1
        report = partial(self._reported, index, owned, decision.seq)
        self.output.send_all(self.events_topic, index, records, report)

    def _reported(self, index: int, owned: Owned, seq: int, offset: int | None) -> None:
        owned.reports -= 1
        owned.owner.delivered(seq, offset)
        owned.changed.set()
        if owned.owner.confirmed is not None:
            self.metrics.confirmed(index, owned.owner.confirmed.seq)
        if owned.owner.contested and owned.reports == 0 and self.owned.get(index) is owned:
            owned.settlement = asyncio.create_task(self._settle_unasked(index, owned))
        self._consequences.send(owned)

    # -- contested

    async def _settle_unasked(self, index: int, owned: Owned) -> None:
        """Settles a contest although no command waits for it."""
        try:
            await self._settled(index, owned)
        except Exception as error:
            self._halt(owned, error)

    async def _settled(self, index: int, owned: Owned) -> bool:
        """Reads the log until the contest is over. False: the partition was rebuilt."""
        async with owned.settling:
            return await self._settle_or_rebuild(index, owned)

    async def _settle_or_rebuild(self, index: int, owned: Owned) -> bool:
        identity = self._identity(index)
        while self.owned.get(index) is owned and owned.owner.contested:
            await owned.wait(lambda: owned.reports == 0)
            await asyncio.sleep(self._machine.uniform(0, SETTLE_JITTER_S))
            if not owned.owner.contested:
                break
            try:
                if await self._settle(index, owned):
                    self.metrics.contests["settled"] += 1
                    logger.info("contested partition settled", partition=identity.name)
                    break
                self.metrics.contests["lost"] += 1
                logger.warning("contested partition differs from the log, rebuilding", partition=identity.name)
                if owned.checkpointing is not None:
                    owned.checkpointing.cancel()
                rebuilt = await self._recover(index)
            except KafkaUnreachable as error:
                logger.warning("contested partition cannot read the log", partition=identity.name, why=str(error))
                await asyncio.sleep(RETRY_S)
                continue
            if self.owned.get(index) is owned:
                self._consequences.tell_waits_anew(rebuilt)
                self.owned[index] = rebuilt
                self._wake.set()
                await self.delivery.seek(index, rebuilt.owner.next_command)
            owned.halted = ChainBroken("replaced by a rebuilt state")
            return False
        return self.owned.get(index) is owned

    async def _settle(self, index: int, owned: Owned) -> bool:
        accepted, end = await self._blocking(
            recovery.accepted_after, self._log, self.events_topic, self._identity(index), owned.owner.confirmed
        )
        settled = owned.owner.settle(accepted, end)
        if settled:
            for key in owned.ticking:  # another worker may have decided them: nobody here would ask again
                owned.owner.partition.deadlines.rearm(key)
            owned.ticking.clear()
            self._wake.set()
            if accepted:  # as they lie in the log, and whoever made them: he may be gone
                owned.followups.forget(accepted[0].seq)
                await self._follow_again(index, owned, accepted)
            self._consequences.send(owned)
        owned.changed.set()
        return settled

    # -- ticks

    async def _tick_forever(self, app: StreamApp) -> None:
        try:
            while True:
                pause = self.tick_round_s
                for index, owned in list(self.owned.items()):
                    if owned.halted is None:
                        pause = min(pause, self._tick(index, owned), self._consequences.tell_waits(owned))
                self._wake.clear()
                try:
                    await asyncio.wait_for(self._wake.wait(), max(pause, TICK_ROUND_MIN_S))
                except TimeoutError:
                    continue
                await asyncio.sleep(TICK_ROUND_MIN_S)
        except Exception as error:
            app.fail(error)

    def _tick(self, index: int, owned: Owned) -> float:
        """Sends the ticks that are due, starts a checkpoint that is; returns the seconds until the next is."""
        now = owned.log_now_ms()
        deadlines = owned.owner.partition.deadlines
        for key in deadlines.due(now):
            if key not in owned.ticking:
                self._send_tick(index, owned, key)
            if len(owned.ticking) >= TICKS_MAX:
                break
        pause = self.tick_round_s
        if owned.owner.partition.changed:
            due_s = owned.checkpointed_at + self.settings.worker.checkpoint_ms / 1_000 - self._machine.time_s()
            if due_s <= 0:
                self._checkpoint_soon(index, owned)
            else:
                pause = min(pause, due_s)
        following = deadlines.next()
        return pause if following is None else min(pause, (following - now) / 1_000)

    def _probe(self, index: int, owned: Owned) -> None:
        """After an assignment the log's time is a guess: one tick, to the first deadline, tells it."""
        deadlines = owned.owner.partition.deadlines
        following = deadlines.next()
        if owned.halted is None and following is not None:
            for key in deadlines.due(following):
                self._send_tick(index, owned, key)
                break

    def _send_tick(self, index: int, owned: Owned, key: str) -> None:
        owned.ticking[key] = None
        source = f"accord/{self._identity(index).name}"
        headers = command_headers(f"tick-{self._machine.new_id()}", source, self._tick_type, b"")
        report = partial(self._tick_reported, owned, key)
        self.output.send(self.commands_topic, index, key.encode(), self._tick_value, headers, report)

    def _tick_reported(self, owned: Owned, key: str, offset: int | None) -> None:
        if offset is None and key in owned.ticking:
            del owned.ticking[key]
            owned.owner.partition.deadlines.rearm(key)
            self._wake.set()

    # -- checkpoints

    def _checkpoint_soon(self, index: int, owned: Owned) -> None:
        if owned.checkpointing is None or owned.checkpointing.done():
            owned.checkpointing = asyncio.create_task(self._checkpoint_logged(index, owned))

    async def _checkpoint_logged(self, index: int, owned: Owned) -> None:
        try:
            await self._checkpoint(index, owned)
        except Contested:
            logger.debug("checkpoint given up", partition=self._identity(index).name)
        except ChainBroken as error:
            self._halt(owned, error)
        except Exception as error:
            name = self._identity(index).name
            logger.warning("no checkpoint, will try again", partition=name, why=repr(error))

    async def _checkpoint(self, index: int, owned: Owned) -> None:
        """Writes the changed rows of the state as it is now, then the checkpoint that names it."""
        async with owned.checkpoint_lock:
            await self._checkpoint_alone(index, owned)

    async def _checkpoint_alone(self, index: int, owned: Owned) -> None:
        owner = owned.owner
        owned.checkpointed_at = began_s = self._machine.time_s()
        if owner.contested or not owner.partition.changed:
            return
        taken = cp.snapshot(owner.partition)
        seq = taken.checkpoint.seq
        try:
            await owned.wait(lambda: owner.contested or (owner.confirmed is not None and owner.confirmed.seq >= seq))
            if owner.contested:
                raise Contested
            await owned.wait(lambda: owned.followups.done(seq))
            mine = Confirmed(taken.checkpoint.offset, seq, taken.checkpoint.digest)
            identity = self._identity(index)
            owned.verified = await self._blocking(
                recovery.read_back, self._log, self.events_topic, identity, owned.verified, mine
            )
            table = self.delivery.table
            try:
                rows, done, stale = cp.rows_of(taken, owned.checkpoint, partial(table.get_row, index))
            except MsgspecError:  # the table was damaged since it was loaded: the next checkpoint writes all of it
                owner.partition.changed.update(owner.partition.aggregates)
                owned.checkpoint, owned.stale_rows = (
                    None,
                    [key for key, _ in table.rows(index) if key != cp.CHECKPOINT_KEY],
                )
                raise
            rows = dict.fromkeys(owned.stale_rows) | rows
            await table.write_rows(index, rows)
            await table.write_rows(index, {cp.CHECKPOINT_KEY: done.encode()})
        except BaseException as error:
            owner.partition.changed.update(taken.changed)
            if isinstance(error, TableDamaged):  # nothing of it is left: the next checkpoint writes all rows
                owned.checkpoint, owned.stale_rows = None, []
                owner.partition.changed.update(owner.partition.aggregates)
            raise
        owned.checkpoint, owned.stale_rows = done, stale
        self.metrics.checkpointed(index, began_s)

    # -- helpers

    def _new(self, owner: Owner, checkpoint: cp.Checkpoint | None) -> Owned:
        contention = self.domain.contention
        waits = None if contention is None else WaitReports(contention, self.partition_count, self._machine)
        return Owned(owner, checkpoint, self.output, waits, self._machine)

    def _identity(self, index: int) -> Identity:
        return Identity(self.cluster, self.domain.name, index, self.settings.topics.prefix)

    def _halt(self, owned: Owned, error: BaseException) -> None:
        owned.halted = error
        self.metrics.halts += 1
        partition = owned.owner.partition
        at = Position(self.domain.name, partition.identity.partition, partition.position + 1, commands=True)
        logger.error("partition halted", at=str(at), why=f"{type(error).__name__}: {error}", exc_info=_bug(error))

    async def _persistently(self, function: Callable[..., T], *args: Any) -> T:
        """What a partition cannot be taken on without. A worker that has run waits for a Kafka that is away, however
        long; one that starts raises KafkaUnreachable."""
        while True:
            try:
                return await self._blocking(function, *args)
            except KafkaUnreachable as error:
                if not self.metrics.assignments:
                    raise
                logger.warning("waiting for Kafka", domain=self.domain.name, why=str(error))
                await asyncio.sleep(RETRY_S)

    async def _blocking(self, function: Callable[..., T], *args: Any) -> T:
        """Runs a read in the domain's reader thread; one at a time."""
        return await asyncio.get_running_loop().run_in_executor(self._reading, partial(function, *args))


def _bug(error: BaseException) -> BaseException | None:
    """The traceback belongs into the log only where accord itself is at fault."""
    return None if isinstance(error, AccordError) else error
