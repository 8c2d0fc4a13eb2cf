"""Is everything in place? Settings, broker, topics, clocks, workers; what `accord doctor` prints.

Nothing is written to the cluster unless a probe is asked for. A probe is one `Tick` to a lock that nobody uses: it gets
a decision without events, and shows whether the worker that decided it sends notices.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final, NamedTuple

from confluent_kafka import Consumer

from accord.admin import REMEDY, Admin, key_in, send
from accord.cli.origins import rows, unknown_names
from accord.errors import AccordError, Unavailable
from accord.kafka import anchor, bounds, cluster_id, metadata, read, reader
from accord.schemas.headers import INBOX
from accord.schemas.messages.log import Tick
from accord.schemas.topics import commands_topic, events_topic, inbox_topic
from accord.settings import Settings
from accord.streams.chain import genesis, parse

PROBE_DOMAIN: Final = "locks"
PROBE_WAIT_S: Final = 5.0
HEALTH_WAIT_S: Final = 6.0
"""A worker that is stuck says so after 5 s."""
HEALTH_BYTES_MAX: Final = 1 << 20
FAILOVER_MS: Final = 5_000
"""What a failover takes beyond the session timeout."""
REMEDIES: Final = {
    "recovering": "Wait: it goes on by itself, locks and tasks first. See docs/degraded.md.",
    "degraded": "It goes on without what is named. See docs/degraded.md.",
    "unhealthy": "It decides nothing. See docs/degraded.md.",
}


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
        yield from _modes(settings, admin)
        yield from _undecided(settings, client, cluster)
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


def _modes(settings: Settings, admin: Admin) -> Iterator[Finding]:
    """What workers say of themselves, where they listen for it."""
    port, host = settings.worker.metrics_port, settings.worker.metrics_host
    members = admin.workers() if port else []
    own_machine = host in ("127.0.0.1", "::1", "localhost")
    places = {host: ""} if own_machine else {member.host: member.name for member in members or []}
    for place, name in places.items() if members else ():
        try:
            told = _health(place, port)
        except (OSError, ValueError) as error:
            yield Finding("mode", None, f"{name or 'a worker'} does not tell at {place}:{port}: {error}")
            continue
        status, partitions = str(told.get("status")), told.get("partitions", {})
        counts = ", ".join(f"{count} {state}" for state, count in sorted(partitions.items()))
        text = f"{name or place} is {status}, {told.get('stage')}: {counts or 'no partitions'}"
        yield Finding("mode", status == "healthy", text, REMEDIES.get(status, ""))
        for reason in told.get("reasons", []):
            yield Finding("mode", False, " ".join(filter(None, (reason["what"], reason["where"], reason["why"]))))


def _health(host: str, port: int) -> dict[str, Any]:
    """What `GET /health` answers, with whatever status."""
    import http.client  # noqa: PLC0415

    connection = http.client.HTTPConnection(host, port, timeout=HEALTH_WAIT_S)
    try:
        connection.request("GET", "/health")
        told = json.loads(connection.getresponse().read(HEALTH_BYTES_MAX))
    finally:
        connection.close()
    if not isinstance(told, dict):
        raise ValueError("that is no accord worker")
    return told


def _undecided(settings: Settings, client: Consumer, cluster: str) -> Iterator[Finding]:
    """Commands that lie in the log for longer than a failover takes, by their partition's last decision."""
    prefix, now_ms, late = settings.topics.prefix, time.time_ns() // 1_000_000, 0
    limit_ms = settings.worker.session_timeout_ms + FAILOVER_MS
    for domain in settings.worker.domains:
        commands, events = commands_topic(domain, prefix), events_topic(domain, prefix)
        for partition in range(settings.topics.partitions):
            following = _following(client, events, partition, genesis(cluster, events, partition))
            low, end = bounds(client, commands, partition)
            first = next(read(client, commands, partition, max(low, following), end), None)
            if first is not None and now_ms - first.timestamp > limit_ms:
                late += 1
                waits_s, count = (now_ms - first.timestamp) // 1_000, _plural(end - first.offset, "command")
                text = f"{domain}/{partition}: {count} undecided, the first for {waits_s} s"
                yield Finding("decided", False, text, "Does a worker serve it, and is it halted? accord recover tells.")
    if not late:
        yield Finding("decided", True, "no command waits for longer than a failover takes")


def _following(client: Consumer, events: str, partition: int, root: bytes) -> int:
    """One past the cause of a partition's last decision; 0 without any that can be read."""
    low, end = bounds(client, events, partition)
    for record in read(client, events, partition, max(low, end - 1), end):
        with suppress(ValueError):
            return parse(root, record).cause + 1
    return 0


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
