"""A Kafka in this process, for laptops, demos and unit tests: librdkafka's mock cluster.

It lives in the library inside confluent-kafka's wheel, needs nothing else, keeps everything in memory and is gone
with the process. Its C interface sets what properties cannot: partition counts, the group's rebalance delay,
errors on demand. Where the library is not to be found as a file, a client with `test.mock.num.brokers` is the
cluster instead; topics then have 4 partitions and a new group takes 3 s to form.

What it does and does not, found with librdkafka 2.16 and aiokafka 0.14:

- Works: both clients' API negotiation, produce, idempotent and transactional produce, fetch, consumer groups,
  commit, list_offsets and watermarks (earliest, latest), groups of one member.
- Kept: record keys, None values, headers (bytes as they are), producers' timestamps. The time type is always
  CreateTime; a delivery report carries the offset, and a timestamp of 1234.
- Not there: CreateTopics, DeleteTopics, DeleteRecords, DescribeConfigs, DescribeCluster (each times out or is
  refused), offset by time (answers -1, end of log), compaction, retention.
- An unknown topic comes into being, with 4 partitions, when a producer or aiokafka asks for its metadata. A
  confluent Consumer or `list_topics` without auto-creation sees no such topic, or one without partitions.
- A fetch that finds nothing is answered, still empty, after the whole fetch wait. A record that comes meanwhile
  waits for the next fetch: set the wait to 5 ms (about 6 ms from producer to consumer, 7% of a core when idle).
- Produce takes 0.05 ms (confluent-kafka), 0.2 ms (aiokafka). An idempotent producer's first record takes 0.5 s,
  unless the producer was made that long before.
- A new group forms at once (0.003 s aiokafka, 0.05 s confluent-kafka) after the initial rebalance delay, 0 here.
  Every later rebalance, a lone member's return included, takes the session timeout less 1 s, for both clients:
  keep the session timeout at 2 s.
- Static membership is no help: the returning member counts as a second one until the session timeout.
- Two members of a group settle with confluent-kafka and often fail to with aiokafka: SyncGroup is answered
  InvalidRequest when the leader's view is a member behind, commits during a rebalance RebalanceInProgress. Run
  one Faust worker.
"""

from __future__ import annotations

import contextlib
import ctypes
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import confluent_kafka

FETCH_WAIT_MS = 5
"""The fetch wait that clients of a mock cluster should set."""
SESSION_TIMEOUT_MS = 2_000
"""The session timeout that members of groups there should set; rebalances take 1,000 ms less."""
SETTLE_S = 0.001
"""After a call to the cluster: it answers before it waits for the next one, and what comes in between is seen a whole
second later only."""
PARTITIONS_DEFAULT = 4
"""Partition count of a topic that comes into being by use; fixed in librdkafka."""

_PRODUCER = 0  # enum rd_kafka_type_t
_ERROR_BYTES = 512


