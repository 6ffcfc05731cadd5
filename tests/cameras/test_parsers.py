"""The parsers of cameras' output: JPEG headers and multipart streams, valid and malformed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cameras.jpeg import jpeg_size
from agent.cameras.multipart import MAX_HEADER, Parts, boundary_of
from tests.cameras.conftest import picture

PICTURE = picture(size=(48, 32))


def test_a_jpegs_size_is_read_without_decoding_it() -> None:
    assert jpeg_size(PICTURE) == (48, 32)
    assert jpeg_size(PICTURE + b"\0\0padding") == (48, 32)


@given(st.binary(max_size=200), st.integers(0, len(PICTURE)))
def test_no_bytes_break_the_jpeg_reader(junk: bytes, at: int) -> None:
    for data in (junk, PICTURE[:at] + junk, b"\xff\xd8" + junk):
        try:
            width, height = jpeg_size(data)
        except ValueError:
            continue
        assert width > 0
        assert height > 0


@given(st.integers(0, len(PICTURE) - 1))
def test_every_cut_jpeg_is_refused(at: int) -> None:
    with pytest.raises(ValueError):
        jpeg_size(PICTURE[:at])


def part(body: bytes, *, length: bool) -> bytes:
    header = b"--b\r\nContent-Type: image/jpeg\r\n" + (b"Content-Length: %d\r\n" % len(body) if length else b"")
    return header + b"\r\n" + body + b"\r\n"


@given(
    st.lists(
        st.tuples(st.binary(max_size=60).filter(lambda b: b"--b" not in b and not b.endswith(b"\r")), st.booleans())
    ),
    st.lists(st.integers(1, 40), min_size=1),
)
def test_parts_come_out_whole_however_the_stream_is_chopped(bodies: list[tuple[bytes, bool]], sizes: list[int]) -> None:
    stream = b"".join(part(body, length=length) for body, length in bodies) + b"--b\r\n"
    parts, found, at, i = Parts(b"--b"), [], 0, 0
    while at < len(stream):
        size = sizes[i % len(sizes)]
        found += parts.feed(stream[at : at + size])
        at, i = at + size, i + 1
    assert found == [body for body, _ in bodies]


@pytest.mark.parametrize(
    "stream",
    [
        b"x" * (MAX_HEADER + 100),
        b"--b\r\n" + b"h" * (MAX_HEADER + 100),
        b"--b\r\nContent-Length: -1\r\n\r\n",
        b"--b\r\nContent-Length: 9999999999999\r\n\r\n",
        b"--b\r\nContent-Length: 2001\r\n\r\n",
        b"--b\r\n\r\n" + b"p" * (MAX_HEADER + 3000),
    ],
)
def test_a_stream_that_would_fill_the_memory_is_refused(stream: bytes) -> None:
    with pytest.raises(ValueError):
        Parts(b"--b", limit=2000).feed(stream)


@given(st.binary(max_size=300))
def test_no_bytes_break_the_parts(data: bytes) -> None:
    parts = Parts(b"--b", limit=100)
    try:
        parts.feed(data)
        parts.feed(b"\r\n--b\r\n\r\nx\r\n--b\r\n\r\n" + data)
    except ValueError:
        return


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/x-mixed-replace;boundary=ffmpeg", b"--ffmpeg"),
        ('multipart/x-mixed-replace; boundary="--my boundary"', b"--my boundary"),
        ("multipart/x-mixed-replace", b"--"),
        ("image/jpeg", None),
        ("", None),
    ],
)
def test_the_boundary_is_read_from_the_content_type(content_type: str, boundary: bytes | None) -> None:
    assert boundary_of(content_type) == boundary
