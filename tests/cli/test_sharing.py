"""`accord locks`, `resources` and `limits` on archives: texts, JSON, exit codes."""

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from accord.schemas.messages.limits import ConfigurePool, ReleaseCapacity, RequestCapacity
from accord.schemas.messages.locks import AcquireLock, ReachBarrier, WaitOnCondition

from tests.cli.support import Ran
from tests.histories.play import Play


@pytest.fixture
def busy(tmp_path: Path) -> str:
    """A mutex with a queue, a semaphore, a barrier; 1.5 s after the first of them."""
    play = Play(locks=1)
    play.send("room", AcquireLock("ada", "ada/1", 5_000, None))
    play.send("room", AcquireLock("bob", "bob/2/1", 5_000, 9_000))
    play.send("room", AcquireLock("eve", "eve/1", 5_000, None, None, 3))
    play.send("gpu", AcquireLock("ada", "ada/2", 60_000, None, 2))
    play.send("gpu", AcquireLock("bob", "bob/2", 60_000, None, 2))
    play.send("ready", ReachBarrier("kim", 3, 60_000, None), after_ms=1_500)
    play.save(tmp_path / "busy.accord")
    return str(tmp_path / "busy.accord")


def asks(agent: str, amount: int = 1, tokens: int = 0, **more: object) -> RequestCapacity:
    terms: dict[str, object] = {"owner": f"{agent}/1", "role": "", "mode": "shared", "priority": 0}
    terms |= {"lease_ms": 60_000, "wait_ms": None}
    return RequestCapacity(agent, amount=amount, tokens=tokens, must_exist=False, **(terms | more))  # type: ignore[arg-type]


@pytest.fixture
def pools(tmp_path: Path) -> str:
    """A pool of 8 that is full, with a queue; a rate limit that was used; one that nobody configured, twice wanted."""
    play = Play(locks=1, limits=1)
    play.send("gpus", ConfigurePool("ops", 8, None, None, ("trainer",), ("trainer",), (3,)), domain="limits")
    play.send("gpus", asks("ada", 6, role="trainer"), domain="limits")
    play.send("gpus", asks("bob", 9, role="trainer"), domain="limits")
    play.send("report", AcquireLock("eve", "eve/1", 60_000, None), after_ms=0)
    play.send("gpus", asks("eve", 4, role="trainer", wait_ms=9_000, owner="eve/1/1"), domain="limits", after_ms=1_000)
    play.send("gpus", asks("kim", 1, role="trainer"), domain="limits")
    play.send("api", ConfigurePool("ops", 2, 60, 1_000, (), (), ()), domain="limits")
    granted = play.send("api", asks("ada", tokens=400), domain="limits", message_id="call")
    play.send("api", ReleaseCapacity("ada", granted.decision.seq, "call", 700, 5_000), domain="limits", after_ms=2_000)
    play.send("api", asks("bob", tokens=400), domain="limits")
    play.send("[x]", asks("ada"), domain="limits")
    play.send("[x]", asks("bob"), domain="limits")
    play.save(tmp_path / "pools.accord")
    return str(tmp_path / "pools.accord")


def rows(text: str) -> dict[str, list[str]]:
    """The cells of a table, by the first one."""
    return {line.split()[0]: line.split() for line in text.splitlines()[1:] if line.strip()}


# -- accord locks


def test_locks_list(busy: str, capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "locks", "list", busy)
    assert ran.code == 0
    assert "semaphore of 2" in ran.out and "ada and 1 more" in ran.out
    found = rows(ran.out)
    assert set(found) == {"gpu", "ready", "room"}
    assert found["room"] == ["room", "mutex", "ada", "2", "1.5", "s", "3.5", "s", "2", "eve"]
    assert found["ready"] == ["ready", "barrier", *"----", "1", "-"]
    by_name = {view["name"]: view for view in Ran(capsys, "locks", "list", busy, "--json").objects}
    room = by_name["room"]
    assert {"name", "kind", "holder", "token", "since", "lease_left_ms", "waiters", "position"} <= set(room)
    assert (room["holder"], room["lease_left_ms"], by_name["gpu"]["permits"]) == ("ada", 5_000 - 1_540, 2)
    assert room["since"] == room["holders"][0]["since"] < "2026-02-25T06:13:20.011Z"
    assert [holder["agent"] for holder in by_name["gpu"]["holders"]] == ["ada", "bob"]


