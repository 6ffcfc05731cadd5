"""An independent reader of apk-tools 3 files, from the description of the format; it shares nothing with the writer."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Read:
    """A file: its schema, its root as Python values (objects as dicts by number), its signatures, its data blocks."""

    schema: bytes
    data: bytes
    root: Any = None
    signatures: list[bytes] = field(default_factory=list)
    files: dict[tuple[int, int], bytes] = field(default_factory=dict)


def read(raw: bytes) -> Read:
    if raw[:4] == b"ADBd":
        raw = zlib.decompressobj(-15).decompress(raw[4:])
    assert raw[:4] == b"ADB."
    place, found = 8, None
    while place < len(raw):
        (word,) = struct.unpack_from("<I", raw, place)
        kind, length = word >> 30, word & 0x3FFFFFFF
        content = raw[place + 4 : place + length]
        assert len(content) == length - 4
        padded = (length + 7) & ~7
        assert raw[place + length : place + padded] == bytes(padded - length)
        place += padded
        if kind == 0:
            assert found is None
            assert content[:4] == bytes(4)
            found = Read(raw[4:8], content, value(content, struct.unpack_from("<I", content, 4)[0]))
        elif kind == 1:
            assert found is not None
            assert not found.files
            found.signatures.append(content)
        else:
            assert found is not None
            folder, number = struct.unpack_from("<II", content)
            found.files[folder, number] = content[8:]
    assert found is not None
    return found


def value(data: bytes, word: int) -> Any:
    kind, low = word >> 28, word & 0x0FFFFFFF
    if word == 0:
        return None
    if kind == 1:
        return low
    if kind == 2:
        return aligned(data, "<I", low, 4)
    if kind in (8, 9, 10):
        form, size = {8: ("<B", 1), 9: ("<H", 2), 10: ("<I", 4)}[kind]
        length = aligned(data, form, low, size)
        assert low + size + length <= len(data)
        return data[low + size : low + size + length]
    assert kind in (13, 14), f"type {kind}"
    count = aligned(data, "<I", low, 4)
    words = struct.unpack_from(f"<{count - 1}I", data, low + 4)
    assert words
    assert words[-1], "no empty field at the end"
    items = [value(data, w) for w in words]
    return items if kind == 13 else {i: v for i, v in enumerate(items, 1) if v is not None}


def aligned(data: bytes, form: str, place: int, size: int) -> int:
    assert place % size == 0
    return int(struct.unpack_from(form, data, place)[0])
