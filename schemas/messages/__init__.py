"""The messages as frozen Python objects, one module a domain; each class mirrors its file under `avro/`.

Every domain's module names its `COMMANDS` and `EVENTS`. The codec refuses to load when a class and its file
differ in a field.
"""

import msgspec


class Message(msgspec.Struct, frozen=True):
    """A command or an event."""


class Command(Message, frozen=True):
    """What somebody wants: imperative."""


class Event(Message, frozen=True):
    """What was decided: past tense."""
