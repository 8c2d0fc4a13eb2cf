"""A recorded scenario that was damaged, as a user's CI meets it: exit status, the kind by its name, a JUnit report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.cli.support import Ran
from tests.histories.damage import DOMAIN, KINDS, Copy
from tests.histories.record import archive_of

TOLD = {
    "edited": "{at} was changed after it was written",
    "dropped": "is missing, between {before} and {after}",
    "reordered": "at {at} lies before decision",
    "forked": "readers take decision {seq} at {at}, the log goes on at",
    "clock": "{at} carries another clock (clock)",
    "decision": "{at} differs in events",
}


def verified(capsys: pytest.CaptureFixture[str], path: Path, report: Path) -> tuple[Ran, dict[str, str | None]]:
    """What `accord replay verify` did, and the failures of its report by partition."""
    ran = Ran(capsys, "replay", "verify", str(path), "--junit", str(report))
    cases = ET.parse(report).iter("testcase")
    failures = {str(case.get("name")): case.find("failure") for case in cases}
    return ran, {name: failure.get("type") for name, failure in failures.items() if failure is not None}


@pytest.mark.parametrize("do", KINDS, ids=lambda do: do.__name__)
def test_a_market_that_was_damaged_is_caught_and_named(
    do: Callable[[Copy], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Copy("market")
    do(copy)
    copy.save(tmp_path / "market.accord")
    ran, failures = verified(capsys, tmp_path / "market.accord", tmp_path / "report.xml")
    where = f"{DOMAIN}/{copy.number}"
    assert ran.code == 1 and failures == {where: do.__name__}
    places = {"at": copy.at, "before": copy.at - 1, "after": copy.at + 1}
    told = TOLD[do.__name__].format(seq=copy.at + 1, **{name: f"{where}@{place}" for name, place in places.items()})
    assert f"{do.__name__}: " in ran.out and told in ran.out
    assert "what led there, oldest first" in ran.out


def test_a_copy_that_nobody_touched_is_sound(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Copy("market").save(tmp_path / "market.accord")
    ran, failures = verified(capsys, tmp_path / "market.accord", tmp_path / "report.xml")
    assert ran.code == 0 and not failures
    for file in archive_of("market").glob("*.avro"):
        assert file.read_bytes() == (tmp_path / "market.accord" / file.name).read_bytes(), file.name


def test_a_grant_by_other_code_that_was_recorded_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran, failures = verified(capsys, archive_of("wrong_grant"), tmp_path / "report.xml")
    assert ran.code == 1 and failures == {"locks/0": "decision"} and "LockGranted" in ran.out
