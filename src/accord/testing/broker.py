"""A real Kafka for tests, benchmarks and the demo: one KRaft node on loopback, gone when its owner is.

`NativeKafka` runs the broker as a Java process of ours, with no Docker. `kafka_for_tests` takes whatever
Kafka can be had on this machine.
"""

import base64
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from accord.testing.kafka_jars import KAFKA_VERSION, KafkaUnavailable, fetch_jars

KAFKA_IMAGE = f"apache/kafka:{KAFKA_VERSION}"

_START_TIMEOUT_S = 60
_STOP_TIMEOUT_S = 20
_MEMORY_BYTES = 2 * 1024**3

# Below the kernel's range for outgoing connections: while the broker is down, no connection can be
# given its port, and no client that retries can happen to connect to itself.
_PORTS = range(15_000, 32_000)

_CLUSTER_ID = "accordtestsAAAAAAAAAAA"
_CHECKPOINT = "bootstrap.checkpoint"

_LOG4J = """\
rootLogger.level = info
rootLogger.appenderRef.file.ref = file
appender.file.type = File
appender.file.name = file
appender.file.fileName = ${sys:accord.kafka.log}
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d{ISO8601} %p %m (%c)%n
"""

# Waits for the end of its input, which comes when its owner closes it or dies, however it dies.
_WATCHDOG = 'read -r _; kill -KILL "$1"; rm -rf "$2"'


