"""Is everything in place? Settings, broker, topics, clocks, workers; what `accord doctor` prints.

Nothing is written to the cluster unless a probe is asked for. A probe is one `Tick` to a lock that nobody uses: it gets
a decision without events, and shows whether the worker that decided it sends notices.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final, NamedTuple

from confluent_kafka import Consumer

from accord.admin import REMEDY, Admin, key_in, send
from accord.cli.origins import rows, unknown_names
from accord.errors import AccordError, Unavailable
from accord.kafka import anchor, bounds, cluster_id, metadata, read, reader
from accord.schemas.headers import INBOX
from accord.schemas.messages.log import Tick
from accord.schemas.topics import commands_topic, events_topic, inbox_topic
from accord.settings import Settings
from accord.streams.chain import genesis

PROBE_DOMAIN: Final = "locks"
PROBE_WAIT_S: Final = 5.0


class Finding(NamedTuple):
    """One line of the examination. `ok` is None where the cluster does not tell."""

    check: str
    ok: bool | None
    text: str
    remedy: str = ""


def examine(settings: Settings, *, probe: bool = False) -> Iterator[Finding]:
    """Looks at one thing after the other; stops after a broker that does not answer."""
    yield from _settings(settings)
    admin = Admin(settings)
    try:
        cluster, brokers = admin.cluster()
    except AccordError as error:
        yield Finding("broker", False, str(error))
        return
    yield Finding("broker", True, f"cluster {cluster}, {_plural(len(brokers), 'broker')}: {', '.join(brokers)}")
    topics = list(_topics(admin))
    yield from topics
    if any(finding.ok is False for finding in topics):
        return
    client = reader(settings.kafka)
    try:
        yield from _clock(settings, client)
        yield from _workers(settings, admin)
        if probe:
            yield from _probe(settings, client)
    finally:
        client.close()


def _settings(settings: Settings) -> Iterator[Finding]:
    origins = [row.origin for row in rows(settings) if row.origin != "default"]
    counts = ", ".join(f"{origins.count(name)} from {name}" for name in dict.fromkeys(origins))
    yield Finding("settings", True, counts or "all by default")
    for name, guess in unknown_names():
        yield Finding("settings", False, f"{name} in the environment is no setting.", f"{guess}?" if guess else "")


def _topics(admin: Admin) -> Iterator[Finding]:
    statuses = admin.check()
    missing = [status.topic.name for status in statuses if status.state == "missing"]
    wrong = [problem for status in statuses if status.state == "wrong" for problem in status.problems]
    if missing:
        yield Finding("topics", False, f"missing: {', '.join(missing)}", "Create them: accord topics init.")
    for problem in wrong:
        yield Finding("topics", False, problem, REMEDY)
    if missing or wrong:
        return
    unknown = sum(status.state == "unknown" for status in statuses)
    if unknown:
        yield Finding("topics", None, f"{len(statuses)} are there; the broker does not tell the settings of {unknown}")
    else:
        yield Finding("topics", True, f"{len(statuses)} as they should be")


def _clock(settings: Settings, client: Consumer) -> Iterator[Finding]:
    """The log's newest time must not lie ahead of this machine's; how far it lies behind says nothing."""
    newest = max((_newest(settings, client, domain) for domain in settings.worker.domains), default=0)
    ahead_ms = newest - time.time_ns() // 1_000_000
    if not newest:
        yield Finding("clock", True, "no commands in the log yet to compare with")
    elif ahead_ms > settings.locks.clock_step_ms:
        yield Finding(
            "clock",
            False,
            f"the newest command's time in the log is {ahead_ms} ms ahead of this machine's clock",
            "Set the clocks of brokers and machines by NTP.",
        )
    else:
        yield Finding("clock", True, "the log's time is not ahead of this machine's")


def _newest(settings: Settings, client: Consumer, domain: str) -> int:
    """The time of the newest command of a domain, in ms since 1970; 0 without commands."""
    topic = commands_topic(domain, settings.topics.prefix)
    newest = 0
    for partition in range(settings.topics.partitions):
        low, end = bounds(client, topic, partition)
        for record in read(client, topic, partition, max(low, end - 1), end):
            newest = max(newest, record.timestamp)
    return newest


def _workers(settings: Settings, admin: Admin) -> Iterator[Finding]:
    members = admin.workers()
    if members is None:
        yield Finding("workers", None, "the broker does not tell the members of the workers' group")
        return
    if not members:
        yield Finding("workers", False, "none is running: commands stay undecided", "Start one: accord worker.")
        return
    assigned = {partition for member in members for partition in member.partitions}
    expected = {f"{d}/{p}" for d in settings.worker.domains for p in range(settings.topics.partitions)}
    for member in members:
        text = f"{member.name} on {member.host}: {_plural(len(member.partitions), 'partition')}"
        yield Finding("workers", True, text)
    idle = sorted(expected - assigned)
    if idle:
        yield Finding(
            "workers", False, f"no worker has {', '.join(idle)}", "Start one for their domain: accord worker."
        )


def _probe(settings: Settings, client: Consumer) -> Iterator[Finding]:
    topic = events_topic(PROBE_DOMAIN, settings.topics.prefix)
    key = key_in(0, settings.topics.partitions, "accord-doctor")
    chain, start = anchor(client, topic, 0, genesis(cluster_id(client, settings.kafka), topic, 0))
    before_ms, started = time.time_ns() // 1_000_000, time.monotonic()
    try:
        (sent,) = send(settings, PROBE_DOMAIN, {key: Tick()}, source="accord-doctor")
    except Unavailable as error:
        yield Finding("probe", False, str(error))
        return
    after_ms = time.time_ns() // 1_000_000
    step_ms = sent.timestamp_ms - min(max(sent.timestamp_ms, before_ms), after_ms)
    bound_ms = settings.locks.clock_step_ms
    yield Finding(
        "probe",
        abs(step_ms) <= bound_ms,
        f"{sent.position} written; the broker's clock is "
        + (
            f"{abs(step_ms)} ms {'ahead of' if step_ms > 0 else 'behind'} this machine's"
            if step_ms
            else "this machine's"
        ),
        "" if abs(step_ms) <= bound_ms else f"More than locks.clock_step_ms={bound_ms}: set the clocks by NTP.",
    )
    while time.monotonic() - started < PROBE_WAIT_S:
        end = bounds(client, topic, 0)[1]
        for record in read(client, topic, 0, start, end):
            decision = chain.accept(record)
            if decision is not None and decision.cause == sent.position.offset:
                took = (time.monotonic() - started) * 1_000
                yield Finding("probe", True, f"decided at locks/0@{decision.offset}, {took:.0f} ms after it was sent")
                if inbox_topic(settings.topics.prefix) in metadata(client, settings.kafka).topics:
                    yield _inbox(INBOX in dict(record.headers))
                return
        start = end
    yield Finding("probe", False, f"no worker decided it within {PROBE_WAIT_S:g} s", "Start one: accord worker.")


def _inbox(told: bool) -> Finding:
    if told:
        return Finding("inbox", True, "the worker that decided the probe sends notices")
    return Finding(
        "inbox",
        False,
        "there is one, but the worker that decided the probe sends no notices",
        "Restart the workers: they look for it when they start.",
    )


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"
