"""Logging: structured lines through the standard library's loggers.

A library stays quiet: below WARNING nothing is seen unless the program says so, by `logging` as for any other library
(`logging.getLogger("accord").setLevel(logging.INFO)`), or by `show`, as the command line does.

Rules that act here:
- A line that is written inside an operation of an agent says which agent, of which task, and what it does.
- The message of a log record is readable text; its fields stand beside, in the record's attribute `accord`.
- What `show` writes holds no secret of the settings: wherever its value turns up, `***` stands instead.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from contextvars import ContextVar, Token
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import structlog

if TYPE_CHECKING:
    from accord.settings import Settings

HIDDEN: Final = "***"
SECRET_CHARS_MIN: Final = 4
"""A shorter secret is in half of all lines by chance."""

Doing = tuple[str, str, str]
"""Agent, task, action; empty: none."""

_doing: Final[ContextVar[Doing | None]] = ContextVar("accord_doing", default=None)
_NAMES: Final = ("agent", "task", "action")


def enter(agent: str, task: str, action: str) -> Token[Doing | None]:
    """What is logged in this context says so from now on, until `leave`. One variable, set in 0.1 us: it is done for
    every call."""
    return _doing.set((agent, task, action))


def leave(token: Token[Doing | None]) -> None:
    """Ends what `enter` began."""
    _doing.reset(token)


def about() -> dict[str, str]:
    """What goes on here, as fields: for lines that another thread writes about it."""
    return {name: value for name, value in zip(_NAMES, _doing.get() or (), strict=False) if value}


def get(name: str) -> Any:
    """A structured logger on top of the standard library's of this name: `log.info("worker ready", name="w1")`."""
    return structlog.wrap_logger(
        logging.getLogger(name),
        wrapper_class=structlog.stdlib.BoundLogger,
        processors=[structlog.stdlib.filter_by_level, _with_doing, structlog.processors.format_exc_info, _as_record],
    )


def _with_doing(_: Any, __: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name, value in about().items():
        fields.setdefault(name, value)
    return fields


def _as_record(logger: Any, method: str, fields: MutableMapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What the standard library's logger is called with."""
    text = _text(logger, method, dict(fields))
    return (text,), {"extra": {"accord": dict(fields)}}


_text: Final = structlog.dev.ConsoleRenderer(colors=False, pad_event_to=0)


def show(settings: Settings | None = None) -> None:
    """Shows accord's own log on stderr, a line an entry, and warnings of the libraries it stands on.

    Args:
        settings: `log.format`, `log.level`, and the secrets that no line may hold; None: readable lines, none.
    """
    chosen = "text" if settings is None else settings.log.format
    least = logging.INFO if settings is None else LEVELS[settings.log.level]
    hide = hiding(() if settings is None else settings.secrets())
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines(hide) if chosen == "json" else TextLines(hide))
    logging.getLogger().addHandler(handler)
    logging.getLogger("accord").setLevel(least)
    faust_life_cycle = logging.getLogger("accord.streams.runtime")
    faust_life_cycle.setLevel(max(least, logging.WARNING))


LEVELS: Final[Mapping[str, int]] = {
    "debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR,
}  # fmt: skip


class TextLines(logging.Formatter):
    """`2026-11-22 02:30:00,123 WARNING a step failed  agent=writer task=t1 action=write`."""

    def __init__(self, hide: Callable[[str], str]) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s")
        self._hide = hide

    def format(self, record: logging.LogRecord) -> str:
        return self._hide(super().format(record))


class JsonLines(logging.Formatter):
    """An object a line: timestamp, level, logger, event, and the entry's fields; agent, task, action among them."""

    def __init__(self, hide: Callable[[str], str]) -> None:
        super().__init__()
        self._hide = hide

    def format(self, record: logging.LogRecord) -> str:
        fields = dict(getattr(record, "accord", None) or _foreign(record, self.formatException))
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        head = {"timestamp": at, "level": record.levelname.lower(), "logger": record.name, "event": fields.pop("event")}
        line = head | fields | head  # a field of one of these names does not hide it
        return json.dumps(self._clean(line), ensure_ascii=False)

    def _clean(self, value: Any) -> Any:
        """As JSON has it, without secrets. Here, for in the line they would be escaped."""
        match value:
            case bool() | int() | float() | None:
                return value
            case Mapping():
                return {self._hide(str(name)): self._clean(one) for name, one in value.items()}
            case list() | tuple() | set() | frozenset():
                return [self._clean(one) for one in value]
        return self._hide(str(value))


def _foreign(record: logging.LogRecord, text_of: Callable[[Any], str]) -> dict[str, Any]:
    """The fields of an entry of another library, or of the program itself."""
    fields: dict[str, Any] = {"event": record.getMessage(), **about()}
    if record.exc_info and record.exc_info[0] is not None:
        fields["exception"] = text_of(record.exc_info)
    return fields


def hiding(secrets: Iterable[str]) -> Callable[[str], str]:
    """The function that puts `***` in the place of each of these, the longest first."""
    known = sorted({secret for secret in secrets if len(secret) >= SECRET_CHARS_MIN}, key=len, reverse=True)

    def hide(text: str) -> str:
        for secret in known:
            text = text.replace(secret, HIDDEN)
        return text

    return hide
