"""Blocks of bytes become whole lines; single lines are looked at only where one is too long."""

from __future__ import annotations

from typing import NamedTuple

from agent.sources.batch import MAX_LINE


class Shaped(NamedTuple):
    """The lines of a block, how many bytes of the block are used up, and how many lines were cut.

    `segments` are as in Batch. `skipping`: the block ended within a line whose beginning was passed on already.
    """

    data: bytes
    segments: list[tuple[int, int]]
    consumed: int
    skipping: bool
    cut: int


def shape(block: bytes, offset: int, skipping: bool, *, final: bool = False, limit: int = MAX_LINE) -> Shaped:
    """Whole lines of `block`, which starts at `offset` of its stream.

    Lines longer than `limit` are cut. An unfinished last line stays, unless it is too long already or the stream ends
    here (`final`): then it gets its newline.
    """
    begin = 0
    if skipping:
        newline = block.find(b"\n")
        if newline < 0:
            return Shaped(b"", [], len(block), not final, 0)
        begin = newline + 1
    end = block.rfind(b"\n", begin) + 1 or begin
    pieces: list[tuple[int, int]] = []
    line = start = begin
    while end - line > limit:
        newline = block.rfind(b"\n", line, line + limit + 1)
        if newline < 0:
            pieces.append((start, line + limit))
            newline = block.find(b"\n", line + limit)
            start = newline + 1
        line = newline + 1
    cut = len(pieces)
    if not pieces and (len(block) - end == 0 or (not final and len(block) - end <= limit)):
        data = block if (begin, end) == (0, len(block)) else block[begin:end]
        return Shaped(data, [(0, offset + begin)], end, False, 0)
    whole = (start, end)
    rest = len(block) - end
    if rest > limit:
        tail = (end, end + limit)
        cut += 1
    elif final and rest:
        tail = (end, len(block))
    else:
        tail = (end, end)
    data, segments = _join(block, offset, [*((a, b, True) for a, b in pieces), (*whole, False), (*tail, True)])
    consumed = len(block) if tail[1] > end else end
    return Shaped(data, segments, consumed, rest > limit and not final, cut)


def _join(block: bytes, offset: int, pieces: list[tuple[int, int, bool]]) -> tuple[bytes, list[tuple[int, int]]]:
    """The pieces joined, with a newline where a line was cut."""
    out: list[bytes] = []
    segments: list[tuple[int, int]] = []
    length = 0
    for begin, end, cut in pieces:
        if begin == end:
            continue
        segments.append((length, offset + begin))
        out.append(block[begin:end])
        length += end - begin
        if cut:
            out.append(b"\n")
            length += 1
    return b"".join(out), segments