def test_locks_show(busy: str, capsys: pytest.CaptureFixture[str]) -> None:
    (view,) = Ran(capsys, "locks", "show", "room", busy, "--json").objects
    assert [(waiter["agent"], waiter["place"]) for waiter in view["waiters"]] == [("eve", 1), ("bob", 2)]
    assert [waiter["wait_left_ms"] for waiter in view["waiters"]] == [None, 9_000 - 1_530]
    assert [waiter["holds"] for waiter in view["waiters"]] == [[], ["gpu"]]
    assert 0 < view["holders"][0]["lease_left_ms"] <= 5_000 - 1_500
    assert view["holders"][0]["held_ms"] >= 1_500
    shown = Ran(capsys, "locks", "show", "room", busy).out
    assert "held by ada, token 2, for 1.5 s, lease left 3.5 s" in shown
    eve, bob = [line.split() for line in shown.splitlines()[-2:]]
    assert eve == ["1", "eve", "alone", "3", "1.5", "s", "no", "limit", "-"]
    assert bob == ["2", "bob", "alone", "0", "1.5", "s", "7.5", "s", "gpu"]
    assert "held by bob as one of 2, token 6" in Ran(capsys, "locks", "show", "gpu", busy).out
    assert "1 of 3 have come: kim" in Ran(capsys, "locks", "show", "ready", busy).out
    missing = Ran(capsys, "locks", "show", "attic", busy)
    assert (missing.code, missing.err.split(":")[0]) == (4, "NotFound")


