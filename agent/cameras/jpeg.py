"""The check of a JPEG without decoding: is it complete, and how large is it (ITU-T T.81, annex B)?"""

from __future__ import annotations

MAX_JPEG = 16 << 20
"""Largest picture in bytes that a camera may send."""
MAX_PIXELS = 50_000_000
_SOF = frozenset({0xC0, 0xC1, 0xC2})
_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})


def jpeg_size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels of a complete baseline or progressive JPEG; raises ValueError with the fault."""
    if len(data) > MAX_JPEG:
        raise ValueError(f"the picture is larger than {MAX_JPEG >> 20} MiB")
    if data[:2] != b"\xff\xd8":
        raise ValueError("not a JPEG")
    at, size = 2, None
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            raise ValueError("a damaged JPEG")
        marker = data[at + 1]
        if marker == 0xFF or marker in _ALONE:
            at += 1 if marker == 0xFF else 2
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if length < 2 or at + 2 + length > len(data):
            break
        if marker in _SOF and length >= 8:
            size = int.from_bytes(data[at + 7 : at + 9], "big"), int.from_bytes(data[at + 5 : at + 7], "big")
        if marker == 0xDA:
            return _checked(size, data, at)
        at += 2 + length
    raise ValueError("a JPEG that is cut off")


def _checked(size: tuple[int, int] | None, data: bytes, scan: int) -> tuple[int, int]:
    if size is None or not size[0] or not size[1]:
        raise ValueError("a JPEG of an unsupported kind")
    if size[0] * size[1] > MAX_PIXELS:
        raise ValueError("the picture has more than 50 million pixels")
    if data.rfind(b"\xff\xd9") < scan:
        raise ValueError("a JPEG that is cut off")
    return size
