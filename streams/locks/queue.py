"""The queue of those who wait: what changes it gives a new queue and leaves the old one as it was.

A decider tries events out on states that it throws away, so a queue cannot be changed in place; and it cannot be copied
for every command either, for ten thousand may wait for one lock. So two queues share all but what differs between them:
a trie over the number of arrival, as in Clojure's vectors (Bagwell 2001; L'orange 2014), and a map from requests to
these numbers. A change makes new the nodes on the way to one leaf; the others stay.

Rules:
- Numbers of arrival grow; who leaves leaves a hole. When the trie is full and half of it are holes, it is written anew,
  numbered from 0: its height follows from how many wait. That costs as much as they are, once in so many arrivals.
- A node knows of all below it how many they are, the earliest deadline, and how many there are of each priority: these
  numbers stand in one whole number, 48 bits a priority, so they are added and moved up by one priority at once. So who
  is first, who is due and how many come before a newcomer is found on one way down.
- Who is overtaken rises: all who came before one arrival. A node that lies wholly before it notes the rise as its
  `lift`, which is handed down when a change passes through. What a node knows has its own lift in it, not those above.
- An empty queue is `EMPTY` and no other: ask by `is`, which costs nothing where nobody waits.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec
from accord.schemas.structs import prepared
from accord.streams.locks.bounds import PRIORITY_MAX
from accord.streams.waits.owners import is_nested
from immutables import Map
from msgspec.structs import replace


class Waiter(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One who waits for a lock, or sleeps until a notice; `deadline_ms` is when it stops doing so."""

    request: str
    agent: str
    owner: str
    lease_ms: int
    since_ms: int
    deadline_ms: int | None
    permits: int | None = None
    priority: int = 0
    """As asked for, and one more for each who overtook it."""
    notified: bool = False


_WAITERS: Final = prepared(list[Waiter])
BITS: Final = 4
"""Of a number of arrival, a level: a node has so many children, to the power of two."""
WIDTH: Final = 1 << BITS
NEVER: Final = 1 << 63
"""The deadline of who has none."""
_SLOT: Final = 48
"""Bits of a priority: 16 for who shares, 16 for who wants to be alone, 16 for who of both holds something else; numbers
up to `WAITERS_MAX` fit."""
_ALONE: Final = 1 << 16
_NESTED: Final = 1 << 32
_COUNT: Final = _ALONE - 1
_PRIORITIES: Final = 2 * PRIORITY_MAX + 1
_ALL_WHO_SHARE: Final = sum(_COUNT << _SLOT * place for place in range(_PRIORITIES))
_ALL_ALONE: Final = _ALL_WHO_SHARE << 16
_ALL_NESTED: Final = _ALL_ALONE << 16
_HOLES: Final = (None,) * WIDTH


class Node(msgspec.Struct, frozen=True, gc=False):
    """A part of the trie: `children` are nodes, or waiters at the lowest level; None is a hole."""

    children: tuple[Any, ...]
    count: int
    deadline_ms: int
    priorities: int
    lift: int = 0


