"""Figures of runs in the documents: each between `<!-- NAME -->` and `<!-- /NAME -->`."""

from __future__ import annotations

from pathlib import Path


def put(document: Path, name: str, text: str) -> None:
    """Puts a text where a document has one of this name.

    Raises:
        ValueError: it has no such place.
    """
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    before, found, rest = document.read_text(encoding="utf-8").partition(begin)
    _, ended, after = rest.partition(end)
    if not found or not ended:
        raise ValueError(f"{document} has no place between {begin.strip()} and {end}")
    document.write_text(f"{before}{begin}{text}\n{end}{after}", encoding="utf-8")
