"""The parsers of cameras' output: JPEG headers, and the pictures in a stream, valid and malformed."""

from __future__ import annotations

from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from agent.cameras.frames import Frames
from agent.cameras.jpeg import examine
from tests.cameras.conftest import picture

PICTURE = picture(size=(48, 32))
LENGTH = b"Content-Length: %d\r\n" % len(PICTURE)


def with_preview(size: tuple[int, int] = (48, 32)) -> bytes:
    """A picture with a whole JPEG in its EXIF segment."""
    exif = b"Exif\0\0" + picture(size=(16, 16))
    return PICTURE[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + PICTURE[2:]


def saved(mode: str, **options: object) -> bytes:
    out = BytesIO()
    Image.effect_mandelbrot((48, 32), (-2, -1, 1, 1), 50).convert(mode).save(out, "JPEG", **options)
    return out.getvalue()


def test_size_of_jpeg_is_read_without_decoding() -> None:
    assert examine(PICTURE) == (48, 32, 0, True)
    assert examine(PICTURE + b"\0\0padding") == (48, 32, 0, True)
    assert examine(b"\r\n" + with_preview()) == (48, 32, 2, True)


def without_tables(jpeg: bytes) -> bytes:
    """The JPEG without its Huffman tables, as some cameras send it."""
    while (at := jpeg.find(b"\xff\xc4")) > 0:
        jpeg = jpeg[:at] + jpeg[at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big") :]
    return jpeg


@pytest.mark.parametrize("jpeg", [saved("CMYK"), PICTURE[:-2], without_tables(PICTURE)], ids=["cmyk", "end", "tables"])
def test_jpeg_that_not_every_decoder_takes_is_not_sound(jpeg: bytes) -> None:
    assert examine(jpeg) == (48, 32, 0, False)


@given(st.binary(max_size=200), st.integers(0, len(PICTURE)))
def test_no_bytes_break_the_jpeg_reader(junk: bytes, at: int) -> None:
    for data in (junk, PICTURE[:at] + junk, b"\xff\xd8" + junk):
        try:
            found = examine(data)
        except ValueError:
            continue
        assert found.width > 0
        assert found.height > 0


@given(st.integers(0, len(PICTURE) - 1))
def test_every_cut_jpeg_is_refused_or_not_sound(at: int) -> None:
    try:
        assert not examine(PICTURE[:at]).sound
    except ValueError:
        return


def in_chunks(stream: bytes, size: int) -> list[bytes]:
    frames, found = Frames(), []
    for at in range(0, len(stream), size):
        found += frames.feed(stream[at : at + size])
    return found


def part(header: bytes, body: bytes = PICTURE, end: bytes = b"\r\n") -> bytes:
    return header + body + end


FRAMINGS = {
    "no boundary before the first part": b"Content-Type: image/jpeg\r\n" + LENGTH + b"\r\n",
    "line feeds only": b"--frame\nContent-Type: image/jpeg\n\n",
    "line feeds and a length": b"--frame\nContent-Length: 7\n\n",
    "another boundary": b"--other\r\nContent-Type: image/jpeg\r\n" + LENGTH + b"\r\n",
    "no dashes": b"frame\r\nContent-Type: image/jpeg\r\n" + LENGTH + b"\r\n",
    "too many dashes": b"----frame\r\nContent-Type: image/jpeg\r\n\r\n",
    "a quoted boundary": b'--"frame"\r\n\r\n',
    "length 0": b"--frame\r\nContent-Length: 0\r\n\r\n",
    "length too small": b"--frame\r\nContent-Length: 9\r\n\r\n",
    "length too large": b"--frame\r\nContent-Length: 99999\r\n\r\n",
    "length not a number": b"--frame\r\nContent-Length: -1x\r\n\r\n",
    "nothing": b"",
    "zeros": bytes(700),
}


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("size", [1, 61, 100_000])
def test_pictures_are_found_whatever_is_around_them(framing: str, size: int) -> None:
    end = b"" if framing == "nothing" else b"\r\n"
    pictures = [PICTURE, with_preview(), saved("RGB", progressive=True), saved("L", restart_marker_blocks=1)]
    stream = b"".join(part(FRAMINGS[framing], body, end) for body in pictures)
    assert in_chunks(stream, size) == pictures


@pytest.mark.parametrize("first", [b"", b"motion=0\r\n", b"\xff\xd8", b"\xff\xd8\xff\xe0", bytes(5000)])
def test_a_first_part_without_a_picture_is_skipped(first: bytes) -> None:
    stream = b"--frame\r\nContent-Type: text/plain\r\n\r\n" + first + b"\r\n" + part(b"--frame\r\n\r\n") * 9
    assert in_chunks(stream, 50)[-1] == PICTURE


def test_a_cut_picture_does_not_hide_the_next_one() -> None:
    whole = saved("RGB")
    header = b"\r\n--frame\r\nContent-Type: image/jpeg\r\nContent-Length: 12345\r\n\r\n"
    for at in range(4, len(whole) - 2, 7):
        # A cut segment takes up to 64 KiB of what follows: the pictures in there are found afterwards.
        found = in_chunks(header + whole[:at] + (header + whole) * 3 + bytes(65536) + header + whole, 4096)
        assert found[-3:] == [whole] * 3


def test_pictures_without_end_markers_come_with_the_next_one() -> None:
    header = b"\r\n--frame\r\nContent-Type: image/jpeg\r\n\r\n"
    frames = Frames()
    assert frames.feed((header + PICTURE[:-2]) * 3) == [PICTURE[:-2]] * 2
    assert frames.rest() == PICTURE[:-2]


@pytest.mark.parametrize(
    "stream", [b"x" * 3000, b"\xff\xd8\xff" * 1000, PICTURE[:-2] + bytes(3000), b"\xff\xd8" + b"\xff\xe0\0\4ab" * 600]
)
def test_a_stream_that_would_fill_the_memory_is_refused(stream: bytes) -> None:
    frames = Frames(limit=2000)
    with pytest.raises(ValueError, match="picture"):
        for at in range(0, len(stream), 500):
            frames.feed(stream[at : at + 500])


@given(st.binary(max_size=300), st.integers(1, 50))
def test_no_bytes_break_the_search(data: bytes, size: int) -> None:
    frames = Frames(limit=5000)
    for at in range(0, len(data), size):
        frames.feed(data[at : at + size])
    # Junk may hide one picture: its last bytes look like the head of a segment.
    frames.feed(b"\xff\xd9" + PICTURE + PICTURE)


def test_hostile_segments_cost_work_in_proportion_to_their_bytes() -> None:
    # Each segment holds the start of another picture, whose segments are the same: 1.8 billion steps if all were tried.
    assert Frames().feed(b"\xff\xd8" + b"\xff\xe0\0\6\xff\xd8\xff\xd8" * 60_000 + bytes(8)) == []
