"""What a fork changes: fields of commands, commands that are removed or added, the rules of a domain, a model's answer.

    parse_change("proposals.commands/0@3 threshold_numerator=2")
    parse_change("locks/room_12 AcquireLock lease_ms=60000")
    parse_change("remove locks/0@4")

A position names a command, or the decision on it: both mean the command. A change of what an event says is a change of
the command that brought it: what is decided follows from commands alone.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final

import msgspec
from accord.schemas.messages import Command, log
from accord.schemas.position import Position
from accord.streams.chain import Decision
from accord.streams.domains import DOMAINS
from accord.streams.llm.bounds import ANSWERED

from accord.errors import BadInput

_POSITION: Final = re.compile(r"[a-z][a-z_]*(\.commands|\.events)?/[0-9]{1,9}@[0-9]{1,18}")
_FIELD: Final = re.compile(r"([a-z_]+)((?:\.[a-z_]+|\[[0-9]{1,6}\])*)=(.*)", re.DOTALL)
_STEP: Final = re.compile(r"\.([a-z_]+)|\[([0-9]+)\]")
FORMS: Final = (
    "Write POSITION FIELD=VALUE, DOMAIN[/KEY] COMMAND FIELD=VALUE, remove POSITION, insert JSON, answer REQUEST=TEXT "
    "or decider DOMAIN=VERSION, decider DOMAIN=MODULE:NAME."
)


class SetFields(msgspec.Struct, frozen=True):
    """Other values of fields: of the command at a position, or of all of a type from the cut on.

    `fields` are paths, as `threshold_numerator` or `voters[1].weight`, with the values in place of those recorded.
    Without a `position` it is all commands of the type `command` in `domain`, of one `key` if that is given.
    """

    fields: dict[str, Any]
    position: Position | None = None
    domain: str = ""
    command: str = ""
    key: str | None = None

    def concerns(self, where: tuple[str, int], decision: Decision, kind: str) -> bool:
        """Whether it changes the command of a decision; `kind` is the command's type."""
        if self.position is not None:
            return is_at(self.position, where, decision)
        return (
            self.domain == where[0] and self.command == kind and (self.key is None or self.key.encode() == decision.key)
        )

    def __str__(self) -> str:
        what = self.position or f"{self.domain}{f'/{self.key}' if self.key else ''} {self.command}"
        return f"{what} " + " ".join(f"{name}={_short(value)}" for name, value in self.fields.items())


class Remove(msgspec.Struct, frozen=True):
    """A command that is not there; nor is what it brought."""

    position: Position

    def concerns(self, where: tuple[str, int], decision: Decision, _: str) -> bool:
        return is_at(self.position, where, decision)

    def __str__(self) -> str:
        return f"remove {self.position}"


class Insert(msgspec.Struct, frozen=True):
    """A command more: right after what is at a position of any partition.

    `command` is its type, `fields` are all that have no default; `agent` sends it.
    """

    domain: str
    key: str
    command: str
    fields: dict[str, Any]
    after: Position
    agent: str = ""

    def concerns(self, where: tuple[str, int], decision: Decision, _: str) -> bool:
        return is_at(self.after, where, decision)

    def made(self) -> Command:
        """The command. Raises BadInput: there is no such command, or a field is wrong."""
        kind = _command_type(self.domain, self.command)
        fields = self.fields
        if self.agent and "agent" in kind.__struct_fields__:
            fields = {"agent": self.agent} | fields
        return _converted(fields, kind)

    def __str__(self) -> str:
        return f"insert {self.domain}/{self.key} {self.command} after {self.after}"


class Rules(msgspec.Struct, frozen=True):
    """Other rules for a domain, from the cut on: a decider as in `accord.streams.DOMAIN.decider`.

    With a `version` it is the domain's own decider of that number, and the fork's decisions carry that; else they carry
    the number that was in force. A switch of the rules that the record has after the cut is fed as all commands are.
    """

    domain: str
    decider: Any
    name: str = ""
    version: int | None = None

    def __str__(self) -> str:
        return f"decider {self.domain}={self.name or type(self.decider).__name__}"