def test_locks_show_who_sleeps_on_a_condition(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    play = Play(locks=1)
    granted = play.send("full", AcquireLock("ada", "ada/1", 5_000, None))
    play.send("full", WaitOnCondition("ada", granted.decision.seq, None))
    play.save(tmp_path / "asleep.accord")
    shown = Ran(capsys, "locks", "show", "full", str(tmp_path / "asleep.accord")).out
    assert shown.splitlines()[-1].split()[:2] == ["notice", "ada"]
    assert Ran(capsys, "locks", "graph", str(tmp_path / "asleep.accord")).out == "nobody waits\n"


def test_locks_at_a_point(busy: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What was before: no barrier yet, and ages counted to then."""
    for point in ("locks/0@4", "locks.commands/0@3", "2026-02-25T06:13:20.040Z"):
        views = Ran(capsys, "locks", "list", busy, "--at", point, "--json").objects
        assert [view["name"] for view in views] == ["gpu", "room"]
        assert views[1]["holders"][0]["held_ms"] == 30
    assert Ran(capsys, "locks", "show", "gpu", busy, "--at", "locks/0@3").code == 4
    assert Ran(capsys, "locks", "list", busy, "--at", "locks/0@0").out == "nothing is locked\n"
    assert "bob waits for eve" not in Ran(capsys, "locks", "graph", busy, "--at", "locks/0@2").out
    for point, code in (("locks/0@99", 4), ("limits/0@1", 4), ("soon", 2)):
        assert Ran(capsys, "locks", "list", busy, "--at", point).code == code


def test_locks_release_wants_force(capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "locks", "release", "room", "--reason", "stuck")
    assert ran.code == 2
    assert "--force" in ran.err


def test_locks_graph(busy: str, capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "locks", "graph", busy)
    assert ran.code == 0
    assert ran.out.splitlines() == [
        "eve waits for ada: room (token 2)",
        "bob waits for ada: room (token 2)",
        "bob waits for eve: room (ahead in the queue)",
    ]


def test_locks_graph_of_a_deadlock_over_locks_and_a_pool(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    play = Play(locks=1, limits=1)
    for chain, mine in (("a", "fork-1"), ("b", "fork-2")):
        play.send(mine, AcquireLock(f'"{chain}"', f"{chain}/1", 60_000, None))
    play.send("spoon", asks("c"), domain="limits")
    play.send("fork-2", AcquireLock('"a"', "a/1/1", 60_000, None))
    play.send("spoon", asks("b", owner="b/1/1"), domain="limits")
    play.send("fork-1", AcquireLock("c", "c/1/1", 60_000, None))
    play.save(tmp_path / "philosophers.accord")
    philosophers = str(tmp_path / "philosophers.accord")

    ran = Ran(capsys, "locks", "graph", philosophers)
    assert ran.code == 1
    assert "b waits for c: pool spoon (token" in ran.out
    assert "deadlock: c waits for" in ran.out and ran.out.count("waits for") == 6
    assert ran.out.endswith("; c is the youngest and has to give way\n")
    (found,) = Ran(capsys, "locks", "graph", philosophers, "--json").objects
    (ring,) = found["deadlocks"]
    assert {(edge["waiter"], edge["holder"], edge["domain"], edge["lock"]) for edge in ring} == {
        ("a", "b", "locks", "fork-2"), ("b", "c", "limits", "spoon"), ("c", "a", "locks", "fork-1"),
    }  # fmt: skip
    dot = Ran(capsys, "locks", "graph", philosophers, "--dot").out
    assert dot.startswith("digraph waits {") and dot.count("color=red") == 3 and r'label="\"a\""' in dot
    ran = Ran(capsys, "locks", "graph", philosophers, "--svg", str(tmp_path / "graph.svg"))
    assert ran.code == 1
    picture = ET.parse(tmp_path / "graph.svg").getroot()
    assert [path.get("class") for path in picture.findall(".//{*}path")].count("arrow ring") == 3
    ran = Ran(capsys, "locks", "graph", philosophers, "--svg", str(tmp_path / "nowhere" / "graph.svg"))
    assert ran.code == 2 and "graph.svg cannot be written: No such file" in ran.err


# -- accord resources, accord limits


def test_resources_list(pools: str, capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "resources", "list", pools)
    assert ran.code == 0
    found = rows(ran.out)
    assert found["gpus"] == ["gpus", "8", "6", "2", "75%", "ada", "6", "2", "eve", "4"]
    assert found["[x]"] == ["[x]", "1", "1", "0", "-", "ada", "1", "1", "bob", "1"]
    assert found["api"][1:4] == ["2", "0", "2"]


def test_limits_list(pools: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = rows(Ran(capsys, "limits", "list", pools).out)
    assert found["api"] == [
        "api", "0", "of", "2", "60", "of", "60", "333", "of", "1,000", "5.0", "s", "1", "paused",
    ]  # fmt: skip
    assert found["gpus"][-2:] == ["2", "capacity"]


def test_resources_as_json(pools: str, capsys: pytest.CaptureFixture[str]) -> None:
    by_name = {view["name"]: view for view in Ran(capsys, "resources", "list", pools, "--json").objects}
    assert list(by_name) == ["[x]", "api", "gpus"]
    assert list(by_name.values()) == Ran(capsys, "limits", "list", pools, "--json").objects
    gpus = by_name["gpus"]
    assert (gpus["capacity"], gpus["in_use"], gpus["free"], gpus["roles"]) == (8, 6, 2, ["trainer"])
    (ada,) = gpus["holders"]
    assert (ada["agent"], ada["amount"], ada["mode"], ada["held_ms"]) == ("ada", 6, "shared", 1_000 + 2_070)
    assert ada["lease_left_ms"] == 60_000 - ada["held_ms"]
    assert [(w["agent"], w["place"], w["amount"], w["waits_for"], w["holds"]) for w in gpus["waiters"]] == [
        ("eve", 1, 4, "capacity", ["report"]), ("kim", 2, 1, "turn", []),
    ]  # fmt: skip
    assert gpus["waiters"][0]["wait_left_ms"] == 9_000 - gpus["waiters"][0]["waiting_ms"]
    assert gpus["shares"] == [{"name": "trainer", "weight": 3, "grants": 1, "amount": 6}]
    usage = gpus["usage"]
    assert usage | {"utilisation": 0} == {
        "since": "2026-02-25T06:13:20.010Z", "utilisation": 0, "wait_ms_mean": 0, "hold_ms_mean": None, "granted": 1,
        "denied": 1, "queued": 2, "granted_amount": 6, "denied_amount": 9, "queued_amount": 5, "tokens": 0,
    }  # fmt: skip
    held_ms, all_ms = ada["held_ms"], ada["held_ms"] + 10
    assert usage["utilisation"] == round(6 * held_ms / (8 * all_ms), 4)
    api = by_name["api"]
    assert api["paused_ms"] == 5_000 - 30
    assert api["tokens"]["left"] == (300 * 60_000 + 1_000 * 2_030) // 60_000
    assert api["tokens"]["full_ms"] == -(-(1_000 * 60_000 - (300 * 60_000 + 1_000 * 2_030)) // 1_000)
    assert 0 < api["tokens"]["next_ms"] <= 60
    assert (api["usage"]["hold_ms_mean"], api["usage"]["tokens"]) == (2_000, 700)
    assert (by_name["[x]"]["configured"], by_name["[x]"]["usage"]["since"]) == (False, None)


def test_resources_show(pools: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown = Ran(capsys, "resources", "show", "gpus", pools).out.splitlines()
    assert shown[0].startswith("gpus  6 of 8 in use, as of limits.commands/0@")
    assert "  only for trainer" in shown and "    trainer, weight 3: 1 grant, 6 in all" in shown
    assert "  ada holds 6, token 3, for 3.1 s, lease left 56.9 s" in shown
    assert ["1", "eve", "4", "0", "capacity", "2.1", "s", "6.9", "s", "report"] in [line.split() for line in shown]
    assert "    demand: 1 request for 6 granted, 1 for 9 denied, 2 for 5 waiting" in shown
    shown = Ran(capsys, "limits", "show", "api", pools).out.splitlines()
    assert "  333 of 1,000 tokens a minute left, one more in 0.0 s, all in 40.0 s" in shown
    assert "  60 of 60 requests a minute left" in shown
    assert "  paused for 5.0 s: the resource asked for it" in shown
    assert "    on average waited 0.0 s, held 2.0 s" in shown
    assert "configured by nobody" in Ran(capsys, "limits", "show", "[x]", pools).out
    missing = Ran(capsys, "resources", "show", "attic", pools)
    assert (missing.code, missing.err.split(":")[0]) == (4, "NotFound")


def test_resources_at_a_point(pools: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A position in one domain is a moment in the other."""
    for point in ("limits/0@2", "locks/0@1"):
        (view,) = Ran(capsys, "resources", "list", pools, "--at", point, "--json").objects
        assert (view["name"], view["in_use"], view["waiters"]) == ("gpus", 6, [])
    assert [view["name"] for view in Ran(capsys, "locks", "list", pools, "--at", "limits/0@6", "--json").objects] == [
        "report"
    ]
    assert Ran(capsys, "locks", "list", pools, "--at", "limits/0@2", "--json").objects == []
    assert len(Ran(capsys, "locks", "list", pools, "--at", "limits/0@3", "--json").objects) == 1, "in the same ms"
    assert Ran(capsys, "resources", "list", pools, "--at", "limits/0@0").out == "no pool is configured or in use\n"


@pytest.mark.parametrize(
    ("command", "kept"),
    [
        (["locks", "list"], ["3.5 s", "waiting", "1.5 s"]),
        (["locks", "show", "room"], ["7.5 s", "no limit", "holds meanwhile"]),
    ],
)
def test_a_narrow_terminal_cuts_names_and_no_numbers(busy: str, command: list[str], kept: list[str]) -> None:
    code = f"import sys; sys.stdout.isatty = lambda: True; from accord.cli.app import run; run({[*command, busy]!r})"
    environment = {**os.environ, "COLUMNS": "70", "TERM": "xterm", "NO_COLOR": "1"}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    shown = re.sub(r"\x1b\[\d*m", "", ran.stdout)
    assert all(text in shown for text in kept)
    assert max(len(line) for line in shown.splitlines()) <= 70
