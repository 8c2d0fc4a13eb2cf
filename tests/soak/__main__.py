"""`python -m tests.soak [KIND ...] [--operations N]`: a soak; progress on stderr, a JSON object a kind on stdout.

Exit status 1: something is not flat.
"""

from __future__ import annotations

import argparse
import asyncio
import sys

import msgspec

from tests.soak.kinds import kinds
from tests.soak.soak import soak


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    names = [kind.name for kind in kinds()]
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"of {', '.join(names)}; all")
    parser.add_argument("--operations", type=int, default=10_000, help="of each kind")
    parser.add_argument("--no-fill", action="store_true", help="do not fill what the worker remembers of ids first")
    arguments = parser.parse_args()
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