class Reply(msgspec.Struct, frozen=True):
    """Another answer of a model to a request, by its hash, wherever it was recorded from the cut on."""

    request: str
    text: str

    @property
    def as_fields(self) -> SetFields:
        fields: dict[str, Any] = {"outcome": ANSWERED, "text": self.text, "error_type": "", "error": ""}
        return SetFields(fields, domain="llm", command="RecordCall", key=self.request)

    def concerns(self, where: tuple[str, int], decision: Decision, kind: str) -> bool:
        return self.as_fields.concerns(where, decision, kind)

    def __str__(self) -> str:
        return f"answer {self.request}={_short(self.text)}"


Placed = SetFields | Remove | Insert | Reply
"""Changes of commands: each concerns some decision."""
Change = Placed | Rules


def is_at(position: Position, where: tuple[str, int], decision: Decision) -> bool:
    """Whether a position names a decision or its command."""
    offset = decision.cause if position.commands else decision.offset
    return (position.domain, position.partition, position.offset) == (*where, offset)


def parse_change(text: str) -> Change:
    """Reads a change as a person writes it; `FORMS` has the forms. Values are JSON, or text where they are none.

    Raises:
        BadInput: it has none of the forms, or names what there is not.
    """
    verb, _, rest = text.strip().partition(" ")
    match verb:
        case "remove":
            return Remove(Position.parse(rest))
        case "insert":
            return _insert(rest)
        case "answer":
            request, equals, answer = rest.strip().partition("=")
            if not equals:
                raise _unreadable(text)
            return Reply(request, answer)
        case "decider":
            domain, equals, name = rest.strip().partition("=")
            if not equals:
                raise _unreadable(text)
            if name.isascii() and name.isdigit():
                return version_of(domain, int(name))
            return Rules(_domain(domain), load(name), name)
    return _set(text)


def version_of(domain: str, version: int) -> Rules:
    """Another version of a domain's rules, as this release has them.

    Raises:
        BadInput: it has no such domain or version.
    """
    versions = DOMAINS[_domain(domain)].versions
    if version not in versions:
        known = ", ".join(map(str, sorted(versions)))
        raise BadInput(f"There is no version {version} of the {domain} rules; there are: {known}.")
    return Rules(domain, versions[version], str(version), version)


def load(name: str) -> Any:
    """The object that `MODULE:NAME` names; a class is called without arguments.

    Raises:
        BadInput: there is none.
    """
    module, colon, attribute = name.partition(":")
    try:
        found: Any = getattr(import_module(module), attribute) if colon else None
    except (ImportError, AttributeError, ValueError) as error:
        raise BadInput(f"{name}: {error}.", remedy="Write MODULE:NAME of what can be imported here.") from error
    if found is None:
        raise BadInput(f"{name!r} names nothing to import.", remedy="Write MODULE:NAME.")
    return found() if isinstance(found, type) else found


def checked(change: Change) -> Change:
    """The change, if it can be one.

    Raises:
        BadInput: it names a domain, a command or a field that there is not, or what is no decider.
    """
    match change:
        case SetFields(position=None):
            kind = _command_type(change.domain, change.command)
            for path in change.fields:
                name = re.split(r"[.\[]", path)[0]
                if name not in kind.__struct_fields__:
                    raise _no_field(kind, name)
        case Insert():
            change.made()
        case Rules():
            _domain(change.domain)
            for method in ("decide", "evolve", "deadline_ms"):
                if not callable(getattr(change.decider, method, None)):
                    raise BadInput(f"{change.name or change.decider!r} is no decider: it has no {method}().")
    return change


