"""Cutting blocks into lines, against the obvious way of doing it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sources import MAX_LINE, Batch
from agent.sources.lines import shape

texts = st.lists(st.sampled_from([b"\n", b"a", b"bc", b"0123456789", b"\x00\xff", b"\r"])).map(b"".join)


def expected(text: bytes, limit: int, *, final: bool) -> list[tuple[int, bytes]]:
    """Offset and content of every line, cut to `limit`."""
    lines, start = [], 0
    *whole, rest = text.split(b"\n")
    for line in whole:
        lines.append((start, line[:limit]))
        start += len(line) + 1
    if len(rest) > limit or (final and rest):
        lines.append((start, rest[:limit]))
    return lines


def lines_of(batch: Batch) -> list[tuple[int, bytes]]:
    return [(batch.offset_of(n), batch.line(n)) for n in range(1, batch.lines + 1)]


@given(texts, st.integers(1, 12), st.booleans(), st.integers(0, 1000))
def test_a_block_gives_its_lines_and_their_offsets(text: bytes, limit: int, final: bool, offset: int) -> None:
    shaped = shape(text, offset, False, final=final, limit=limit)
    batch = Batch("s", offset, shaped.data, None, segments=shaped.segments)
    assert lines_of(batch) == [(offset + at, line) for at, line in expected(text, limit, final=final)]
    assert shaped.cut == sum(len(line) > limit for line in text.split(b"\n"))


@given(texts, st.integers(1, 12), st.lists(st.integers(0, 20), max_size=20))
def test_lines_do_not_depend_on_where_blocks_are_cut(text: bytes, limit: int, steps: list[int]) -> None:
    got: list[tuple[int, bytes]] = []
    at, skipping, cut = 0, False, 0
    ends = [min(sum(steps[:n]), len(text)) for n in range(len(steps))]
    for end in (*ends, *[len(text)] * 3):
        shaped = shape(text[at:end], at, skipping, limit=limit)
        if shaped.data:
            got += lines_of(Batch("s", at, shaped.data, None, segments=shaped.segments))
        at, skipping, cut = at + shaped.consumed, shaped.skipping, cut + shaped.cut
    assert got == expected(text, limit, final=False)
    assert cut == sum(len(line) > limit for line in text.split(b"\n"))


def test_a_line_of_a_megabyte_is_cut_and_others_stay_whole() -> None:
    text = b"before\n" + b"x" * 1_000_000 + b"\nafter\n"
    shaped = shape(text, 0, False)
    assert shaped.data == b"before\n" + b"x" * MAX_LINE + b"\nafter\n"
    assert (shaped.cut, shaped.consumed) == (1, len(text))
    assert Batch("s", 0, shaped.data, None, segments=shaped.segments).offset_of(3) == len(text) - 6


@given(st.lists(st.binary(max_size=300).map(lambda b: b.replace(b"\n", b"")), min_size=1, max_size=200), st.data())
def test_a_batch_finds_its_lines_in_any_order(lines: list[bytes], data: st.DataObject) -> None:
    batch = Batch("s", 7, b"".join(line + b"\n" for line in lines), None)
    assert batch.lines == len(lines)
    for _ in range(10):
        n = data.draw(st.integers(1, len(lines)))
        assert batch.line(n) == lines[n - 1]
        assert batch.offset_of(n) == 7 + sum(len(line) + 1 for line in lines[: n - 1])
        assert batch.origin(n) == ("s", batch.offset_of(n))
    for n in (0, -1, len(lines) + 1, 10_000):
        with pytest.raises(IndexError):
            batch.origin(n)


def test_a_batch_of_very_uneven_lines_finds_them_too() -> None:
    lines = [b"x" * (n * n % 5000) for n in range(2000)]
    batch = Batch("s", 0, b"".join(line + b"\n" for line in lines), None)
    assert [batch.line(n) for n in (1, 2, 500, 499, 1999, 2000, 3)] == [
        lines[n - 1] for n in (1, 2, 500, 499, 1999, 2000, 3)
    ]
    assert batch.lines == 2000


def test_line_count_is_exact_in_small_batches_only() -> None:
    small, large = b"line of a log\n" * 1000, b"line of a log\n" * 100_000
    assert Batch("s", 0, small, None).about() == 1000
    assert Batch("s", 0, large, None).about() == pytest.approx(100_000, rel=0.01)


@given(texts, st.integers(1, 12), st.integers(1, 30), st.booleans())
def test_the_pieces_of_a_batch_have_its_lines_and_their_origins(text: bytes, limit: int, most: int, own: bool) -> None:
    shaped = shape(text, 70, False, final=True, limit=limit)
    origins = [f"line {n}" for n in range(shaped.data.count(b"\n"))] if own else None
    batch = Batch("s", 70, shaped.data, None, segments=shaped.segments, origins=origins)
    pieces = list(batch.pieces(most))
    assert b"".join(p.data for p in pieces) == batch.data
    assert all(p.data.endswith(b"\n") and (len(p.data) <= most or p.lines == 1) for p in pieces)
    assert [p.origin(n) for p in pieces for n in range(1, p.lines + 1)] == [
        batch.origin(n) for n in range(1, batch.lines + 1)
    ]
    assert [x for p in pieces for x in lines_of(p)] == lines_of(batch)
    for piece in pieces:
        with pytest.raises(IndexError):
            piece.origin(piece.lines + 1)
