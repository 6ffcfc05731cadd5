"""The decisions of this node in memory, encoded: a mesh may have tens of thousands of devices.

A record with its key costs 0.3 KiB, a `Decision` with its texts 1 KiB. Texts that many records have in common, such as names of
nodes and interfaces, are kept once.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

import msgspec

from agent.delivery.decisions import Decision

MOST_SHAPES = 64
"""Sets of names whose values are kept without the names."""
MOST_TEXTS = 255
"""Texts of one name that are kept once."""
LONGEST_TEXT = 64
_TIMES = struct.Struct("<dd")
_pack = msgspec.msgpack.encode
_unpack = msgspec.msgpack.decode
_Key = tuple[str, str]


class _Texts:
    """The texts that the values of one name have in common; a name with many different texts gets no more."""

    def __init__(self) -> None:
        self._all: list[str] = []
        self._numbers: dict[str, int] = {}

    def number(self, value: Any) -> int | None:
        """The number of this value; None where it is to be kept in the record."""
        if not isinstance(value, str) or len(value) > LONGEST_TEXT:
            return None
        if value not in self._numbers and len(self._all) < MOST_TEXTS:
            self._numbers[value] = len(self._all)
            self._all.append(value)
        return self._numbers.get(value)

    def text(self, number: int) -> str:
        """The text of this number."""
        return self._all[number]


class Records(MutableMapping[_Key, Decision]):
    """Decisions by scope and key; each look-up makes an equal, new `Decision`."""

    def __init__(self) -> None:
        self._scopes: dict[str, dict[str, bytes]] = {}
        self._shapes: list[tuple[tuple[str, ...], list[_Texts]]] = []
        self._shape_of: dict[tuple[str, ...], int] = {}

    def __len__(self) -> int:
        return sum(map(len, self._scopes.values()))

    def __iter__(self) -> Iterator[_Key]:
        for scope, keys in self._scopes.items():
            for key in keys:
                yield scope, key

    def __contains__(self, at: object) -> bool:
        return isinstance(at, tuple) and at[1] in self._scopes.get(at[0], ())

    def __getitem__(self, at: _Key) -> Decision:
        scope, key = at
        raw = self._scopes[scope][key]
        began, until = _TIMES.unpack_from(raw)
        first, present, *value = _unpack(memoryview(raw)[_TIMES.size :])
        return Decision(scope, key, first, began, until, present, self._value(value))

    def __setitem__(self, at: _Key, record: Decision) -> None:
        scope, key = at
        rest = _pack([record.first, record.present, *self._parts(record.value)])
        self._scopes.setdefault(scope, {})[key] = _TIMES.pack(record.at, record.until) + rest

    def __delitem__(self, at: _Key) -> None:
        scope, key = at
        del self._scopes[scope][key]
        if not self._scopes[scope]:
            del self._scopes[scope]

    def ends(self) -> Iterator[tuple[_Key, float]]:
        """Each key, and when its record ends."""
        for scope, keys in self._scopes.items():
            for key, raw in keys.items():
                yield (scope, key), _TIMES.unpack_from(raw)[1]

    def _parts(self, value: Mapping[str, Any]) -> list[Any]:
        """The number of its names, which of its values are numbers of texts (as bits), and the values."""
        if not value:
            return []
        names = tuple(value)
        if names not in self._shape_of:
            if len(self._shapes) == MOST_SHAPES:
                return [dict(value)]
            self._shape_of[names] = len(self._shapes)
            self._shapes.append((names, [_Texts() for _ in names]))
        shape = self._shape_of[names]
        numbers = [texts.number(v) for texts, v in zip(self._shapes[shape][1], value.values(), strict=True)]
        bits = sum(1 << i for i, n in enumerate(numbers) if n is not None)
        return [shape, bits, *(v if n is None else n for n, v in zip(numbers, value.values(), strict=True))]

    def _value(self, parts: list[Any]) -> dict[str, Any]:
        if len(parts) < 2:
            return dict(parts[0]) if parts else {}
        shape, bits, *values = parts
        names, texts = self._shapes[shape]
        return {
            name: texts[i].text(v) if bits >> i & 1 else v
            for i, (name, v) in enumerate(zip(names, values, strict=True))
        }
