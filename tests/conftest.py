"""What every test shares: how many examples Hypothesis tries, which tests run and in which order, `--rewrite`."""

from __future__ import annotations

import gc
import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.counts import FULL, LONG
from tests.topics import delete_topics

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell has jobs in the background ignore Ctrl-C, and so would every process that they start: also those to which
    # a test sends one.
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("accord", deadline=None, max_examples=50)  # no deadline: the machine may be busy
settings.register_profile("accord-long", deadline=None, max_examples=50 * FULL)
settings.load_profile("accord-long" if LONG else "accord")

QUICK = "tests/streams/test_deadlocks.py"
"""A process is given its second file at once when its first has no more than two tests. The long fault runs are one
test each, and what stands behind one of them waits for all of it: so that is a file that takes no time."""
BEFORE = (
    "tests/faults/test_faults.py",
    "tests/faults/test_many.py",
    *((QUICK,) if LONG else ()),
    "tests/runtime/test_worker.py",
    "tests/test_demo.py",
    "tests/cli/test_on_kafka.py",
    "tests/streams/test_simulated_cluster.py",
    *(() if LONG else (QUICK,)),
    "tests/test_docs.py",
    "tests/runtime/test_transport.py",
    "tests/test_examples.py",
    "tests/schemas/test_codec.py",
    "tests/agents/test_llm_on_log.py",
    "tests/agents/signals/test_handlers.py",
    "tests/streams/test_task_properties.py",
    "tests/runtime/test_notices.py",
    "tests/cli/test_import_on_kafka.py",
    "tests/cli/test_dlq.py",
    "tests/agents/test_connection.py",
    "tests/test_benchmarks.py",
    "tests/runtime/test_waits.py",
)
FIRST = {path: place for place, path in enumerate(BEFORE)}
"""The files that take longest, in that order: if one of them came last, one core would wait for the other. Those that
wait stand beside those that compute. `QUICK` comes when each process has one: there are five, two in the long run
(script/test)."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite",
        action="store_true",
        help="write what the transcripts in tests/streams bring today into their files",
    )


@pytest.hookimpl(trylast=True)  # Hypothesis marks its tests first
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what is for the long run only or, in that, what would be the same again."""
    runs = [item for item in items if (is_longer(item) if LONG else item.get_closest_marker("only_long") is None)]
    left = set(runs)
    config.hook.pytest_deselected(items=[item for item in items if item not in left])
    items[:] = sorted(runs, key=place)


def pytest_collection_finish() -> None:
    """Thousands of tests and what they imported stay until the end: nothing that a garbage collector need look at."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def leave_no_topics() -> Iterator[None]:
    """First of all fixtures, so that it ends when no worker uses the topics any more."""
    yield
    delete_topics()


def is_longer(item: pytest.Item) -> bool:
    return any(item.get_closest_marker(name) for name in ("long", "only_long", "hypothesis"))


def place(item: pytest.Item) -> int:
    """Sorting keeps the order of all others."""
    path = item.nodeid.partition("::")[0]
    return FIRST.get(path, len(FIRST))
