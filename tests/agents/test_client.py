"""The hub: how it is found, how it finds its broker, how it opens and closes."""

import asyncio
import json
import os
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import pytest
from accord.agents import context
from accord.agents.client import Accord
from accord.agents.discovery import DEV_FILE, resolve
from accord.agents.hub import Hub

from accord.errors import BadInput, ConfigError, KafkaUnreachable, NotConnected
from accord.settings import Settings
from tests.agents.support import with_

MakeHub = Callable[..., Accord]


# -- finding the hub


def test_no_hub() -> None:
    with pytest.raises(NotConnected) as raised:
        context.current("hotel_booker")
    assert str(raised.value) == (
        'hotel_booker was called but no hub is open. Wrap the program in "async with accord.local():" '
        "(or accord.Accord())."
    )


def test_only_open_hub_of_the_process_is_found_anywhere(make_hub: MakeHub) -> None:
    async def main() -> None:
        async with make_hub("ada") as hub:
            assert context.current("f") is hub
            assert await asyncio.to_thread(context.current, "f") is hub
            assert await asyncio.get_running_loop().run_in_executor(None, context.current, "f") is hub
        assert context.find() is None

    asyncio.run(main())


def test_context_chooses_among_several(make_hub: MakeHub) -> None:
    async def main() -> None:
        async with make_hub("ada") as ada:
            async with make_hub("bob") as bob:
                assert context.current("f") is bob
                with pytest.raises(NotConnected, match="f was called, 2 hubs are open and none of them"):
                    await asyncio.get_running_loop().run_in_executor(None, context.current, "f")
            assert context.current("f") is ada

    asyncio.run(main())


def test_hub_that_was_closed_elsewhere_is_not_found(make_hub: MakeHub) -> None:
    """Left in another context than it was entered in, as generators and fixtures do."""

    async def main() -> None:
        hub = make_hub("ada")
        await hub.__aenter__()
        await asyncio.create_task(hub.__aexit__(None, None, None))
        assert context.find() is None

    asyncio.run(main())


# -- finding the broker


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that programs run in, with `accord dev` running two levels up."""
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    _dev(tmp_path)
    return tmp_path


def _dev(folder: Path, **values: object) -> None:
    file = folder / DEV_FILE
    file.parent.mkdir(exist_ok=True)
    found = {
        "bootstrap_servers": "127.0.0.1:9",
        "pid": os.getpid(),
        "settings": {"kafka": {"fetch_wait_ms": 5}, "topics": {"partitions": 4}},
    }
    file.write_text(json.dumps(found | values))


def test_running_dev_is_found_and_said(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "accord"):
        settings = resolve(None, None)
    assert (settings.kafka.bootstrap_servers, settings.kafka.fetch_wait_ms) == ("127.0.0.1:9", 5)
    assert settings.topics.partitions == 4
    assert "using the running accord dev" in caplog.text


def test_named_broker_wins_over_dev(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve(None, "named:1").kafka.bootstrap_servers == "named:1"
    given = with_(Settings.load(), "kafka", bootstrap_servers="settings:1")
    assert resolve(given, None).kafka.bootstrap_servers == "settings:1"
    assert resolve(given, None).kafka.fetch_wait_ms == 500
    monkeypatch.setenv("ACCORD_KAFKA__BOOTSTRAP_SERVERS", "env:1")
    assert resolve(None, None).kafka.bootstrap_servers == "env:1"


def test_dev_that_has_ended_is_ignored(project: Path) -> None:
    _dev(project, pid=2**22 - 1)
    assert resolve(None, None).kafka.bootstrap_servers == ""


def test_damaged_dev_file(project: Path) -> None:
    (project / DEV_FILE).write_text("{")
    with pytest.raises(ConfigError, match="is no file of accord dev"):
        resolve(None, None)


def test_other_settings_survive_dev(project: Path) -> None:
    given = with_(Settings.load(), "locks", lease_ms=5_000)
    assert resolve(given, None).locks.lease_ms == 5_000


# -- opening and closing


def test_nothing_happens_before_it_is_entered() -> None:
    hub = Accord("127.0.0.1:1")
    for use in (lambda: hub.connection, lambda: hub.leases, lambda: hub.ensure_open("x")):
        with pytest.raises(NotConnected):
            use()
    with pytest.raises(NotConnected):
        asyncio.run(hub.drain())


def test_agent_names_are_made_or_taken() -> None:
    assert Accord(agent="ada").agent == "ada"
    assert Accord().agent.endswith(f"-{os.getpid()}")
    assert Accord(settings=Settings.load(agent="bob")).agent == "bob"
    for bad in ("", "a" * 256, 7):
        with pytest.raises(BadInput, match="agent="):
            Accord(agent=bad)  # type: ignore[arg-type]


def test_entering_twice(make_hub: MakeHub) -> None:
    async def main() -> None:
        async with make_hub("ada") as hub:
            with pytest.raises(BadInput, match="open already"):
                async with hub:
                    pass
            assert hub.is_open
            async with hub.lock("still works"):
                pass

    asyncio.run(main())


def test_openers_are_called_and_waited_for(make_hub: MakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "_openers", [])
    log: list[Hub] = []

    @context.at_open
    def opener(hub: Hub) -> Future[None]:
        log.append(hub)
        done: Future[None] = Future()
        hub.connection.call_later(10, lambda: done.set_result(None))
        return done

    async def main() -> None:
        async with make_hub("ada") as hub:
            assert log == [hub]
            assert hub.loop is asyncio.get_running_loop()
        assert hub.loop is None

    asyncio.run(main())


def test_opener_that_fails_closes_the_hub(make_hub: MakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "_openers", [lambda hub: 1 / 0])
    hub = make_hub("ada")

    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            await hub.__aenter__()
        assert not hub.is_open
        assert context.find() is None

    asyncio.run(main())


def test_cancelled_while_opening(lonely: Settings) -> None:
    async def main() -> None:
        hub = Accord("127.0.0.1:1", agent="ada", settings=with_(lonely, "kafka", connect_timeout_ms=2_000))
        task = asyncio.create_task(hub.__aenter__())
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not hub.is_open

    asyncio.run(main())


def test_unreachable_broker(lonely: Settings) -> None:
    async def main() -> None:
        hub = Accord("127.0.0.1:1", settings=with_(lonely, "kafka", connect_timeout_ms=200))
        with pytest.raises(KafkaUnreachable, match=r"no broker at 127.0.0.1:1 \(ACCORD_KAFKA__BOOTSTRAP_SERVERS\)"):
            await hub.__aenter__()
        assert not hub.is_open

    asyncio.run(main())
