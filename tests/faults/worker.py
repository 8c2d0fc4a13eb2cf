"""A worker of a fault run: `python -m tests.faults.worker VERSION` has the rules up to this version."""

from __future__ import annotations

import sys

from accord.cli import main
from tests.faults import rules

if __name__ == "__main__":
    rules.have(int(sys.argv.pop()))
    sys.argv.append("worker")
    main()
