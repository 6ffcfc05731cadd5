"""The database format of apk-tools 3: values, objects and arrays in one block of bytes (apk-tools, apk-v3(5)).

A value is a 32-bit little-endian word: 4 bits type, 28 bits a small number or the place of the value. Objects and arrays are
words whose first is their number. Equal values are stored once.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

INT, INT_32, BLOB_8, BLOB_16, BLOB_32, ARRAY, OBJECT = 0x1, 0x2, 0x8, 0x9, 0xA, 0xD, 0xE
NULL = 0
PACKAGE, INDEX = b"pckg", b"indx"


class Adb:
    """A database that is being written. Its methods return words, to be put into objects and arrays."""

    def __init__(self) -> None:
        self._bytes = bytearray(8)
        self._places: dict[tuple[int, bytes], int] = {}

    def number(self, value: int) -> int:
        """A number of at most 32 bits."""
        if not 0 <= value < 1 << 32:
            raise ValueError(f"{value} does not fit")
        if value < 1 << 28:
            return INT << 28 | value
        return INT_32 << 28 | self._put(struct.pack("<I", value), 4)

    def blob(self, value: bytes | str, *, once: bool = False) -> int:
        """Bytes or text; NULL where it is empty. With `once` it is not shared with an equal value."""
        data = value.encode() if isinstance(value, str) else value
        for limit, kind, form in ((0xFF, BLOB_8, "<B"), (0xFFFF, BLOB_16, "<H"), (0xFFFFFFFF, BLOB_32, "<I")):
            if len(data) <= limit:
                length = struct.pack(form, len(data))
                return kind << 28 | self._put(length + data, len(length), once=once) if data else NULL
        raise ValueError(f"{len(data)} bytes do not fit")

    def object(self, fields: Mapping[int, int]) -> int:
        """An object of numbered fields, from 1; NULL where all are."""
        last = max((i for i, word in fields.items() if word != NULL), default=0)
        return self._words(OBJECT, [fields.get(i, NULL) for i in range(1, last + 1)])

    def array(self, items: Sequence[int]) -> int:
        """An array; NULL where it is empty. apk expects most arrays sorted."""
        return self._words(ARRAY, list(items))

    def finish(self, root: int) -> bytearray:
        """The whole content of the block, with this root object."""
        struct.pack_into("<I", self._bytes, 4, root)
        return self._bytes

    def _words(self, kind: int, words: list[int]) -> int:
        if not words:
            return NULL
        count = len(words) + 1
        return kind << 28 | self._put(struct.pack(f"<{count}I", count, *words), 4)

    def _put(self, data: bytes, align: int, *, once: bool = False) -> int:
        place = None if once else self._places.get((align, data))
        if place is None:
            self._bytes += bytes(-len(self._bytes) % align)
            place = len(self._bytes)
            if place >= 1 << 28:
                raise ValueError("the database is too large")
            self._bytes += data
            if not once:
                self._places[align, data] = place
        return place


def place_of(word: int) -> int:
    """Where the content of a blob of at most 255 bytes begins."""
    return (word & 0x0FFFFFFF) + 1
