"""The commands of the transcripts in `tests/streams`, as logs: of most domains they bring almost all that there is."""

from __future__ import annotations

from collections.abc import Iterator

from tests.histories.play import Play
from tests.streams.test_transcripts import BAR, FILES, Transcript

TRANSCRIPTS = {f"transcripts/{file.stem}": file for file in FILES}


def transcript(name: str) -> Play:
    """The log of a transcript, which has one partition."""
    file = TRANSCRIPTS[name]
    domain = file.stem.partition("_")[0]
    play = Play(cluster=f"history-{file.stem}", **{domain: 1})
    told = Transcript(domain)
    told.partition = play.states[domain, 0]
    for line in _asked(file.read_text()):
        record = told.asked(line)
        play.now_ms = record.timestamp
        play.append((domain, 0), record.key, record.value, record.headers, after_ms=0)
    return play


def _asked(text: str) -> Iterator[str]:
    for block in text.split("\n\n"):
        lines = block.strip("\n").split("\n")
        if BAR in lines:
            yield from [line for line in lines[: lines.index(BAR)] if not line.startswith(("#", "show "))]
