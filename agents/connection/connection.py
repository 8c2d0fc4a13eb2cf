"""The connection of an agent to the log: commands out, decisions in.

Rules that act here:
- Acknowledged means accepted: a command is answered only by its decision, read from the events log through the chain,
  or told by the worker that has seen it confirmed there.
- All I/O, all timers and all callbacks run on one daemon thread of accord's own; a blocked caller costs nobody a lease.
- A partition is followed before the first command to it is sent; commands to it wait, in order, until it is.
- At most `client.unsent_max` commands are under way; beyond that `Overloaded`.
- A partition of a domain that is not essential and that nobody decides is tried by one command at a time.
- Every wait is bounded: by the delivery timeout of the producer, then by `client.worker_wait_ms`. A command that is
  given up is taken back by its withdrawal, sent by the same producer to the same partition, so it comes after it.
- A log that cannot be followed any more fails the connection and everybody who waits on it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from hashlib import blake2b
from typing import Any, Final

from accord.agents.connection.answers import Answers, Place
from accord.agents.connection.events_reader import EventsReader
from accord.agents.connection.inbox_reader import InboxReader
from accord.agents.connection.outages import Outages
from accord.agents.connection.runtime import Joinable, Runtime, current
from accord.agents.connection.sender import Sender
from accord.agents.connection.underway import Answer, Submission, Underway, Withdrawal, future, settle
from accord.schemas.codec import events_codec
from accord.schemas.headers import TEXT_BYTES_MAX
from accord.schemas.inbox import address_in, address_of, with_address
from accord.schemas.messages import Command
from accord.schemas.messages.log import CommandRejected, CommandRepeated
from accord.schemas.position import Position
from accord.schemas.topics import DOMAINS, ESSENTIAL, KEY_BYTES_MAX, commands_topic, events_topic, partition_of
from accord.streams.chain import Decision
from confluent_kafka import KafkaError

from accord import logs
from accord.errors import (
    AccordError,
    BadInput,
    ConfigError,
    Corrupt,
    NotConnected,
    Overloaded,
    SchemaError,
    TopicMismatch,
)
from accord.kafka import metadata
from accord.settings import Settings
from accord.tracing import traceparent

__all__ = ["Answer", "Connection", "Submission", "future", "settle"]

logger = logs.get("accord.client")

POLL_S: Final = 0.02
"""Longest sleep of the thread: how late a timer can be, or the end be noticed."""
SWEEP_S: Final = 0.1
"""How often the commands under way are looked through for those that wait too long."""
IDLE_S: Final = 60.0
"""A partition that nobody has waited on for this long is followed no more."""
CHECK_S: Final = 60.0
"""How often it is made sure that the topics which are followed still exist; sooner when a command is slow."""
FLUSH_S: Final = 5.0
"""How long closing waits for the delivery of what was sent."""

Watcher = Callable[[Answer], None]


class _Followed:
    """A partition that somebody waits on. `users` counts commands under way and watches."""

    __slots__ = ("backlog", "idle_since_s", "started", "users")

    def __init__(self) -> None:
        self.started = False
        self.backlog: deque[Underway] = deque()
        self.users = 0
        self.idle_since_s = 0.0


class Connection:
    """Thread-safe: every method may be called from any thread.

    Args:
        agent: name of the agent; commands carry it as their source. At most 255 bytes of UTF-8.
        timestamp_ms: gives the time of each command, in ms since 1970; None: the broker's clock.
        runtime: on what it runs; None: on that of this context.

    Raises:
        BadInput: the agent's name is empty or too long.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        agent: str,
        timestamp_ms: Callable[[], int] | None = None,
        runtime: Runtime | None = None,
    ) -> None:
        if not 0 < len(agent.encode()) <= KEY_BYTES_MAX:
            raise BadInput(f"agent {agent[:40]!r}: a name has 1 to {KEY_BYTES_MAX} bytes of UTF-8.")
        self.settings = settings
        self.agent = agent
        self.runtime = runtime or current()
        self.monotonic = self.runtime.monotonic
        """The clock of its timers, in seconds."""
        self._timestamp_ms = timestamp_ms
        self._address = address_of(agent) if settings.client.answers == "inbox" else None
        self._partition_count = settings.topics.partitions
        self._lock = threading.Lock()
        self._underway: dict[tuple[str, str], Underway] = {}
        self._followed: dict[Place, _Followed] = {}
        self._watchers: dict[tuple[str, bytes], tuple[Watcher, ...]] = {}
        self._on_failure: dict[object, Callable[[AccordError], None]] = {}
        self._outages = Outages()
        self._timers = self.runtime.timers()
        self._sender: Sender | None = None
        self._answers: Answers | None = None
        self._thread: Joinable | None = None
        self._thread_id: int | None = None
        self._opened: Future[None] = future()
        self._closed: Future[None] = future()
        self._next_check_s = self.monotonic() + CHECK_S
        self._next_sweep_s = 0.0
        self._stopping = False
        self._failure: AccordError | None = None

    # -- opening and closing

    def open(self) -> None:
        """Connects and checks the topics; blocks at most `kafka.connect_timeout_ms`.

        Raises:
            KafkaUnreachable: no broker answers.
            TopicMismatch: a topic is missing, or has another partition count than the settings say.
        """
        self.opening().result()

    def opening(self) -> Future[None]:
        """`open` without blocking: a future."""
        with self._lock:
            if self._thread is None:
                self._thread = self.runtime.drive(self, f"accord-{self.agent}", POLL_S)
        return self._opened

    def close(self) -> None:
        """Waits for the delivery of what was sent, at most `FLUSH_S`, and ends the thread. Safe to call again.

        Who still waits for a decision gets NotConnected.
        """
        self.closing().result()
        if self._thread is not None and self._thread_id != threading.get_ident():
            self._thread.join()

    def closing(self) -> Future[None]:
        """`close` without blocking: a future."""
        with self._lock:
            self._stopping = True
            if self._thread is None:
                self._failure = NotConnected("The connection was closed before it was opened.")
                settle(self._opened, self._failure)
                settle(self._closed, None)
        self.runtime.wake(self)
        return self._closed

    # -- the life of accord's thread, in steps

    def begin(self) -> None:
        """Connects; `is_over` if that fails."""
        self._thread_id = threading.get_ident()
        try:
            sender = Sender(self.settings, self.agent, self._timestamp_ms, self._delivered, self.runtime)
            self._answers = answers = self._source()
            found = metadata(answers.consumer, self.settings.kafka)
            self._check_topics(found)
            answers.open(found)
        except BaseException as error:
            self._failure = _as_failure(error)
            settle(self._opened, error)
            return
        with self._lock:
            self._sender = sender
        settle(self._opened, None)

    @property
    def is_over(self) -> bool:
        """Whether it is closed, or has failed."""
        return self._stopping or self._failure is not None

    def step(self, longest_s: float) -> None:
        """Waits for answers, at most so long and no longer than until the next timer; does what is due."""
        timers, answers, sender = self._timers, self._answers, self._sender
        assert answers is not None and sender is not None
        try:
            answers.poll(timers.wait_s(longest_s))
            sender.poll()
            for callback in timers.due():
                _call(callback)
            now_s = self.monotonic()
            if now_s >= self._next_sweep_s:
                self._next_sweep_s = now_s + SWEEP_S
                self._sweep(now_s)
        except Exception as error:
            self._fail(_as_failure(error))

    def end(self) -> None:
        """Everybody who waits gets to know; what was sent is delivered, if it can be within `FLUSH_S`."""
        try:
            self._end(NotConnected("The connection was closed before the command was decided."))
        finally:
            if self._answers is not None:
                self._answers.close()
            settle(self._closed, None)

    def _source(self) -> Answers:
        if self._address is None:
            return EventsReader(self.settings, self, self.runtime)
        return InboxReader(self.settings, self, self._address, self.runtime)

    def _check_topics(self, found: Any) -> None:
        prefix, expected = self.settings.topics.prefix, self._partition_count
        for domain in DOMAINS:
            for topic in (commands_topic(domain, prefix), events_topic(domain, prefix)):
                count = len(found.topics[topic].partitions) if topic in found.topics else 0
                if count == 0:
                    raise TopicMismatch(f"{topic} does not exist.", remedy="Create the topics: accord topics init.")
                if count != expected:
                    raise TopicMismatch(
                        f"{topic} has {count} partition{'s' * (count != 1)}, settings say {expected} (auto-created?).",
                        remedy="If empty, delete it, then: accord topics init.",
                    )

    def on_failure(self, callback: Callable[[AccordError], None]) -> Callable[[], None]:
        """Calls back on accord's thread when the connection fails or closes; returns the function that ends that."""
        mark = object()
        self._on_failure[mark] = callback

        def end() -> None:
            self._on_failure.pop(mark, None)

        return end

    def _fail(self, error: AccordError) -> None:
        """The log cannot be followed any more: the thread ends, and everybody gets to know."""
        logger.error("the connection has failed", why=str(error), code=error.code, agent=self.agent)
        self._failure = error

    def _end(self, reason: AccordError) -> None:
        with self._lock:
            reason = self._failure = self._failure or reason
            sender, self._sender = self._sender, None
        if sender is not None:
            sender.close(FLUSH_S)
        with self._lock:
            underway = list(self._underway.values())
            callbacks = list(self._on_failure.values())
            self._underway.clear()
            self._on_failure.clear()
            self._watchers.clear()
            self._followed.clear()
        for command in underway:
            settle(command.decided, reason)
        for callback in callbacks:
            _call(lambda callback=callback: callback(reason))  # type: ignore[misc]

    def _open_sender(self) -> Sender:
        """Holds the lock."""
        if self._sender is not None and self._failure is None:
            return self._sender
        if isinstance(self._failure, Corrupt | ConfigError):
            raise self._failure
        state = "closed" if self._failure else "not open"
        raise NotConnected(f"The connection is {state}.", remedy="Open a hub: async with accord.Accord().")

    # -- commands

    def new_id(self) -> str:
        """An id for a command, with the address to which its answer goes."""
        return self._addressed(self.runtime.new_id())

    def id_of(self, text: str) -> str:
        """The id of a command that is to be decided once, however often this agent sends it; the same for a text."""
        return self._addressed(blake2b(text.encode(), digest_size=16).hexdigest())

    def _addressed(self, unique: str) -> str:
        return unique if self._address is None else with_address(unique, self._address)

    def submit(
        self,
        domain: str,
        key: str,
        command: Command,
        *,
        task: str | None = None,
        trace: str | None = None,
        message_id: str | None = None,
        withdrawal: Withdrawal | None = None,
        answer_ms: int | None = None,
        urgent: bool = False,
        on_delivered: Callable[[], None] | None = None,
    ) -> Submission:
        """Sends a command; never blocks.

        Args:
            key: id of the aggregate; 1 to 255 bytes of UTF-8.
            task, trace: correlation id and W3C trace context of its headers. Without a trace, that of what runs here.
            message_id: of `new_id`; to send a command again, its first id: it is answered by the first decision on it.
                None: a new one.
            withdrawal: makes, of the message id, the command that takes this one back; sent when it is given up.
            answer_ms: how long to wait for the decision; None, and at most: `client.worker_wait_ms`.
            urgent: sent even where nobody decides: what takes back, gives back, or renews.
            on_delivered: called, on accord's thread, when the log has the command; not if the decision was there first.

        Returns:
            The submission. Its `decided` raises Rejected (details `reason`, `description`), NoWorker, Degraded (the
            same of a domain that is not essential: see `outages.py`), KafkaUnreachable, OutcomeUnknown (details
            `command_id`), NotConnected (closed meanwhile), SchemaError,
            ChainBroken, LogGap. Refusals of the domain (LockDenied, SignalRefused) are answers, not errors.

        Raises:
            BadInput: the key or a header cannot be one, or the command is too large.
            NotConnected: the connection is not open.
            Overloaded: `client.unsent_max` commands are under way.
            ChainBroken, LogGap: the connection has failed.
        """
        encoded_key = _key(domain, key)
        message_id = self.new_id() if message_id is None else self._id(message_id)
        trace = trace or traceparent()
        _check_text("task", task)
        _check_text("trace", trace)
        client = self.settings.client
        wait_ms = client.worker_wait_ms if answer_ms is None else min(answer_ms, client.worker_wait_ms)
        place = domain, partition_of(encoded_key, self._partition_count)
        with self._lock:
            sender = self._open_sender()
            known = self._underway.get((domain, message_id))
            if known is not None:
                return Submission(message_id, known.decided)
            if len(self._underway) >= client.unsent_max:
                raise Overloaded(
                    f"{type(command).__name__} {key}: {client.unsent_max} commands are under way already.",
                    remedy="Send slower, or raise client.unsent_max.",
                    key=key,
                )
            if not urgent and not self._outages.may_send(place, message_id):
                return Submission(message_id, self._refused(command, place, key))
            if self._outages.is_off(place) and domain not in ESSENTIAL:
                wait_ms = min(wait_ms, client.worker_warning_ms)
            underway = Underway(
                message_id, place, key, command, task, trace, withdrawal, wait_ms / 1_000, self.monotonic, on_delivered
            )
            followed = self._follow(place)
            self._underway[domain, message_id] = underway  # before it is sent: the answer may come at once
            if followed.started:
                try:
                    sender.send(underway)
                except AccordError:
                    del self._underway[domain, message_id]
                    self._outages.ended(place, message_id)
                    self._leave(place)
                    raise
            else:
                followed.backlog.append(underway)
        return Submission(message_id, underway.decided)

    def _refused(self, command: Command, place: Place, key: str) -> Future[Answer]:
        why = "no worker has decided what was asked of it before, and one command tries it already"
        what = f"{type(command).__name__} {key} was not sent"
        refused = future()
        settle(refused, self._outages.error(what, place, why, "Start a worker: accord worker.", key=key))
        return refused

    def _id(self, message_id: str) -> str:
        if not message_id or " " in message_id or len(message_id.encode()) > TEXT_BYTES_MAX:
            raise BadInput(f"message_id {message_id[:40]!r}: 1 to {TEXT_BYTES_MAX} bytes without spaces are needed.")
        if self._address is not None and address_in(message_id) != self._address:
            raise BadInput(
                f"message_id {message_id[:100]!r} was not made for agent {self.agent}: its answer would go elsewhere.",
                remedy='Take one of new_id(), or send it again with client.answers="events".',
            )
        return message_id

    def _delivered(self, underway: Underway, error: KafkaError | None, message: Any) -> None:
        """The producer's report; on accord's thread."""
        if error is None:
            underway.offset = message.offset()
            if self._outages.kafka:
                self._outages.kafka = ""
                logger.info("the log takes commands again", agent=self.agent)
            if underway.on_delivered is not None:
                _call(underway.on_delivered)
            return
        self._is_away(error.str())
        if self._forget(underway):
            settle(underway.decided, underway.undeliverable(error))
            self._withdraw(underway)

    def _is_away(self, why: str) -> None:
        """The log did not take a command."""
        if not self._outages.kafka:
            logger.warning("the log takes no commands", agent=self.agent, why=why)
        self._outages.kafka = why

    def _withdraw(self, underway: Underway) -> None:
        """Takes back a command that was given up, if it can be."""
        if underway.withdrawal is None or not underway.sent:
            return
        try:
            taken_back = underway.withdrawal(underway.id)
            task, trace = underway.task, underway.trace
            self.submit(underway.place[0], underway.key, taken_back, task=task, trace=trace, urgent=True)
        except AccordError as error:
            about = self._about(underway)
            logger.warning("a request could not be withdrawn", request=str(underway), why=str(error), **about)

    def _warn(self, underway: Underway, now_s: float) -> None:
        what = "not delivered yet" if underway.offset is None else "delivered, but not decided yet: a worker?"
        waiting_ms = round((now_s - underway.since_s) * 1_000)
        logger.warning(what, command=str(underway), waiting_ms=waiting_ms, **self._about(underway))

    def _about(self, underway: Underway) -> dict[str, str]:
        """Whose command it is, of which task, for lines that accord's thread writes."""
        about = {"agent": self.agent, "action": type(underway.command).__name__}
        return about | {"task": underway.task} if underway.task else about

    def _forget(self, underway: Underway) -> bool:
        """Takes a command off those under way; False if it was not there any more."""
        with self._lock:
            if self._underway.pop((underway.place[0], underway.id), None) is None:
                return False
            self._outages.ended(underway.place, underway.id)
            self._leave(underway.place)
            return True

    def _sweep(self, now_s: float) -> None:
        """Warns of commands that are slow, gives up those that are too slow, looks after the partitions followed."""
        warning_s = self.settings.client.worker_warning_ms / 1_000
        with self._lock:
            slow = [u for u in self._underway.values() if now_s >= min(u.give_up_s, u.since_s + warning_s)]
        check = now_s >= self._next_check_s and bool(self._followed)
        look: Underway | None = None
        for underway in slow:
            if now_s >= underway.give_up_s:
                if self._forget(underway):
                    self._was_silent(underway, now_s - underway.since_s >= warning_s)
                    settle(underway.decided, underway.given_up(now_s, self._outages))
                    self._withdraw(underway)
            elif now_s >= underway.look_s:
                if not underway.look_s:
                    self._warn(underway, now_s)
                underway.look_s = now_s + (now_s - underway.since_s)
                look = look or underway
        assert self._answers is not None
        if look is not None or check:
            self._next_check_s = now_s + CHECK_S
        if look is not None:
            self._answers.look_for(look.place, look.offset)
        elif check:
            self._answers.check()
        with self._lock:
            for place, followed in list(self._followed.items()):
                if followed.started and not followed.users and now_s - followed.idle_since_s > IDLE_S:
                    del self._followed[place]
                    self._answers.stop(place)

    def _was_silent(self, underway: Underway, long_enough: bool) -> None:
        """A command was given up; with its own short time limit that says nothing of who decides."""
        if underway.offset is None:
            self._is_away("no broker has taken a command in time")
            return
        with self._lock:
            is_news = long_enough and self._outages.silent(underway.place)
        if is_news:
            logger.warning("nobody decides", partition=underway.place, **self._about(underway))

    @property
    def health(self) -> dict[str, Any]:
        """What works for this agent, as far as it has asked: `status` (healthy, degraded, unhealthy), `service` (its
        name), `off` (partitions that nobody decides), `works` (domains that were heard of), `why`."""
        with self._lock:
            outages, failure = self._outages, self._failure
            off, works, kafka = outages.off, outages.works, outages.kafka
        why = str(failure) if failure is not None else kafka
        status = "unhealthy" if why else "degraded" if off else "healthy"
        return {"status": status, "service": self.agent, "off": off, "works": [] if why else works, "why": why}

    # -- partitions

    def _follow(self, place: Place) -> _Followed:
        """One more user of a partition; holds the lock."""
        followed = self._followed.get(place)
        if followed is None:
            followed = self._followed[place] = _Followed()
            assert self._answers is not None
            followed.started = self._answers.start(place)
        followed.users += 1
        return followed

    def _leave(self, place: Place) -> None:
        """One user less; holds the lock."""
        followed = self._followed.get(place)
        if followed is not None:
            followed.users -= 1
            if followed.users == 0:
                followed.idle_since_s = self.monotonic()

    def started(self, place: Place, error: AccordError | None) -> None:
        """A partition is followed from now on: what waited for that is sent. Called by the source of answers.

        A broker that is away is asked again until it is back; what waits for it has its own time limit.
        """
        if isinstance(error, Corrupt):
            self._fail(error)
            return
        failed: list[tuple[Underway, AccordError]] = []
        with self._lock:
            followed, sender = self._followed.get(place), self._sender
            if followed is None or sender is None:
                return
            if error is None:
                followed.started = True
                for underway in followed.backlog:
                    if (place[0], underway.id) in self._underway:
                        try:
                            sender.send(underway)
                        except AccordError as problem:
                            failed.append((underway, problem))
                followed.backlog.clear()
        if error is not None:
            logger.warning("a partition cannot be followed yet", place=f"{place[0]}/{place[1]}", why=str(error))
            self.call_later(1_000 * SWEEP_S, lambda: self._restart(place))
        for underway, why in failed:
            if self._forget(underway):
                settle(underway.decided, why)

    def _restart(self, place: Place) -> None:
        with self._lock:
            followed = self._followed.get(place)
            if followed is None or self._answers is None:
                return
            if followed.users:
                followed.backlog = deque(u for u in followed.backlog if (place[0], u.id) in self._underway)
                self._answers.start(place)
            else:
                del self._followed[place]

    # -- decisions

    def watch(self, domain: str, key: str, callback: Watcher) -> Callable[[], None]:
        """Calls back, on accord's thread, for every accepted decision with that key, in the order of the log.

        The watch is on before any command submitted after it is decided. The callback must not block. With
        `client.answers = "inbox"` only decisions that concern this agent come: on its own commands and requests.

        Returns:
            The function that ends the watch.

        Raises:
            BadInput: the key cannot be one.
            NotConnected: the connection is not open.
            ChainBroken, LogGap: the connection has failed.
        """
        encoded_key = _key(domain, key)
        place = domain, partition_of(encoded_key, self._partition_count)
        at = domain, encoded_key

        def watcher(answer: Answer) -> None:  # one object a watch, so that the same callback can watch twice
            callback(answer)

        def unwatch() -> None:
            with self._lock:
                watchers = self._watchers.get(at, ())
                if watcher not in watchers:
                    return
                self._watchers[at] = tuple([other for other in watchers if other is not watcher])
                if not self._watchers[at]:
                    del self._watchers[at]
                self._leave(place)

        with self._lock:
            self._open_sender()
            self._watchers[at] = (*self._watchers.get(at, ()), watcher)
            self._follow(place)
        return unwatch

    def wants(self, domain: str, decision: Decision) -> bool:
        """Whether anybody waits for a decision. Called by the source of answers."""
        return (domain, decision.command_id) in self._underway or (domain, decision.key) in self._watchers

    def take(self, place: Place, decision: Decision) -> None:
        """Hands over a decision: first to who watches the key, then to who sent the command."""
        domain, _ = place
        underway = self._underway.get((domain, decision.command_id))
        if underway is not None and underway.place != place:
            underway = None
        try:
            answer = _answer(place, decision)
        except SchemaError as error:
            logger.error("a decision cannot be read", place=place, offset=decision.offset, why=str(error))
            if underway is not None and self._forget(underway):
                settle(underway.decided, error)
            return
        with self._lock:
            if self._sender is not None:
                self._sender.received(decision.clock)
            was_off = self._outages.decided(place)
        if was_off:
            logger.info("it is decided again", partition=place, agent=self.agent)
        for watcher in self._watchers.get((domain, decision.key), ()):
            _call(lambda watcher=watcher: watcher(answer))  # type: ignore[misc]
        if underway is not None:
            underway.offset = decision.cause  # the answer may be here before the report of its delivery
            self._resolve(underway, answer)

    def _resolve(self, underway: Underway, answer: Answer) -> None:
        outcome: Answer | AccordError = answer
        match answer.events:
            case (CommandRepeated(cause),):
                assert self._answers is not None
                self._answers.recall(underway.place, cause, lambda first: self._recalled(underway, answer, first))
                return
            case (CommandRejected(reason, description),):
                outcome = underway.rejected(reason, description, answer.position)
        if self._forget(underway):
            settle(underway.decided, outcome)

    def _recalled(self, underway: Underway, repeat: Answer, first: Decision | None) -> None:
        """The command was decided before this connection listened; `first` is that decision, if it was found."""
        (repeated,) = repeat.events
        assert isinstance(repeated, CommandRepeated)
        outcome: AccordError = underway.decided_before(repeated.cause, repeat.position)
        try:
            if first is not None:
                self._resolve(underway, _answer(underway.place, first))
                return
        except SchemaError as error:
            outcome = error
        if self._forget(underway):
            settle(underway.decided, outcome)

    def received(self, clock: bytes) -> None:
        """Merges the clock of a decision that this agent learned of in another way than through this connection."""
        with self._lock:
            if self._sender is not None:
                self._sender.received(clock)

    # -- timers

    def call_later(self, delay_ms: float, callback: Callable[[], None]) -> Callable[[], None]:
        """Calls back once, on accord's thread, after `delay_ms` and at most 20 ms more; returns what cancels it."""
        return self._timers.at(self.monotonic() + delay_ms / 1_000, callback)

    @property
    def load(self) -> dict[str, int]:
        """How much there is now of each kind: `underway`, `partitions`, `watches`. All zero when nobody waits."""
        with self._lock:
            return {
                "underway": len(self._underway),
                "partitions": sum(1 for followed in self._followed.values() if followed.users),
                "watches": sum(len(watchers) for watchers in self._watchers.values()),
            }