class MockCluster:
    """A mock cluster that runs until `close`; a context manager.

    Args:
        broker_count: brokers, each a loopback port.
        rebalance_delay_ms: how long a new consumer group waits for further members, in ms.

    Raises:
        RuntimeError: librdkafka could not start it.
    """

    def __init__(self, *, broker_count: int = 1, rebalance_delay_ms: int = 0) -> None:
        self._library = _library()
        self._host: confluent_kafka.Producer | None = None
        if self._library is None:
            self._host = confluent_kafka.Producer({"test.mock.num.brokers": broker_count, "log_level": 0})
            brokers = self._host.list_topics(timeout=5).brokers.values()
            self.bootstrap_servers = ",".join(f"{broker.host}:{broker.port}" for broker in brokers)
            return
        self._client, self._cluster = _start(self._library, broker_count)
        self.bootstrap_servers = self._library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()
        self._library.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, rebalance_delay_ms)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def native(self) -> bool:
        """Whether the C interface is there; without it only 4 partitions and no faults."""
        return self._library is not None

    def create_topic(self, name: str, partition_count: int = PARTITIONS_DEFAULT) -> None:
        """Create a topic; one that exists with that many partitions is left as it is.

        Raises:
            ValueError: it cannot have that many partitions, or exists with another number.
        """
        create = self._library and self._library.rd_kafka_mock_topic_create
        if create and create(self._cluster, name.encode(), partition_count, 1) == 0:
            time.sleep(SETTLE_S)
            return
        # It exists, or only use can create it: this asks as a producer does.
        producer = confluent_kafka.Producer({"bootstrap.servers": self.bootstrap_servers, "log_level": 0})
        found = len(producer.list_topics(name, timeout=5).topics[name].partitions)
        if found != partition_count:
            raise ValueError(f"topic {name} has {found} partitions on the mock cluster, not {partition_count}")

    def fail_next(self, api_key: int, *errors: int) -> None:
        """Answer the next requests of one kind with errors, one each: `fail_next(0, 7)` times one produce out.

        Args:
            api_key: Kafka's number of the request: 0 Produce, 1 Fetch, 2 ListOffsets, 8 OffsetCommit.
            errors: Kafka's error codes, in order; 0 lets one request pass.
        """
        codes = (ctypes.c_int * len(errors))(*errors)
        self._native().rd_kafka_mock_push_request_errors_array(self._cluster, api_key, len(errors), codes)

    def set_round_trip_ms(self, round_trip_ms: int, broker_id: int = 1) -> None:
        """Delay every answer of a broker."""
        self._native().rd_kafka_mock_broker_set_rtt(self._cluster, broker_id, round_trip_ms)
        time.sleep(SETTLE_S)

    def set_down(self, down: bool, broker_id: int = 1) -> None:
        """Close a broker's connections and take no new ones, or take them again. Nothing is lost."""
        library = self._native()
        (library.rd_kafka_mock_broker_set_down if down else library.rd_kafka_mock_broker_set_up)(
            self._cluster, broker_id
        )
        time.sleep(SETTLE_S)

    def close(self) -> None:
        """End the cluster; everything in it is gone. Close its clients first: they would try to reconnect."""
        library, self._library, self._host = self._library, None, None
        if library is not None:
            library.rd_kafka_mock_cluster_destroy(self._cluster)
            library.rd_kafka_destroy(self._client)

    def _native(self) -> ctypes.CDLL:
        if self._library is None:
            raise RuntimeError("this confluent-kafka gives no way into librdkafka: install it from its wheel")
        return self._library


def _library() -> ctypes.CDLL | None:
    """librdkafka as wheels carry it (Linux and Windows, macOS); any instance will do: clients come by socket."""
    package = Path(confluent_kafka.__file__).parent
    for folder in (package.parent / "confluent_kafka.libs", package / ".dylibs"):
        for path in sorted(folder.glob("*rdkafka*")):
            with contextlib.suppress(OSError, AttributeError):
                return _declare(ctypes.CDLL(str(path)))
    return None


def _declare(library: ctypes.CDLL) -> ctypes.CDLL:
    """The signatures of rdkafka.h and rdkafka_mock.h that are used here. AttributeError if one is missing."""
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    signatures: dict[str, tuple[Any, list[Any]]] = {
        "rd_kafka_conf_new": (pointer, []),
        "rd_kafka_conf_set": (number, [pointer, text, text, text, ctypes.c_size_t]),
        "rd_kafka_new": (pointer, [number, pointer, text, ctypes.c_size_t]),
        "rd_kafka_destroy": (None, [pointer]),
        "rd_kafka_mock_cluster_new": (pointer, [pointer, number]),
        "rd_kafka_mock_cluster_destroy": (None, [pointer]),
        "rd_kafka_mock_cluster_bootstraps": (text, [pointer]),
        "rd_kafka_mock_group_initial_rebalance_delay_ms": (None, [pointer, ctypes.c_int32]),
        "rd_kafka_mock_topic_create": (number, [pointer, text, number, number]),
        "rd_kafka_mock_push_request_errors_array": (
            None,
            [pointer, ctypes.c_int16, ctypes.c_size_t, ctypes.POINTER(number)],
        ),
        "rd_kafka_mock_broker_set_rtt": (number, [pointer, ctypes.c_int32, number]),
        "rd_kafka_mock_broker_set_down": (number, [pointer, ctypes.c_int32]),
        "rd_kafka_mock_broker_set_up": (number, [pointer, ctypes.c_int32]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def _start(library: ctypes.CDLL, broker_count: int) -> tuple[int, int]:
    """A client without brokers, and the cluster that it hosts."""
    error = ctypes.create_string_buffer(_ERROR_BYTES)
    conf = library.rd_kafka_conf_new()
    library.rd_kafka_conf_set(conf, b"log_level", b"0", error, _ERROR_BYTES)
    client = library.rd_kafka_new(_PRODUCER, conf, error, _ERROR_BYTES)
    cluster = library.rd_kafka_mock_cluster_new(client, broker_count) if client else None
    if not client or not cluster:
        raise RuntimeError(f"librdkafka's mock cluster did not start: {error.value.decode() or 'no reason given'}")
    return client, cluster
