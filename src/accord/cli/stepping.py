"""The dialogue of `accord replay step`: a line is a command, and brings an answer. It works without a terminal, too."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final

from rich.markup import escape

from accord.cli.output import event_text, json_line, print_error, say, text_of
from accord.cli.sharing import held_line
from accord.errors import AccordError, BadInput
from accord.replay.difference import Change, changes

if TYPE_CHECKING:
    from accord.replay.travel import Journey, Stop

HELP: Final = """\
  n [COUNT]     forward: take the next decision in, or so many
  b [COUNT]     back: take the last one back, or so many
  next WHAT     forward to the next decision on a key, of an agent or task, or with an event of this type
  at POINT      go to a position, locks/3@1842, to a time, 2026-03-01T12:00:00Z, to `start` or to `end`
  show KEY      the state of this name: of a lock, a task, a proposal...
  who KEY       who holds this lock or pool, and who waits
  what          what the last decision changed, field by field
  where         where you are, and how much there is
  help          this list
  quit"""
STEPS_MAX: Final = 1_000_000
_NAMES: Final = {
    "f": "n",
    "forward": "n",
    "back": "b",
    "s": "show",
    "w": "who",
    "q": "quit",
    "exit": "quit",
    "?": "help",
}
_WIDTH_MAX: Final = 200


def walk(journey: Journey, before_answer: Callable[[], None], *, as_json: bool) -> None:
    """Does what stdin says, until it says `quit` or ends. What cannot be done is told, and the next line is read.

    Args:
        before_answer: called before something is printed.
    """
    talk = _Talk(journey, as_json)
    talk.where()
    for line in _lines(as_json):
        name, _, argument = line.strip().partition(" ")
        if not name:
            continue
        name = _NAMES.get(name, name)
        if name == "quit":
            return
        try:
            talk.do(name, argument.strip(), before_answer)
        except AccordError as error:
            before_answer()
            print_error(error, as_json=as_json)


def _lines(as_json: bool) -> Iterator[str]:
    if not sys.stdin.isatty() or as_json:
        yield from sys.stdin
        return
    import readline  # noqa: F401, PLC0415  input() edits lines with it

    while True:
        try:
            yield input("> ")
        except EOFError:
            return


class _Talk:
    """Answers, as text or as objects."""

    def __init__(self, journey: Journey, as_json: bool) -> None:
        self._journey = journey
        self._as_json = as_json

    def do(self, name: str, argument: str, before_answer: Callable[[], None]) -> None:
        """Raises AccordError: it cannot be done."""
        if name in ("n", "b"):
            count = _count(argument)
            self._journey.to_number(max(0, self._journey.number + (count if name == "n" else -count)))
        elif name == "next":
            if self._journey.to_next(_given(argument, "next WHAT")) is None:
                before_answer()
                self._tell({"found": False}, f"there is no further decision on {argument}: this is the end")
        elif name == "at":
            self._go(_given(argument, "at POINT"))
        before_answer()
        if name in ("n", "b", "next", "at", "where"):
            self.where(counts=name == "where")
        elif name == "show":
            self._show(_given(argument, "show KEY"))
        elif name == "who":
            self._who(_given(argument, "who KEY"))
        elif name == "what":
            self._what()
        elif name == "help":
            self._tell({"help": HELP}, HELP)
        else:
            raise BadInput(f"{name} is none of the commands.", remedy="`help` lists them.")

    def where(self, *, counts: bool = False) -> None:
        """Tells where one stands."""
        here = self._journey.here
        if self._as_json:
            json_line(
                {"number": self._journey.number, "stop": here} | ({"aggregates": self._counts()} if counts else {})
            )
            return
        _print_stop(here)
        if counts:
            say(f"  {text_of(self._counts())}")

    def _counts(self) -> dict[str, int]:
        return {domain: count for domain, count in self._journey.counts().items() if count}

    def _go(self, text: str) -> None:
        from accord.replay.state import parse_point  # noqa: PLC0415

        if text == "start":
            self._journey.to_number(0)
        else:
            self._journey.to(parse_point(None if text == "end" else text))

    def _show(self, key: str) -> None:
        found = self._journey.state(key)
        text = "\n".join(
            f"{domain} [bold cyan]{escape(key)}[/]  {escape(text_of(one))}" for domain, one in found.items()
        )
        self._tell({"key": key, "state": found}, text or f"there is no {escape(key)} here", markup=True)

    def _who(self, key: str) -> None:
        found = self._journey.who(key)
        text = "\n".join(held_line(view) for view in found)
        self._tell({"key": key, "views": found}, text or f"nobody holds {key} or waits for it")

    def _what(self) -> None:
        before, after = self._journey.changed()
        found = changes(before or {}, after or {})
        if self._as_json:
            json_line({"changes": found})
        elif found:
            print_changes(found)
        else:
            say("it changed nothing")

    def _tell(self, answer: object, text: str, *, markup: bool = False) -> None:
        if self._as_json:
            json_line(answer)
        else:
            say(text if markup else escape(text))


def _print_stop(here: Stop | None) -> None:
    if here is None:
        say("before the first decision")
        return
    say(f"[bold]{here.position}[/]  #{here.number}  {here.time or ''}  [cyan]{escape(here.key)}[/]")
    for event in here.events:
        say(f"  {escape(event.agent or '-')}  [bold]{event.event}[/]  [dim]{escape(event_text(event.data))}[/]")


def print_changes(found: Iterable[Change]) -> None:
    """Prints fields that differ, a line each."""
    for change in found:
        before, after = (escape(_cut(text_of(value))) for value in (change.before, change.after))
        say(f"    {escape(change.path)}: [red]{before}[/] -> [green]{after}[/]")


def _cut(text: str) -> str:
    return text if len(text) <= _WIDTH_MAX else text[:_WIDTH_MAX] + "..."


def _count(text: str) -> int:
    if not text:
        return 1
    if not text.isdecimal() or not 0 < int(text) <= STEPS_MAX:
        raise BadInput(f"{text!r} is no number of steps, 1 to {STEPS_MAX:,}.")
    return int(text)


def _given(argument: str, usage: str) -> str:
    if not argument:
        raise BadInput("Something is missing.", remedy=f"Write: {usage}.")
    return argument