def applied(changes: Sequence[SetFields], command: Command) -> Command:
    """A command with the fields that changes set.

    Raises:
        BadInput: it has no such field, or the value is none for it.
    """
    kind = type(command)
    plain = msgspec.to_builtins(command, builtin_types=(bytes,))
    for change in changes:
        for path, value in change.fields.items():
            _put(kind, plain, path, value)
    return _converted(plain, kind)


def _put(kind: type[Command], plain: dict[str, Any], path: str, value: Any) -> None:
    match = _FIELD.fullmatch(f"{path}=")
    if match is None:
        raise BadInput(f"{path!r} is no path of a field.", remedy="Write a name, or voters[1].weight.")
    steps: list[Any] = [match[1], *(name or int(number) for name, number in _STEP.findall(match[2]))]
    place: Any = plain
    try:
        for step in steps[:-1]:
            if isinstance(place[step], tuple):
                place[step] = list(place[step])
            place = place[step]
        is_text = isinstance(place[steps[-1]], str)  # it must be there: no field is added
        plain_text = value is None or isinstance(value, str)
        place[steps[-1]] = msgspec.json.encode(value).decode() if is_text and not plain_text else value
    except (KeyError, IndexError, TypeError) as error:
        raise _no_field(kind, path) from error


def _set(text: str) -> SetFields:
    try:
        subject, *words = shlex.split(text)
    except ValueError as error:
        raise _unreadable(text) from error
    if _POSITION.fullmatch(subject):
        return SetFields(_fields(text, words), Position.parse(subject))
    domain, slash, key = subject.partition("/")
    if domain not in DOMAINS or not words:
        raise _unreadable(text)
    return SetFields(_fields(text, words[1:]), None, domain, words[0], key if slash else None)


def _fields(text: str, words: Sequence[str]) -> dict[str, Any]:
    fields = {}
    for word in words:
        match = _FIELD.fullmatch(word)
        if match is None:
            raise _unreadable(text)
        fields[match[1] + match[2]] = _value(match[3])
    if not fields:
        raise _unreadable(text)
    return fields


def _value(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


class _Told(msgspec.Struct, forbid_unknown_fields=True):
    domain: str
    key: str
    command: str
    after: str
    fields: dict[str, Any] = {}
    agent: str = ""


def _insert(text: str) -> Insert:
    try:
        told = msgspec.json.decode(text, type=_Told)
    except msgspec.DecodeError as error:
        remedy = 'Write {"domain": ..., "key": ..., "command": ..., "fields": {...}, "after": POSITION, "agent": ...}.'
        raise BadInput(f"insert: {error}.", remedy=remedy) from error
    return Insert(told.domain, told.key, told.command, told.fields, Position.parse(told.after), told.agent)


def _domain(name: str) -> str:
    if name not in DOMAINS:
        raise BadInput(f"There is no domain {name!r}; there are {', '.join(DOMAINS)}.")
    return name


def _command_type(domain: str, name: str) -> type[Command]:
    messages: Any = import_module(f"accord.schemas.messages.{_domain(domain)}")
    types: dict[str, type[Command]] = {kind.__name__: kind for kind in (*log.COMMANDS, *messages.COMMANDS)}
    if name not in types:
        raise BadInput(f"{domain} has no command {name!r}; it has {', '.join(types)}.")
    return types[name]


def _converted(fields: dict[str, Any], kind: type[Command]) -> Command:
    unknown = set(fields) - set(kind.__struct_fields__)
    if unknown:
        raise _no_field(kind, min(unknown))
    try:
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError as error:
        raise BadInput(f"{kind.__name__}: {error}.") from error


def _no_field(kind: type[Command], path: str) -> BadInput:
    return BadInput(f"{kind.__name__} has no {path!r}; it has {', '.join(kind.__struct_fields__)}.")


def _unreadable(text: str) -> BadInput:
    return BadInput(f"{text!r} is no change.", remedy=FORMS)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= 60 else f"{text[:60]}..."