class Queue:
    """Those who wait, in the order in which they came. Iterating gives them with the priority that they have now."""

    __slots__ = ("_end", "_numbers", "_permits", "_shift", "deadline_ms", "root")

    def __init__(self, root: Node, shift: int, end: int, numbers: Map[str, int], permits: int | None) -> None:
        self.root = root
        self.deadline_ms = root.deadline_ms
        """The earliest deadline; `NEVER` without any."""
        self._shift = shift
        self._end = end
        self._numbers = numbers
        self._permits = permits

    @classmethod
    def of(cls, waiters: Iterable[Waiter]) -> Queue:
        """A queue of these, in this order."""
        level: list[Any] = list(waiters)
        if not level:
            return EMPTY
        numbers = Map({waiter.request: number for number, waiter in enumerate(level)})
        permits = next((waiter.permits for waiter in level if waiter.permits is not None), None)
        end, shift = len(level), 0
        level = [_leaf(tuple(level[start : start + WIDTH])) for start in range(0, end, WIDTH)]
        while len(level) > 1:
            shift += BITS
            level = [_inner(tuple(level[start : start + WIDTH])) for start in range(0, len(level), WIDTH)]
        return cls(level[0], shift, end, numbers, permits)

    @classmethod
    def restored(cls, plain: list[Any]) -> Queue:
        """A queue from its dump, which is the list of those who wait. Raises msgspec.ValidationError: it is none."""
        return cls.of(msgspec.convert(plain, _WAITERS)) if plain else EMPTY

    # -- what is asked of it

    def __len__(self) -> int:
        return self.root.count

    def __iter__(self) -> Iterator[Waiter]:
        return _each(self.root, self._shift, 0)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Queue) and len(self) == len(other) and all(map(Waiter.__eq__, self, other))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Queue({list(self)!r})"

    def __contains__(self, request: str) -> bool:
        return request in self._numbers

    def get(self, request: str) -> Waiter | None:
        number = self._numbers.get(request)
        if number is None:
            return None
        node, lift = self.root, 0
        for shift in range(self._shift, 0, -BITS):
            lift += node.lift
            node = node.children[number >> shift & WIDTH - 1]
        return _lifted(node.children[number & WIDTH - 1], lift + node.lift)

    def first(self) -> Waiter:
        """Whose turn it is: the highest priority, and of that who came first."""
        node, lift = self.root, 0
        highest = (node.priorities.bit_length() - 1) // _SLOT
        for _ in range(0, self._shift, BITS):
            lift += node.lift
            below = (highest - lift) * _SLOT
            for child in node.children:
                if child is not None and child.priorities >> below:
                    node = child
                    break
        lift += node.lift
        asked = highest - PRIORITY_MAX - lift
        return _lifted(next(one for one in node.children if one is not None and one.priority == asked), lift)

    def due(self, now_ms: int) -> Iterator[tuple[int, Waiter]]:
        """Those whose deadline is not after `now_ms`, each with it, in order of (deadline, arrival)."""
        ways: list[tuple[int, int, int, int, Any]] = [(self.deadline_ms, 0, self._shift, 0, self.root)]
        while ways and ways[0][0] <= now_ms:
            deadline_ms, number, shift, lift, one = heapq.heappop(ways)
            if shift < 0:
                yield deadline_ms, _lifted(one, lift)
                continue
            lift += one.lift
            for digit, child in enumerate(one.children):
                ends_ms = child.deadline_ms if child else None
                if ends_ms is not None and ends_ms <= now_ms:
                    heapq.heappush(ways, (ends_ms, number | digit << shift, shift - BITS, lift, child))

    @property
    def permits(self) -> int | None:
        """The number that those who would share have agreed on; None if all want to be alone."""
        return self._permits if self.root.priorities & _ALL_WHO_SHARE else None

    @property
    def nested(self) -> bool:
        """Whether somebody waits who holds something else."""
        return bool(self.root.priorities & _ALL_NESTED)

    def place(self, request: str) -> int:
        """The place in the order of arrival of one who waits, from 1."""
        number, node, before = self._numbers[request], self.root, 0
        for shift in range(self._shift, 0, -BITS):
            digit = number >> shift & WIDTH - 1
            before += sum([child.count for child in node.children[:digit] if child is not None])
            node = node.children[digit]
        return before + 1 + sum([one is not None for one in node.children[: number & WIDTH - 1]])

    def count_from(self, priority: int) -> int:
        """How many have this priority or a higher one."""
        left, count = self._from(priority), 0
        while left:
            count += (left & _COUNT) + (left >> 16 & _COUNT)
            left >>= _SLOT
        return count

    def alone_from(self, priority: int) -> bool:
        """Whether one of those wants to be alone."""
        return bool(self._from(priority) & _ALL_ALONE)

    def _from(self, priority: int) -> int:
        return self.root.priorities >> (priority + PRIORITY_MAX) * _SLOT

    # -- what changes it

    def appended(self, waiter: Waiter) -> Queue:
        """With one more, who came last. A request waits once: one that comes again keeps its place."""
        if waiter.request in self._numbers:
            return self
        root, shift, number = self.root, self._shift, self._end
        if number == WIDTH << shift:
            if root.count <= number // 2:
                return Queue.of([*self, waiter])
            root, shift = Node((root,), root.count, root.deadline_ms, root.priorities), shift + BITS
        deadline_ms = NEVER if waiter.deadline_ms is None else waiter.deadline_ms
        root = _appended(root, shift, number, waiter, deadline_ms, _counted(waiter))
        permits = self._permits if waiter.permits is None else waiter.permits
        return Queue(root, shift, number + 1, self._numbers.set(waiter.request, number), permits)

    def without(self, request: str) -> Queue:
        """Without one; the same if it does not wait."""
        number = self._numbers.get(request)
        return self if number is None else self._left(request, number, overtaken=False)

    def served(self, request: str) -> Queue:
        """After one was granted, who waited or came and had not to: who came before it was overtaken, and rises."""
        number = self._numbers.get(request)
        if number is not None:
            return self._left(request, number, overtaken=True)
        if self is EMPTY:
            return self
        return Queue(_raised(self.root, 1), self._shift, self._end, self._numbers, self._permits)

    def _left(self, request: str, number: int, *, overtaken: bool) -> Queue:
        root = _without(self.root, self._shift, number, overtaken=overtaken)
        if root is None:
            return EMPTY
        return Queue(root, self._shift, self._end, self._numbers.delete(request), self._permits)


