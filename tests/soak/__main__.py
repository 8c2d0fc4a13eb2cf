"""`python -m tests.soak [KIND ...]`: a soak; progress on stderr, on stdout JSON, a line for each round of a kind.

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
from tests.soak.soak import Figures, line, markdown, soak


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
        lines = [found for file in arguments.add for found in file.read_bytes().splitlines()]
        table = markdown([msgspec.json.decode(found, type=Figures) for found in lines])
        if arguments.into is None:
            print(table)
        else:
            document.put(arguments.into, "soak", table)
        return 0
    if unknown := set(arguments.kinds) - set(names):
        parser.error(f"there is no kind {', '.join(sorted(unknown))}")
    chosen = [kind for kind in kinds() if not arguments.kinds or kind.name in arguments.kinds]
    figures = asyncio.run(soak(chosen, arguments.operations, _tell, fill=not arguments.no_fill))
    return 1 if any(one.grown for one in figures) else 0


def _tell(figures: Figures) -> None:
    print(line(figures), file=sys.stderr, flush=True)
    print(msgspec.json.encode(figures).decode(), flush=True)


if __name__ == "__main__":
    sys.exit(main())
