"""The command line: `accord`.

Commands are grouped by what they look at, one module each; what a command needs is imported when it runs, so that
`accord --help` is quick. Results go to stdout, problems to stderr; with `--json` both are JSON, an object a line.

Exit: 0 fine; 1 looked and found something wrong; 2 usage or settings; 3 could not look; 4 not found; 5 refused.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of the `accord` program."""
    from accord.cli.app import run  # noqa: PLC0415  importing this package must cost nothing

    sys.exit(run(sys.argv[1:]))