EMPTY: Final = Queue(Node((), 0, NEVER, 0), 0, 0, Map(), None)


# -- nodes


def _counted(waiter: Waiter) -> int:
    """One waiter, counted at its priority."""
    one = _ALONE if waiter.permits is None else 1
    if is_nested(waiter.owner):
        one += _NESTED
    return one << (waiter.priority + PRIORITY_MAX) * _SLOT


def _leaf(waiters: tuple[Any, ...]) -> Node:
    there = [waiter for waiter in waiters if waiter is not None]
    return Node(waiters, len(there), _earliest(waiters), sum([_counted(waiter) for waiter in there]))


def _inner(nodes: tuple[Any, ...]) -> Node:
    there = [node for node in nodes if node is not None]
    return Node(nodes, sum([node.count for node in there]), _earliest(nodes), sum([node.priorities for node in there]))


def _earliest(children: tuple[Any, ...]) -> int:
    deadlines_ms = [child.deadline_ms for child in children if child]
    if None in deadlines_ms:
        deadlines_ms = [deadline_ms for deadline_ms in deadlines_ms if deadline_ms is not None]
    return min(deadlines_ms, default=NEVER)


def _appended(node: Node | None, shift: int, number: int, waiter: Waiter, deadline_ms: int, priorities: int) -> Node:
    """A node with one more at its end; what would stand before it is a hole."""
    digit = number >> shift & WIDTH - 1
    if node is None:
        child: Any = _appended(None, shift - BITS, number, waiter, deadline_ms, priorities) if shift else waiter
        return Node((*_HOLES[:digit], child), 1, deadline_ms, priorities)
    if node.lift:
        node = _handed_down(node)
    children = node.children
    if not shift:
        child = waiter
    else:
        last = children[digit] if digit < len(children) else None
        child = _appended(last, shift - BITS, number, waiter, deadline_ms, priorities)
    children = (*children[:digit], *_HOLES[len(children) : digit], child)
    return Node(children, node.count + 1, min(node.deadline_ms, deadline_ms), node.priorities + priorities)


def _without(node: Node, shift: int, number: int, *, overtaken: bool) -> Node | None:
    """A node without one; None when nobody is left. `overtaken`: those before it rise."""
    if node.count == 1:
        return None
    if node.lift:
        node = _handed_down(node)
    digit = number >> shift & WIDTH - 1
    children = node.children
    child = children[digit]
    left = _without(child, shift - BITS, number, overtaken=overtaken) if shift else None
    before, after = children[:digit], children[digit + 1 :]
    if overtaken and any(before):
        before = tuple([one and _raised(one, 1) for one in before])
        risen = (*before, left, *after)
        return _inner(risen) if shift else _leaf(risen)
    if shift:
        priorities = node.priorities - child.priorities + (left.priorities if left else 0)
    else:
        priorities = node.priorities - _counted(child)
    children = (*before, left, *after)
    deadline_ms = node.deadline_ms
    if child.deadline_ms == deadline_ms != NEVER and (left is None or left.deadline_ms != deadline_ms):
        deadline_ms = _earliest(children)
    return Node(children, node.count - 1, deadline_ms, priorities)


def _raised(one: Any, lift: int) -> Any:
    """A node or a waiter after so many rises."""
    if type(one) is Waiter:
        return replace(one, priority=one.priority + lift)
    return Node(one.children, one.count, one.deadline_ms, one.priorities << lift * _SLOT, one.lift + lift)


def _handed_down(node: Node) -> Node:
    """The same, its lift handed down to its children."""
    children = tuple([child and _raised(child, node.lift) for child in node.children])
    return Node(children, node.count, node.deadline_ms, node.priorities)


def _each(node: Node, shift: int, lift: int) -> Iterator[Waiter]:
    lift += node.lift
    for child in node.children:
        if child is None:
            continue
        if shift:
            yield from _each(child, shift - BITS, lift)
        else:
            yield _lifted(child, lift)


def _lifted(waiter: Waiter, lift: int) -> Waiter:
    return replace(waiter, priority=waiter.priority + lift) if lift else waiter
