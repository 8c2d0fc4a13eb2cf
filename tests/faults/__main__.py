"""Fault runs; progress on stderr, a report as JSON a line on stdout.

    python -m tests.faults [--kills N] ...            one run with so many of each fault
    python -m tests.faults --minutes N [--seed S]     faults in the proportions of `plan.TIMED` for N minutes, in legs
    python -m tests.faults --add FILE ...             adds up the reports that earlier runs have written

The last two end with the sum: what was reached and what is wanted. Exit status: 0 fine, 1 violations, and with `--add`
also if not all that is wanted was reached.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec

from tests import document
from tests.faults.plan import TIMED, Plan, legs
from tests.faults.report import Report, Sum, add, markdown
from tests.faults.run import run


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default in Plan()._asdict().items():
        if isinstance(default, bool):
            parser.add_argument(f"--{name.replace('_', '-')}", action=argparse.BooleanOptionalAction)
        else:
            parser.add_argument(f"--{name.replace('_', '-')}", type=type(default))
    parser.add_argument("--minutes", type=float, help="how long faults go on; the numbers of faults are proportions")
    parser.add_argument("--keep", action="store_true", help="keep histories and logs")
    parser.add_argument("--add", nargs="+", type=Path, metavar="FILE", help="what earlier runs have written to stdout")
    parser.add_argument("--into", type=Path, metavar="DOCUMENT", help="with --add: puts the sum there, as tables")
    arguments = vars(parser.parse_args())
    minutes, keep, files = (arguments.pop(name) for name in ("minutes", "keep", "add"))
    into = arguments.pop("into")
    if files:
        return _added([read for file in files for read in _read(file)], into)
    given = {name: value for name, value in arguments.items() if value is not None}
    if minutes is None:
        return 1 if _told(Plan(**given), keep).violations else 0
    reports = [_told(plan, keep) for plan in legs(minutes, TIMED._replace(**given))]
    _tell_sum(add(reports))
    return 1 if any(report.violations for report in reports) else 0


def _told(plan: Plan, keep: bool) -> Report:
    """Does a run and prints its report."""
    print(f"seed {plan.seed}", file=sys.stderr, flush=True)
    report = run(plan, lambda text: print(text, file=sys.stderr, flush=True), keep)
    print(msgspec.json.encode(report).decode(), flush=True)
    for violation in report.violations[:20]:
        print(f"{violation.rule}: {violation.what}", file=sys.stderr)
    return report


def _read(file: Path) -> list[Report]:
    """The reports in a file; the lines that are none are the sum's."""
    lines = file.read_bytes().splitlines()
    return [msgspec.json.decode(line, type=Report) for line in lines if line.startswith(b'{"plan"')]


def _added(reports: list[Report], into: Path | None) -> int:
    if not reports:
        print("There is no report in these files.", file=sys.stderr)
        return 2
    total = add(reports)
    _tell_sum(total)
    if into is not None:
        document.put(into, "faults", markdown(total))
    return 0 if all(demand.holds for demand in total.demands()) else 1


def _tell_sum(total: Sum) -> None:
    print(msgspec.json.encode(total).decode())
    for demand in total.demands():
        bound = "at most" if demand.at_most else "at least"
        print(
            f"{'reached' if demand.holds else 'MISSED '}  {demand.name}: {demand.got:,g}, {bound} {demand.wanted:,g}",
            file=sys.stderr,
        )


if __name__ == "__main__":
    sys.exit(main())
