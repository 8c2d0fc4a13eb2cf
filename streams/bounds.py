"""Checks of a domain's commands, field by field: texts that are too long, numbers out of range.

A careless sender is told what is wrong; accord's own client refuses these earlier. Which fields a command has is worked
out once, for it is asked of every command that is decided.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from accord.schemas.messages import Command
from accord.schemas.messages.log import Tick


class Bounds:
    """The bounds of a domain.

    Args:
        domain: its name.
        commands: its commands; `Tick` is every domain's.
        texts: names of fields that a sender fills with text; None in such a field is no text.
        text_bytes_max: of each, in UTF-8.
        numbers: by name of field, least, most and what they mean; None in such a field is no number.
    """

    def __init__(
        self,
        domain: str,
        commands: Iterable[type[Command]],
        texts: Sequence[str],
        text_bytes_max: int,
        numbers: Mapping[str, tuple[int, int, str]],
    ) -> None:
        self._domain = domain
        self._text_bytes_max = text_bytes_max
        self._numbers = numbers
        kinds: tuple[type[Command], ...] = (*commands, Tick)
        self._fields = {
            kind: (
                tuple([name for name in texts if name in kind.__struct_fields__]),
                tuple([name for name in numbers if name in kind.__struct_fields__]),
            )
            for kind in kinds
        }

    def of_texts(self, command: Command) -> str | None:
        """What is wrong with the texts of a command. Raises TypeError for a command of another domain."""
        for name in self._of(command)[0]:
            text = getattr(command, name)
            if text is not None and len(text.encode()) > self._text_bytes_max:
                return f"{name} has more than {self._text_bytes_max} bytes"
        return None

    def of_numbers(self, command: Command) -> str | None:
        """What is wrong with the numbers of a command. Raises TypeError for a command of another domain."""
        for name in self._of(command)[1]:
            number = getattr(command, name)
            least, most, meaning = self._numbers[name]
            if number is not None and not least <= number <= most:
                return f"{name}={number}: {meaning}"
        return None

    def _of(self, command: Command) -> tuple[tuple[str, ...], tuple[str, ...]]:
        try:
            return self._fields[type(command)]
        except KeyError:
            raise TypeError(f"the {self._domain} domain has no command {type(command).__name__}") from None