class NativeKafka:
    """Apache Kafka as a child process: a context manager that gives a running broker.

    The data and the port survive `stop`, `kill` and `restart`; leaving the context ends the broker and
    deletes the data. A broker whose owner dies without leaving it is ended too.

    Args:
        told: ports of proxies on loopback. For each the broker has a listener of its own, at the port that `behind`
            names, and tells those who come that way to go on through the proxy's.
        in_memory: keep the data in memory, where the machine has room for it: what tests write is little, and topics
            are made for half of the CPU. For measurements leave it on the disk.
    """

    def __init__(self, told: Sequence[int] = (), *, in_memory: bool = False) -> None:
        folder = _memory_folder() if in_memory else None
        self._directory = Path(tempfile.mkdtemp(prefix="accord-kafka-", dir=folder))
        self._port, controller_port, *others = _free_ports(2 + len(told))
        self.behind: dict[int, int] = dict(zip(told, others, strict=True))
        self._server: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None
        self.bootstrap_servers = f"127.0.0.1:{self._port}"
        self.log_path = self._directory / "server.log"
        self._settings_path = self._directory / "server.properties"
        settings = server_settings(
            listeners=f"PLAINTEXT://127.0.0.1:{self._port},CONTROLLER://127.0.0.1:{controller_port}",
            advertised=f"PLAINTEXT://127.0.0.1:{self._port}",
            controller=f"127.0.0.1:{controller_port}",
        )
        for number, (proxy, port) in enumerate(self.behind.items()):
            settings["listeners"] += f",P{number}://127.0.0.1:{port}"
            settings["advertised.listeners"] += f",P{number}://127.0.0.1:{proxy}"
            settings["listener.security.protocol.map"] += f",P{number}:PLAINTEXT"
            settings[f"listener.name.p{number}.num.network.threads"] = "1"  # each is for few
        settings["log.dirs"] = str(self._directory / "data")
        self._settings_path.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        (self._directory / "log4j2.properties").write_text(_LOG4J)

    def __enter__(self) -> Self:
        try:
            self._format()
            self._start()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    @property
    def pid(self) -> int | None:
        """The broker's process id, or None while it is stopped."""
        return None if self._server is None else self._server.pid

    def stop(self) -> None:
        """Shuts the broker down in good order (about 1.5 s). Does nothing if it is not running."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kills the broker with SIGKILL. Does nothing if it is not running."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stops the broker if it is running and starts it on the same data and port; returns when it serves.

        After `kill` it takes some 2 s longer: the controller waits for the old session to expire.

        Raises:
            KafkaUnavailable: the broker did not come up.
        """
        self.stop()
        self._start()

    def _format(self) -> None:
        """Makes the storage ready. What Kafka's own tool writes is the same for all but for the directory's id: it runs
        once on a machine, and each broker after the first is spared a second of a processor."""
        data, kept = self._directory / "data", fetch_jars().with_name(f"{KAFKA_VERSION}-{_CHECKPOINT}")
        if kept.exists():
            data.mkdir()
            shutil.copy(kept, data / _CHECKPOINT)
            directory_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
            lines = ("version=1", f"cluster.id={_CLUSTER_ID}", "node.id=1", f"directory.id={directory_id}")
            (data / "meta.properties").write_text("\n".join(lines) + "\n")
            return
        self._run_storage_tool()
        with suppress(OSError):  # a folder that cannot be written to: the tool runs again next time
            shutil.copy(data / _CHECKPOINT, partial := kept.with_name(f".{os.getpid()}-{kept.name}"))
            partial.replace(kept)

    def _run_storage_tool(self) -> None:
        command = ["kafka.tools.StorageTool", "format", "-t", _CLUSTER_ID, "-c", str(self._settings_path)]
        run = subprocess.run(
            self._java() + command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if run.returncode != 0:
            raise KafkaUnavailable(f"Kafka's storage could not be formatted:\n{run.stdout}{run.stderr}")

    def _start(self) -> None:
        with (self._directory / "server.out").open("ab") as output:
            self._server = subprocess.Popen(
                [*self._java(), "kafka.Kafka", str(self._settings_path)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # an interrupt at the terminal is for us, who then stop it
            )
        self._watchdog = subprocess.Popen(
            ["sh", "-c", _WATCHDOG, "sh", str(self._server.pid), str(self._directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._wait_until_ready()

    def _java(self) -> list[str]:
        home = os.environ.get("JAVA_HOME")
        java = str(Path(home) / "bin" / "java") if home else shutil.which("java")
        if java is None:
            raise KafkaUnavailable("Kafka needs Java, and there is none. Run script/setup, or install a JDK 17.")
        return [
            java,
            "-Xmx512m",
            # The JVM's first compiler only. It starts sooner, and on two cores it serves as many records for
            # less CPU: the second compiler competes with the broker (produce p99 0.5 ms against 2).
            "-XX:TieredStopAtLevel=1",
            # Kafka's classes are not proved well-formed again at each start: a fifth of what a start costs.
            "-XX:+UnlockDiagnosticVMOptions",
            "-XX:-BytecodeVerificationRemote",
            f"-Dlog4j2.configurationFile={self._directory / 'log4j2.properties'}",
            f"-Daccord.kafka.log={self.log_path}",
            "-cp",
            f"{fetch_jars()}/*",
        ]

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline:
            if self._server is None or self._server.poll() is not None:
                raise KafkaUnavailable(f"Kafka ended while it started.\n{self._last_words()}")
            if _accepts_connections(self._port) and _answers(self.bootstrap_servers):
                return
            time.sleep(0.02)
        raise KafkaUnavailable(f"Kafka did not answer within {_START_TIMEOUT_S} s.\n{self._last_words()}")

    def _last_words(self) -> str:
        files = [self._directory / "server.out", self.log_path]
        lines = [line for file in files if file.exists() for line in file.read_text().splitlines()[-15:]]
        return "\n".join(lines)

    def _end(self, signal_number: signal.Signals) -> None:
        if self._server is None:
            return
        if self._watchdog is not None:  # first, for it must never signal an id that is free again
            self._watchdog.kill()
            self._watchdog.communicate()
            self._watchdog = None
        self._server.send_signal(signal_number)
        try:
            self._server.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()
        self._server = None

    def _remove(self) -> None:
        self.kill()  # its data goes too, so there is nothing to put in order
        shutil.rmtree(self._directory, ignore_errors=True)


@contextmanager
def kafka_for_tests() -> Iterator[str]:
    """Gives the bootstrap servers of a real Kafka: the first that can be had here.

    In order: the cluster that `KAFKA_BOOTSTRAP_SERVERS` names, a container where a Docker engine answers,
    a native broker.

    Raises:
        KafkaUnavailable: none can be had; the text says what to install.
    """
    configured = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if configured:
        if not _answers(configured):
            raise KafkaUnavailable(f"No Kafka answers at {configured} (KAFKA_BOOTSTRAP_SERVERS).")
        yield configured
        return
    with ExitStack() as stack:
        yield _first_that_starts(stack)


def _first_that_starts(stack: ExitStack) -> str:
    problems = []
    for name, source in (("Docker", _container), ("native", _native)):
        try:
            return stack.enter_context(source())
        except Exception as error:  # whatever keeps one from starting, the next may start
            problems.append(f"{name}: {error}")
    raise KafkaUnavailable("No Kafka could be started for the tests.\n" + "\n".join(problems))


def server_settings(*, listeners: str, advertised: str, controller: str) -> dict[str, str]:
    """Returns the settings of a single node that is broker and controller at once, tuned for a quick start.

    Args:
        listeners: what the node binds, a listener PLAINTEXT and a listener CONTROLLER among it.
        advertised: the listeners that clients are told.
        controller: host and port of its own CONTROLLER listener.
    """
    return {
        "node.id": "1",
        "process.roles": "broker,controller",
        "controller.quorum.voters": f"1@{controller}",
        "listeners": listeners,
        "advertised.listeners": advertised,
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "auto.create.topics.enable": "false",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "1000",  # lets a test wait less for a frozen worker to be expelled
        "broker.session.timeout.ms": "2000",  # what a restart waits after a kill
        "broker.heartbeat.interval.ms": "400",
        # An index takes room for 10 MB at first otherwise, which a start after a kill reads, for each partition.
        "log.index.size.max.bytes": "262144",
        "log.cleaner.dedupe.buffer.size": "8388608",  # 128 MB otherwise, a quarter of the heap
    }


@contextmanager
def _native() -> Iterator[str]:
    with NativeKafka(in_memory=True) as kafka:
        yield kafka.bootstrap_servers


def _memory_folder() -> Path | None:
    """A folder in memory with room for a broker's data; None if there is none."""
    folder = Path("/dev/shm")
    if not os.access(folder, os.W_OK) or shutil.disk_usage(folder).free < _MEMORY_BYTES:
        return None
    return folder


@contextmanager
def _container() -> Iterator[str]:
    # testcontainers' KafkaContainer starts Confluent's images only, not Apache's.
    from testcontainers.core.container import DockerContainer  # noqa: PLC0415  a test extra
    from testcontainers.core.docker_client import DockerClient  # noqa: PLC0415

    DockerClient().client.ping()  # raises where no engine answers
    (port,) = _free_ports(1)
    servers = f"127.0.0.1:{port}"
    container = DockerContainer(KAFKA_IMAGE)
    # with_bind_ports() takes a port alone and would serve every network; Docker's client takes the pair.
    container.ports[str(port)] = ("127.0.0.1", port)  # type: ignore[assignment]
    settings = server_settings(
        listeners=f"PLAINTEXT://0.0.0.0:{port},CONTROLLER://localhost:9093",
        advertised=f"PLAINTEXT://{servers}",
        controller="localhost:9093",
    )
    for name, value in settings.items():
        container.with_env("KAFKA_" + name.upper().replace(".", "_"), value)
    with container:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not _answers(servers):
            if time.monotonic() > deadline:
                raise KafkaUnavailable(f"{KAFKA_IMAGE} in Docker did not answer within {_START_TIMEOUT_S} s.")
        yield servers


def _answers(servers: str) -> bool:
    admin = AdminClient({"bootstrap.servers": servers, "log_level": 0, "reconnect.backoff.max.ms": 100})
    try:
        admin.list_topics(timeout=5)
    except KafkaException:
        return False
    return True


def _accepts_connections(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def _free_ports(count: int) -> list[int]:
    free: list[int] = []
    for port in random.sample(_PORTS, len(_PORTS)):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        free.append(port)
        if len(free) == count:
            return free
    raise KafkaUnavailable(f"No free port on 127.0.0.1 from {_PORTS.start} to {_PORTS.stop}.")
