"""docs/replay.md: commands print what stands below them, programs what their comments say, lists are whole."""

import io
import re
import shlex
from pathlib import Path
from typing import get_args

import pytest
from accord.replay import accesses, damage
from accord.replay import tables as worker_tables
from accord.replay.fork.cut import DECISIONS_MAX
from accord.replay.fork.models import CALLS_MAX
from accord.replay.fork.run import HOP_MS, REPORT_MS
from accord.replay.races import Kind
from accord.replay.travel import CHECKPOINTS_MAX, RECENT_MAX

from accord.cli.stepping import HELP
from tests.cli.support import Ran
from tests.histories.booking import booking
from tests.histories.record import WRONG
from tests.histories.scenarios import SCENARIOS

TEXT = (Path(__file__).parents[2] / "docs" / "replay.md").read_text(encoding="utf-8")
CONSOLE = re.findall(r"^```console\n\$ (.*?)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


@pytest.fixture(autouse=True)
def _archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    booking().save(tmp_path / "hotel.accord")
    (tmp_path / "tests").symlink_to(Path(__file__).parents[1])


@pytest.mark.parametrize(("line", "shown"), CONSOLE, ids=[line for line, _ in CONSOLE])
def test_a_command_prints_what_stands_below_it(
    line: str, shown: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    typed, _, command = line.rpartition(" | ")
    if typed:
        monkeypatch.setattr("sys.stdin", io.StringIO(shlex.split(typed)[1].replace("\\n", "\n")))
    program, *arguments = shlex.split(command)
    ran = Ran(capsys, *arguments)
    assert program == "accord" and ran.err == ""
    expected = "".join(".*?" if part == "..." else re.escape(part) for part in re.split(r"(\.\.\.)", shown.strip("\n")))
    assert re.fullmatch(expected, ran.out.strip("\n"), re.DOTALL), ran.out


def test_the_programs_print_what_their_comments_say(capsys: pytest.CaptureFixture[str]) -> None:
    programs = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    assert len(programs) == 2
    for program in programs:
        exec(program, {})
        assert capsys.readouterr().out.splitlines() == re.findall(r"^\s*print\(.*\) +# (.*)$", program, re.MULTILINE)


def test_the_lists_are_whole() -> None:
    verified = TEXT[TEXT.index("## Archives") : TEXT.index("## State at a point")]
    assert {*SCENARIOS, *WRONG} <= set(re.findall(r"`(\w+)`", verified))
    assert set(re.findall(r"^\| `(\w+)` \|", verified, re.MULTILINE)) == set(get_args(damage.Kind))
    broken = TEXT[TEXT.index("## A broken") : TEXT.index("## Why did")]
    assert set(re.findall(r"^\| `(\w+)` \|", broken, re.MULTILINE)) == set(get_args(worker_tables.State))
    races = TEXT[TEXT.index("## Races") :]
    assert set(re.findall(r"^\| `(\w+_\w+|unguarded)` \|", races, re.MULTILINE)) == set(get_args(Kind))
    told = {
        (domain, event)
        for domains, event in re.findall(r"^\| ([a-z, ]+) \| `(\w+)` \|", races, re.MULTILINE)
        for domain in domains.split(", ")
    }
    tables = (accesses.ACCESSES, accesses.STALE, accesses.BODIES)
    assert told == {(domain, event) for table in tables for domain, events in table.items() for event in events}
    steps = TEXT[TEXT.index("## Forward") : TEXT.index("## What differs")]
    named = {name for row in re.findall(r"^\| (`.*?`) \|", steps, re.MULTILINE) for name in re.findall(r"`(\w+)", row)}
    assert named == {line.split()[0] for line in HELP.splitlines()}
    assert f"at most {DECISIONS_MAX:,} decisions" in TEXT and f"at most {CALLS_MAX} times" in TEXT
    assert f"{HOP_MS} ms after its decision" in TEXT and f"{REPORT_MS} ms after something" in TEXT
    assert f"{RECENT_MAX:,} decisions" in steps and f"at most {CHECKPOINTS_MAX}\n" in steps
