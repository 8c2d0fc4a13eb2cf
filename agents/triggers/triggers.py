"""Triggers by programs: declaring a pattern, and `on`, which calls a function when it occurs.

Rules that act here:
- A trigger is on the log, not in the process: it goes on when the program ends, and its matches wait for the handler.
- A declaration returns once all signals that the pattern is about are passed on; what was emitted before is not seen.
- A match is told by a signal, so a function of `on` is called as one of `when` is: at least once, one process of a name
  at a time, again `retries` times when it raises. `Event.id` comes from the match: it is the same each time, and so is
  what is made with it, `hub.submit(graph, key=event.id)`.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from accord.agents import context
from accord.agents.connection.connection import Answer
from accord.agents.signals import signals
from accord.agents.signals.handlers import F, in_thread, name_of, when, when_on
from accord.schemas.messages import Command
from accord.schemas.messages.triggers import (
    DeclareTrigger,
    DropTrigger,
    ReadTrigger,
    TriggerDeclared,
    TriggerDropped,
    TriggerKnown,
    TriggerRead,
    TriggerUnknown,
)
from accord.streams.triggers.decider import ACTIVE, FAILED, matched
from accord.streams.triggers.machine import problem_of_definition
from accord.streams.triggers.pattern import Node, Rule, encode, problem_of_name

from accord.errors import BadInput, NotFound, Overloaded, Unavailable

if TYPE_CHECKING:
    from accord.agents.hub import Hub

DOMAIN: Final = "triggers"
ASK_S: Final = 0.02
ASK_S_MAX: Final = 0.5
"""Whether a trigger is active is asked after so long, and then each time after twice that, up to the most."""


def on(rule: Rule | Node, *, name: str | None = None, retries: int = 3) -> Callable[[F], F]:
    """Has the decorated function called whenever a pattern of events occurs, at least once each time.

        @on(sequence("ordered", absence("paid")).by("order_id").within_ms(60_000))
        def remind(event_data):
            print(event_data["key"], "has not paid")

    The function takes `event_data` (`trigger`, `key`, `causes`: the positions of the events that make it up,
    `first_ms`, `at_ms`) and, if it declares a second parameter, the `Event`, whose `id` is the same each time that this
    match is delivered. It may be plain or async, and can still be called directly. The trigger is declared when a hub
    opens, or at once on an open one, and goes on when the program ends: see `Accord.drop_trigger`.

    Args:
        rule: a pattern of `accord.triggers`, with `.by(...)` and `.within_ms(...)`.
        name: of the trigger and of the handler: processes of one name share the matches. Without it, the function's
            `__qualname__`.
        retries: how often it is called again when it raises, 0 to 20.

    Raises:
        BadInput: an argument or the pattern cannot be right, as a window of 0 ms, or the name is taken.
        And, on an open hub, what `Accord.declare_trigger` raises.
    """
    return _declare(None, rule, name, retries)


def on_hub(hub: Hub, rule: Rule | Node, *, name: str | None = None, retries: int = 3) -> Callable[[F], F]:
    """`on` for one hub alone."""
    return _declare(hub, rule, name, retries)


def _declare(hub: Hub | None, rule: Rule | Node, name: str | None, retries: int) -> Callable[[F], F]:
    text = definition_of(rule)
    if name is not None:
        check_name(name)

    def declare(function: F) -> F:
        own = name or name_of(function)
        check_name(own)
        handled = when if hub is None else lambda *terms, **more: when_on(hub, *terms, **more)
        found = handled(matched(own), name=own, retries=retries)(function)
        known = _process if hub is None else _of_hub.setdefault(hub, {})
        known[own] = text
        running = hub or context.find()
        if running is not None and running.is_open:
            make_active(running, own, text)
        return found

    return declare


_process: Final[dict[str, str]] = {}
_of_hub: Final[WeakKeyDictionary[Hub, dict[str, str]]] = WeakKeyDictionary()


@context.at_open
def _open(hub: Hub) -> Future[None] | None:
    """Declares the triggers of a hub that opens, after its handlers have begun."""
    known = _process | _of_hub.get(hub, {})
    if not known:
        return None
    return in_thread("accord-triggers-open", lambda: _make_all_active(hub, known))


def _make_all_active(hub: Hub, known: dict[str, str]) -> None:
    for name, text in known.items():
        make_active(hub, name, text)


def definition_of(rule: Rule | Node) -> str:
    """A rule as its definition's text.

    Raises:
        BadInput: it is no rule, or cannot be one.
    """
    if isinstance(rule, Node):
        rule = Rule(rule)
    if not isinstance(rule, Rule):
        raise BadInput(f"{rule!r} is no pattern.", remedy='For example sequence("a", "b").within_ms(5_000).')
    text = encode(rule.definition)
    problem = problem_of_definition(text)
    if problem is not None:
        raise BadInput(f"{problem}.")
    return text


def make_active(hub: Hub, name: str, text: str) -> int:
    """Declares a trigger and waits until it is active; blocks. Returns its version; raises as `declare_trigger`."""
    asked: Command = DeclareTrigger(hub.agent, name, text)
    runtime = hub.connection.runtime
    until_s = runtime.monotonic() + hub.settings.client.worker_wait_ms / 1_000
    pause_s = ASK_S
    while True:
        match _decided(hub, name, asked).events[-1]:
            case TriggerKnown(version=version, status=status) | TriggerRead(version=version, status=status) if (
                status == ACTIVE
            ):
                return version
            case TriggerRead(status=status, problem=problem) if status == FAILED:
                raise Overloaded(f"trigger {name} finds nothing: {problem}.", remedy="Drop one of them.", key=name)
            case TriggerDeclared() | TriggerKnown() | TriggerRead():
                pass
            case other:
                raise AssertionError(f"{type(other).__name__} is no answer to {type(asked).__name__}")
        if runtime.monotonic() > until_s:
            raise Unavailable(
                f"trigger {name} is declared, but not active after {hub.settings.client.worker_wait_ms} ms.",
                remedy="Some worker has to serve the domains signals and triggers.",
                key=name,
            )
        asked = ReadTrigger(hub.agent)
        runtime.event().wait(pause_s)
        pause_s = min(2 * pause_s, ASK_S_MAX)


def end(hub: Hub, name: str) -> bool:
    """`Accord.drop_trigger`; blocks."""
    check_name(name)
    answer = _decided(hub, name, DropTrigger(hub.agent))
    if isinstance(answer.events[-1], TriggerUnknown):
        raise NotFound(f"there is no trigger {name}.", remedy="See: accord triggers list.", key=name)
    for known in (_process, _of_hub.get(hub, {})):
        known.pop(name, None)
    return isinstance(answer.events[-1], TriggerDropped)


def _decided(hub: Hub, name: str, command: Command) -> Answer:
    return hub.connection.submit(DOMAIN, name, command, task=signals.current_task()).decided.result()


def check_name(name: object) -> None:
    """Raises BadInput unless it can be the name of a trigger."""
    problem = problem_of_name(name) if isinstance(name, str) else f"name {name!r} is no text"
    if problem is not None:
        raise BadInput(f"{problem}: {str(name)[:60]!r}.")
