"""Structs that several threads read into.

msgspec looks at the fields of a struct's class once something is read into it. A second thread that reads into the same
class meanwhile takes what is found so far for all of it, and the process ends with a segmentation fault (seen with
msgspec 0.22 and ten connections in a process, each on a thread of its own). So whoever reads into a class has it looked
at first, here.
"""

from __future__ import annotations

import threading
from typing import Final, TypeVar

import msgspec

T = TypeVar("T")

_lock: Final = threading.Lock()
"""One for all: classes have fields of the same classes."""


def prepared(kind: type[T]) -> type[T]:
    """Has msgspec look at a class, or at a list or tuple of such, and at whatever its fields are.

    Returns:
        The same class, for `msgspec.convert` and for what takes a `type=`.
    """
    with _lock:
        msgspec.msgpack.Decoder(kind)
    return kind
