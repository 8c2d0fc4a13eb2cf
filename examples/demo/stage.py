"""Where the demo plays: an embedded broker or a real Kafka, a language model or its stand-in."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

from accord.replay.archive import is_archive
from confluent_kafka.admin import AdminClient
from screen import Screen

from accord.embedded import Embedded
from accord.settings import Settings
from accord.testing.model_server import MODEL, ModelServer

COMMAND_S: Final = 60.0
WORKER_STOP_S: Final = 20.0
THINKING_MS: Final = 600

ACCORD: Final = (sys.executable, "-c", "from accord.cli import main; main()")
"""The program `accord` of this environment, wherever its scripts are."""


class StageError(Exception):
    """What the demo needs could not be had."""


@contextmanager
def stage(screen: Screen, keep: Path, *, on_kafka: bool) -> Iterator[tuple[Settings, Mapping[str, str]]]:
    """A log, and a model to ask; gives the settings, and the environment of programs that are to use both.

    The log is in the archive `keep` afterwards.
    """
    log: AbstractContextManager[Settings] = _kafka(screen, keep) if on_kafka else _embedded(screen, keep)
    with log as settings, _language_model(screen, settings) as model:
        yield settings, {**_environment(settings), **model}


@contextmanager
def _embedded(screen: Screen, keep: Path) -> Iterator[Settings]:
    """Broker and worker in this process, where others find them by address. The archive grows with the log."""
    with Embedded(keep=keep) as running:
        screen.says("demo", f"broker and worker run in this process, at {running.settings.kafka.bootstrap_servers}")
        yield running.settings


@contextmanager
def _kafka(screen: Screen, keep: Path) -> Iterator[Settings]:
    """A real Kafka with topics of our own and a worker process; in the end the log is exported, the topics deleted."""
    from accord.testing.broker import kafka_for_tests  # noqa: PLC0415  the embedded demo needs none of it

    named = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    screen.says(
        "demo", f"uses the Kafka at {named}" if named else "starts a Kafka (KAFKA_BOOTSTRAP_SERVERS names none)"
    )
    with kafka_for_tests() as servers:
        settings = Settings.load(
            kafka={"bootstrap_servers": servers}, topics={"prefix": f"accord-demo-{uuid.uuid4().hex[:6]}"}
        )
        screen.says("demo", f"Kafka answers at {servers}")
        try:
            accord_command("topics", "init", settings=settings)
            with _worker(screen, settings):
                yield settings
            if is_archive(keep):
                shutil.rmtree(keep)
            accord_command("events", "export", servers, str(keep), settings=settings)
        finally:
            _delete_topics(settings)


@contextmanager
def _worker(screen: Screen, settings: Settings) -> Iterator[None]:
    """A worker as a process of its own."""
    folder = Path(tempfile.mkdtemp(prefix="accord-demo-"))
    output = folder / "worker.log"
    with output.open("wb") as file:
        worker = subprocess.Popen(
            [*ACCORD, "worker"],
            env={**os.environ, **_environment(settings), "ACCORD_WORKER__DATA_DIR": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    screen.says("demo", f"starts accord worker (process {worker.pid})")
    try:
        yield
        if worker.poll() is not None:
            raise StageError(f"The worker ended, exit code {worker.returncode}:\n{output.read_text()}")
    finally:
        worker.terminate()
        try:
            worker.wait(WORKER_STOP_S)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _delete_topics(settings: Settings) -> None:
    admin = AdminClient({"bootstrap.servers": settings.kafka.bootstrap_servers, "log_level": 0})
    ours = [name for name in admin.list_topics(timeout=10).topics if settings.topics.prefix in name]
    for deleted in admin.delete_topics(ours).values() if ours else ():
        deleted.result(10)


@contextmanager
def _language_model(screen: Screen, settings: Settings) -> Iterator[Mapping[str, str]]:
    """The endpoint that the user has set, else the stand-in; gives what agents need in their environment."""
    llm = settings.llm
    if llm.base_url or llm.api_key or os.environ.get("OPENAI_API_KEY"):
        screen.says("demo", f"language model: {llm.model}, at the endpoint of your settings")
        yield {}
        return
    with ModelServer(delay_ms=THINKING_MS) as server:
        screen.says("demo", "no OPENAI_API_KEY: a stand-in answers for the language model; it judges nothing")
        yield {"ACCORD_LLM__BASE_URL": server.base_url, "ACCORD_LLM__MODEL": MODEL}


def _environment(settings: Settings) -> dict[str, str]:
    """What another process needs to be on the same log."""
    return {
        "ACCORD_KAFKA__BOOTSTRAP_SERVERS": settings.kafka.bootstrap_servers,
        "ACCORD_KAFKA__FETCH_WAIT_MS": str(settings.kafka.fetch_wait_ms),
        "ACCORD_KAFKA__IDEMPOTENT": str(settings.kafka.idempotent).lower(),
        "ACCORD_TOPICS__PREFIX": settings.topics.prefix,
        "ACCORD_TOPICS__PARTITIONS": str(settings.topics.partitions),
    }


def accord_command(*arguments: str, settings: Settings | None = None, check: bool = True) -> tuple[int, str]:
    """Runs the program `accord`.

    Returns:
        Its exit code and what it printed.

    Raises:
        StageError: it did not end in time; or it failed, and `check` is set.
    """
    try:
        done = subprocess.run(
            [*ACCORD, *arguments],
            env={**os.environ, **(_environment(settings) if settings else {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise StageError(f"accord {' '.join(arguments)} did not end within {COMMAND_S:g} s.") from None
    if check and done.returncode != 0:
        raise StageError(f"accord {' '.join(arguments)}: exit code {done.returncode}\n{done.stdout}")
    return done.returncode, done.stdout
