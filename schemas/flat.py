"""Avro records of nothing but texts and whole numbers, some of them nullable, read and written without fastavro.

A field that may be a text or a record is one of these while it is a text.

Most messages are of this kind, and small: being called alone takes fastavro longer than reading or writing one takes
here. What is in any way out of the ordinary is left to it, to take or to refuse: a text that is not UTF-8, a number of
ten bytes, bytes that end too soon, a value that is not of its field's type.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

_NUMBER: Final = 0
_TEXT: Final = 1
_NULLABLE: Final = 2
"""Added to the kind of what may be null."""
_OR_RECORD: Final = 4
"""Added to the kind of what may be a record instead."""

_KINDS: Final = {"int": _NUMBER, "long": _NUMBER, "string": _TEXT}
_BRANCH_OF_VALUE: Final = 2
"""Of a union of null and something else; 1 as Avro writes it."""
_LAST_BYTE_MAX: Final = 127
_MORE: Final = 128
"""Set in every byte of a number but the last; the rest of each is seven bits, the lowest first."""
_SHIFT_MAX: Final = 56
"""Of a ninth byte."""
_NUMBER_MAX: Final = (1 << _SHIFT_MAX + 7) - 1
"""What nine bytes hold, its sign included."""


def kinds_of(schema: Any) -> bytes | None:
    """The kinds of a record's fields, one byte each; None if this module does not know them all."""
    kinds = [_kind(field["type"]) for field in schema["fields"]]
    return None if None in kinds else bytes(kind for kind in kinds if kind is not None)


def _kind(avro: Any) -> int | None:
    match avro:
        case str():
            return _KINDS.get(avro)
        case ["null", str(avro)] if avro in _KINDS:
            return _KINDS[avro] + _NULLABLE
        case ["string", {"type": "record"}]:
            return _TEXT + _OR_RECORD
    return None


def read_flat(data: bytes, at: int, kinds: bytes) -> tuple[list[Any], int] | None:
    """A record's values in the order of its fields, and where it ends; None for what fastavro must see.

    Args:
        at: where the record begins.
        kinds: of its fields, by `kinds_of`.
    """
    values: list[Any] = []
    try:
        for kind in kinds:
            number = data[at]
            at += 1
            if kind >= _NULLABLE:  # what was read is the branch of the union
                if number == 0 and kind < _OR_RECORD:
                    values.append(None)
                    continue
                if number != (0 if kind >= _OR_RECORD else _BRANCH_OF_VALUE):
                    return None
                number = data[at]
                at += 1
            if number > _LAST_BYTE_MAX:
                number -= _MORE
                shift = 7
                while (byte := data[at]) > _LAST_BYTE_MAX:
                    number += byte - _MORE << shift
                    shift += 7
                    if shift > _SHIFT_MAX:
                        return None
                    at += 1
                number += byte << shift
                at += 1
            if not kind & _TEXT:
                values.append(number >> 1 ^ -(number & 1))
            elif number & 1:
                return None  # a length below 0
            else:
                begin = at
                at += number >> 1
                values.append(data[begin:at].decode())
    except (IndexError, UnicodeDecodeError):
        return None
    return (values, at) if at <= len(data) else None


def write_flat(data: bytearray, values: Iterable[Any], kinds: bytes) -> bool:
    """Appends a record's values, in the order of its fields; False, and nothing appended, for what fastavro must see.

    Args:
        kinds: of its fields, by `kinds_of`.
    """
    begin, append = len(data), data.append
    for value, kind in zip(values, kinds, strict=True):
        if kind >= _OR_RECORD:
            append(0)
        elif kind >= _NULLABLE:
            if value is None:
                append(0)
                continue
            append(_BRANCH_OF_VALUE)
        if kind & _TEXT:
            if type(value) is not str:
                break
            text = value.encode()
            number = len(text) << 1
        else:
            if type(value) is not int:
                break
            text = b""
            number = value << 1 if value >= 0 else ~(value << 1)
            if number > _NUMBER_MAX:
                break
        while number > _LAST_BYTE_MAX:
            append(number & _LAST_BYTE_MAX | _MORE)
            number >>= 7
        append(number)
        data += text
    else:
        return True
    del data[begin:]
    return False
