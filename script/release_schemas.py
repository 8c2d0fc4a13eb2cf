"""Records today's schemas as those of the version in `accord.__version__`, where they differ from the last released.

    .venv/bin/python script/release_schemas.py

Readers keep every schema that is recorded, so one that was published is never changed: only the entry of a version
that has no tag `vVERSION` yet is written anew. Schemas differ when their parsing canonical forms do; a better `doc`
is no new schema.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from accord.schemas.codec import Codec, commands_codec, deadletters_codec, events_codec, fingerprint_of
from accord.schemas.topics import DOMAINS

import accord

RELEASED = Path(__file__).parents[1] / "schemas" / "released"


def codecs() -> list[Codec]:
    """Every codec there is: one a subject."""
    return [*[made(domain) for domain in DOMAINS for made in (commands_codec, events_codec)], deadletters_codec()]


def is_published(version: str) -> bool:
    done = subprocess.run(
        ["git", "tag", "--list", f"v{version}"], cwd=RELEASED, capture_output=True, text=True, check=True
    )
    return bool(done.stdout.strip())


def main() -> int:
    version = accord.__version__
    RELEASED.mkdir(exist_ok=True)
    for codec in codecs():
        file = RELEASED / f"{codec.subject}.json"
        entries = json.loads(file.read_text()) if file.is_file() else []
        if entries and fingerprint_of(entries[-1]["schema"]) == fingerprint_of(codec.schema):
            print(f"{codec.subject}: as in {entries[-1]['version']}")
            continue
        if entries and entries[-1]["version"] == version:
            if is_published(version):
                print(f"{codec.subject} differs from its release {version}: raise accord.__version__ first.")
                return 1
            entries.pop()
        entries.append({"version": version, "schema": codec.schema})
        file.write_text(json.dumps(entries, indent=1, ensure_ascii=False) + "\n")
        print(f"{codec.subject}: recorded as {version}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