def _answer(place: Place, decision: Decision) -> Answer:
    events = events_codec(place[0]).decode(decision.value)
    return Answer(place[0], decision, events, Position(*place, decision.offset))


def _call(callback: Callable[[], None]) -> None:
    """Calls back; what a callback raises must not end the thread that everybody shares."""
    try:
        callback()
    except Exception:
        logger.exception("a callback failed")


def _as_failure(error: BaseException) -> AccordError:
    return error if isinstance(error, AccordError) else Corrupt(f"accord's thread ended: {error!r}.")


def _key(domain: str, key: str) -> bytes:
    if domain not in DOMAINS:
        raise BadInput(f"there is no domain {domain!r}; there are {', '.join(DOMAINS)}.")
    try:
        encoded = key.encode()
    except UnicodeEncodeError as error:
        raise BadInput(f"key {key[:40]!r} is no text that UTF-8 can write: {error}.") from None
    if not 0 < len(encoded) <= KEY_BYTES_MAX:
        raise BadInput(f"key {key[:40]!r} has {len(encoded)} bytes; a key has 1 to {KEY_BYTES_MAX}.", key=key[:40])
    return encoded


def _check_text(name: str, text: str | None) -> None:
    if text is not None and len(text.encode()) > TEXT_BYTES_MAX:
        raise BadInput(f"{name} {text[:40]!r}... has more than {TEXT_BYTES_MAX} bytes.")
