"""Large blocks of a file end with a line, and their memory is used again once nothing refers to it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.sources.block import PEEK, BlockReader

MOST = 64 * 1024
LINES = b"".join(b"%09d\n" % n for n in range(100_000))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "messages"
    path.write_bytes(LINES)
    return path


@pytest.fixture
def fd(log: Path) -> Iterator[int]:
    opened = os.open(log, os.O_RDONLY)
    yield opened
    os.close(opened)


def test_large_block_ends_with_a_line_and_the_last_with_the_file(fd: int) -> None:
    reader, read, last = BlockReader(), b"", False
    while not last:
        block, last = reader.read(fd, len(read), MOST)
        assert last or (MOST - 10 < len(block) <= MOST and block.endswith(b"\n"))
        read += block
    assert read == LINES


def test_large_block_without_a_newline_near_its_end_is_full(log: Path, fd: int) -> None:
    log.write_bytes(b"x" * (MOST - PEEK) + b"\n" + b"y" * MOST)
    assert BlockReader().read(fd, 0, MOST) == (b"x" * (MOST - PEEK) + b"\n", False)
    log.write_bytes(b"x" * (MOST - PEEK - 1) + b"\n" + b"y" * MOST)
    assert BlockReader().read(fd, 0, MOST) == (b"x" * (MOST - PEEK - 1) + b"\n" + b"y" * PEEK, False)


def test_memory_is_used_again_when_nothing_refers_to_it(fd: int) -> None:
    reader = BlockReader()
    used = set()
    for n in range(8):
        block, _ = reader.read(fd, n * 12_340, MOST)
        used.add(id(block))
        del block
    assert len(used) == 1


@pytest.mark.parametrize("hold", [lambda b: b, memoryview, lambda b: memoryview(b)[5:10], lambda b: {"in": [b]}])
def test_block_keeps_its_bytes_while_anything_refers_to_it(hold: Any, fd: int) -> None:
    reader = BlockReader()
    held = []
    for n in range(6):
        block, _ = reader.read(fd, n * MOST, MOST)
        held.append((hold(block), hold(bytes(block))))
        del block
    assert all(kept == copied for kept, copied in held)


def test_file_cut_while_it_is_read_gives_what_is_left(log: Path, fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    read = os.preadv

    def cut(*arguments: Any) -> int:
        os.truncate(log, 1000)
        return read(*arguments)

    reader = BlockReader()
    monkeypatch.setattr(os, "preadv", cut)
    assert reader.read(fd, 500, MOST) == (LINES[500:1000], False)
    monkeypatch.undo()
    log.write_bytes(LINES)
    assert reader.read(fd, 0, MOST)[0].startswith(LINES[:60_000])
