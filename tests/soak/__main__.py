"""`python -m tests.soak [KIND ...] [--operations N]`: a soak; progress on stderr, a JSON object a kind on stdout.

Exit status 1: something is not flat.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

import msgspec

from tests import document
from tests.soak.kinds import kinds
from tests.soak.soak import Figures, markdown, soak


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    names = [kind.name for kind in kinds()]
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"of {', '.join(names)}; all")
    parser.add_argument("--operations", type=int, default=10_000, help="of each kind")
    parser.add_argument("--no-fill", action="store_true", help="do not fill what the worker remembers of ids first")
    parser.add_argument("--add", nargs="+", type=Path, metavar="FILE", help="what earlier soaks have written to stdout")
    parser.add_argument("--into", type=Path, metavar="DOCUMENT", help="with --add: puts the figures there, as a table")
    arguments = parser.parse_args()
    if arguments.add:
        lines = [line for file in arguments.add for line in file.read_bytes().splitlines()]
        table = markdown([msgspec.json.decode(line, type=Figures) for line in lines])
        if arguments.into is None:
            print(table)
        else:
            document.put(arguments.into, "soak", table)
        return 0
    if unknown := set(arguments.kinds) - set(names):
        parser.error(f"there is no kind {', '.join(sorted(unknown))}")
    chosen = [kind for kind in kinds() if not arguments.kinds or kind.name in arguments.kinds]
    tell = lambda text: print(text, file=sys.stderr, flush=True)  # noqa: E731
    figures = asyncio.run(soak(chosen, arguments.operations, tell, fill=not arguments.no_fill))
    for one in figures:
        print(msgspec.json.encode(one).decode())
    return 1 if any(one.grown for one in figures) else 0


if __name__ == "__main__":
    sys.exit(main())
