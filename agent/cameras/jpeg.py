"""The check of a JPEG without decoding: is it complete and of a kind that every decoder takes (ITU-T T.81, annex B)?"""

from __future__ import annotations

from typing import NamedTuple

MAX_JPEG = 16 << 20
"""Largest picture in bytes that a camera may send."""
MAX_PIXELS = 50_000_000
START = b"\xff\xd8\xff"
"""Start of image, and the first byte of the marker that must follow."""
END = b"\xff\xd9"
SOS = 0xDA
ALONE = frozenset({0x01, *range(0xD0, 0xD8)})
"""Markers without a length."""
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_COMMON = frozenset({0xC0, 0xC1, 0xC2})
"""Baseline, extended and progressive, Huffman-coded: the kinds that every decoder takes."""
_TABLES = 0xC4
_LEADING = 4096
"""Bytes before the picture that are skipped: line ends, a part's header, padding."""


class TooLarge(ValueError):
    """A picture beyond MAX_JPEG or MAX_PIXELS."""


class Unsupported(ValueError):
    """A whole picture of a kind that no decoder here takes."""


def picture_code(error: ValueError, code: str = "camera.picture") -> str:
    """The code of a camera's error for a picture that cannot be used: `code` where the error's kind has none."""
    if isinstance(error, Unsupported):
        return "camera.picture"
    return "camera.too-large" if isinstance(error, TooLarge) else code


class Jpeg(NamedTuple):
    """The facts in the headers of a JPEG. `start` is where it begins; `sound`: every decoder takes it as it is."""

    width: int
    height: int
    start: int
    sound: bool


def examine(data: bytes) -> Jpeg:
    """The size and the state of a JPEG; raises ValueError with the fault where no decoder could help."""
    if len(data) > MAX_JPEG:
        raise TooLarge(f"the picture is larger than {MAX_JPEG >> 20} MiB")
    start = data.find(START, 0, _LEADING)
    if start < 0:
        raise ValueError("not a JPEG")
    at, width, height, common, tables = start + 2, 0, 0, False, False
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            raise ValueError("a damaged JPEG")
        marker = data[at + 1]
        if marker == 0xFF or marker in ALONE:
            at += 1 if marker == 0xFF else 2
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if length < 2 or at + 2 + length > len(data):
            break
        if marker in _FRAMES and length >= 8:
            bits, height, width = data[at + 4], _number(data, at + 5), _number(data, at + 7)
            common = marker in _COMMON and bits == 8 and data[at + 9] in (1, 3)
        tables |= marker == _TABLES
        if marker == SOS:
            _check_size(width, height)
            return Jpeg(width, height, start, common and tables and data.rfind(END) > at)
        at += 2 + length
    raise ValueError("a JPEG that is cut off")


def _number(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "big")


def _check_size(width: int, height: int) -> None:
    if not width or not height:
        raise Unsupported("a JPEG of an unsupported kind")
    if width * height > MAX_PIXELS:
        raise TooLarge("the picture has more than 50 million pixels")
