"""The sync client: the same names with plain `with`."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from accord.agents import context
from accord.agents.client import Accord as AsyncAccord

from accord import sync
from accord.embedded import Embedded
from accord.errors import KafkaUnreachable, LeaseLost, LockTimeout, NotConnected, WouldSelfDeadlock
from accord.settings import Settings
from tests.agents.support import until, with_

MakeHub = Callable[..., sync.Accord]


@pytest.fixture
def make(make_hub: Callable[..., sync.Accord]) -> MakeHub:
    return lambda agent: make_hub(agent, sync.Accord)


def test_with_a_lock(make: MakeHub) -> None:
    with make("ada") as hub:
        with hub.lock("sync", wait_ms=0) as grant:
            assert grant.valid
            assert grant.token > 0
            grant.check()
        assert not grant.valid
        again = hub.lock("sync").acquire()
        assert again.token > grant.token
        again.release()
        assert hub.connection.load == {"underway": 0, "partitions": 0, "watches": 0}


def test_same_thread_would_deadlock_and_others_queue(make: MakeHub) -> None:
    with make("ada") as hub:
        lock = hub.lock("threads")
        inside: list[int] = []

        def work(_: int) -> None:
            with lock:
                inside.append(1)
                assert len(inside) == 1
                inside.pop()

        with lock:
            with pytest.raises(WouldSelfDeadlock):
                lock.acquire()
            with ThreadPoolExecutor(1) as pool, pytest.raises(LockTimeout):
                pool.submit(lock.acquire, wait_ms=0).result()
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(work, range(30)))


def test_works_on_a_thread_whose_loop_runs(make: MakeHub) -> None:
    async def main() -> None:
        with make("ada") as hub, hub.lock("loop") as grant:
            assert grant.valid

    asyncio.run(main())


def test_works_within_an_async_hub(make_hub: Callable[..., AsyncAccord]) -> None:
    """A plain function called in an async program takes its lock through the async hub."""

    async def main() -> None:
        async with make_hub("ada") as hub:
            with sync.Lock(hub, "within") as grant:
                assert grant.valid
                with pytest.raises(WouldSelfDeadlock):
                    await hub.lock("within").acquire()

    asyncio.run(main())


def test_lost_lease_is_seen_at_check_and_exit(make: MakeHub, embedded: Embedded) -> None:
    with make("ada") as hub:
        with pytest.raises(LeaseLost, match="it ran out before"), hub.lock("lost", lease_ms=5_000) as grant:
            embedded.advance(6_000)
            assert grant.lost.wait(5)
            assert not grant.valid
            with pytest.raises(LeaseLost):
                grant.check()
        with pytest.raises(ZeroDivisionError) as raised, hub.lock("lost", lease_ms=5_000) as grant:
            embedded.advance(6_000)
            assert grant.lost.wait(5)
            raise ZeroDivisionError
        assert "the lease of token" in raised.value.__notes__[0]


def test_closing_releases_and_leaves_no_thread(make: MakeHub) -> None:
    with make("warm-up"):
        pass
    threads = _threads()
    with make("ada") as hub:
        grant = hub.lock("left").acquire()
    until(lambda: _threads() <= threads)
    assert grant.lost.is_set()
    with make("bob") as hub:
        hub.lock("left", wait_ms=2_000).acquire().release()


def test_hub_opens_again(make: MakeHub) -> None:
    hub = make("ada")
    for _ in range(2):
        with hub:
            hub.lock("again").acquire().release()
    with pytest.raises(NotConnected):
        hub.lock("again").acquire()


def test_open_that_fails_leaves_nothing(lonely: Settings) -> None:
    threads = threading.active_count()
    hub = sync.Accord("127.0.0.1:1", agent="ada", settings=with_(lonely, "kafka", connect_timeout_ms=200))
    with pytest.raises(KafkaUnreachable), hub:
        pass
    assert threading.active_count() <= threads
    assert context.find() is None


def test_hooks(make: MakeHub) -> None:
    log: list[str] = []

    def hook(name: str) -> Callable[[], Future[None]]:
        def run() -> Future[None]:
            log.append(name)
            done: Future[None] = Future()
            threading.Timer(0.01, lambda: (log.append(f"{name} done"), done.set_result(None))).start()
            return done

        return run

    def fail() -> None:
        log.append("fails")
        raise ZeroDivisionError

    hub = make("ada")
    with pytest.raises(ZeroDivisionError), hub:
        hub.on_drain(hook("drain"))
        hub.on_close(hook("first"))
        hub.on_close(fail)
        hub.on_close(hook("last"))
        hub.drain()
    assert log == ["drain", "drain done", "last", "last done", "fails", "first", "first done"]
    assert not hub.is_open


def test_embedded() -> None:
    with sync.local(agent="ada") as hub:
        assert hub.agent == "ada"
        grant = hub.lock("k", lease_ms=5_000).acquire()
        hub.advance(6_000)
        until(lambda: not grant.valid)


def _threads() -> set[threading.Thread]:
    """All but those in which the worker reads, which begin when there is something to read."""
    return {thread for thread in threading.enumerate() if "-reader" not in thread.name}
