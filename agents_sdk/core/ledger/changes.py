"""The changes of a fold, so that they can be taken back. A fold changes the book through ``Changes`` alone. Pure.

A command is folded as a whole or not at all. To copy the book before each command would cost more than deciding it; to
note each change costs a tenth of a microsecond. Law: after ``take_back`` everything is as it was, the order of mappings
included where it decides anything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

K = TypeVar("K")
V = TypeVar("V")
_ABSENT: Final[Any] = object()


class Changes:
    """The changes of one fold, newest last."""

    __slots__ = ("_first", "_noted")

    def __init__(self) -> None:
        self._noted: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []
        self._first: set[tuple[int, str]] = set()

    def assign(self, struct: Any, field: str, value: Any) -> None:
        """``struct.field = value``."""
        self._noted.append((setattr, (struct, field, getattr(struct, field))))
        setattr(struct, field, value)

    def grow(self, struct: Any, field: str, value: Any) -> None:
        """``struct.field = value``, for a value that grows fact by fact: only what it was at first is kept."""
        if (id(struct), field) in self._first:
            setattr(struct, field, value)
        else:
            self._first.add((id(struct), field))
            self.assign(struct, field, value)

    def put(self, mapping: dict[K, V], key: K, value: V) -> None:
        """``mapping[key] = value``."""
        old = mapping.get(key, _ABSENT)
        self._noted.append((dict.pop, (mapping, key)) if old is _ABSENT else (dict.__setitem__, (mapping, key, old)))
        mapping[key] = value

    def drop(self, mapping: dict[K, V], key: K) -> V | None:
        """``mapping.pop(key, None)``, where the order of the mapping decides nothing."""
        old: Any = mapping.pop(key, _ABSENT)
        if old is _ABSENT:
            return None
        self._noted.append((dict.__setitem__, (mapping, key, old)))
        return old  # type: ignore[no-any-return]  # what the mapping had

    def take(self, mapping: dict[K, V], key: K) -> V:
        """``mapping.pop(key)``, where the order of the mapping decides something. Raises KeyError."""
        last = next(reversed(mapping), _ABSENT)
        order = None if last == key else list(mapping)
        old = mapping.pop(key)
        self._noted.append(
            (dict.__setitem__, (mapping, key, old)) if order is None else (_put_back, (mapping, key, old, order))
        )
        return old

    def take_oldest(self, mapping: dict[K, V]) -> V:
        """Removes what the mapping has had longest, and returns it."""
        key = next(iter(mapping))
        old = mapping.pop(key)
        self._noted.append((_put_first, (mapping, key, old)))
        return old

    def add(self, members: set[K], member: K) -> None:
        """``members.add(member)``."""
        if member not in members:
            self._noted.append((set.discard, (members, member)))
            members.add(member)

    def append(self, items: list[V], item: V) -> None:
        """``items.append(item)``."""
        self._noted.append((list.pop, (items,)))
        items.append(item)

    def append_to(self, mapping: dict[K, list[V]], key: K, item: V) -> None:
        """``mapping.setdefault(key, []).append(item)``."""
        items = mapping.get(key)
        if items is None:
            self.put(mapping, key, [item])
        else:
            self.append(items, item)

    def insert(self, items: list[V], index: int, item: V) -> None:
        """``items.insert(index, item)``."""
        self._noted.append((list.pop, (items, index)))
        items.insert(index, item)

    def cut(self, items: list[V], index: int) -> V:
        """``items.pop(index)``, the index counted from the front."""
        item = items.pop(index)
        self._noted.append((list.insert, (items, index, item)))
        return item

    def cut_oldest(self, items: list[V], count: int) -> list[V]:
        """Removes the first ``count`` items, and returns them."""
        cut = items[:count]
        self._noted.append((_put_in_front, (items, cut)))
        del items[:count]
        return cut

    def take_back(self) -> None:
        """Undoes all changes, the newest first."""
        self._first.clear()
        while self._noted:
            undo, arguments = self._noted.pop()
            undo(*arguments)


def _put_in_front(items: list[Any], cut: list[Any]) -> None:
    items[:0] = cut


def _put_back(mapping: dict[Any, Any], key: Any, value: Any, order: list[Any]) -> None:
    mapping[key] = value
    known = {name: mapping[name] for name in order}
    mapping.clear()
    mapping.update(known)


def _put_first(mapping: dict[Any, Any], key: Any, value: Any) -> None:
    known = dict(mapping)
    mapping.clear()
    mapping[key] = value
    mapping.update(known)
