"""`python -m tests.faults [--kills N] ...`: a fault run; progress on stderr, the figures as JSON on stdout."""

from __future__ import annotations

import argparse
import sys

import msgspec

from tests.faults.run import Plan, run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    for name, default in Plan()._asdict().items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    parser.add_argument("--keep", action="store_true", help="keep histories and logs")
    arguments = vars(parser.parse_args())
    keep = arguments.pop("keep")
    report = run(Plan(**arguments), lambda text: print(text, file=sys.stderr, flush=True), keep)
    print(msgspec.json.encode(report).decode())
    return 1 if report.violations else 0


sys.exit(main())
