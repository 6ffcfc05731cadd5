"""CAR files, read back by a reader that follows the specification alone."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from agent.blobs import write_car
from agent.model.cid import parse_cid
from agent.model.unixfs import CHUNK
from tests.blobs.conftest import MakeStore
from tests.blobs.data import pattern


def read_varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (raw[at] & 0x7F) << shift
        shift += 7
        at += 1
        if raw[at - 1] < 0x80:
            return value, at


def read_car(raw: bytes) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """The header and the (CID, block) sections."""
    length, at = read_varint(raw, 0)
    header, at = raw[at : at + length], at + length
    sections = []
    while at < len(raw):
        length, at = read_varint(raw, at)
        sections.append((raw[at : at + 36], raw[at + 36 : at + length]))
        at += length
    return header, sections


@pytest.mark.parametrize("size", [0, 5, CHUNK, CHUNK + 1, 5 * CHUNK + 17, 175 * CHUNK])
async def test_a_car_file_has_every_block_once_parents_first(make_store: MakeStore, tmp_path: Path, size: int) -> None:
    store = make_store()
    data = pattern(size)
    cid, _ = await store.put(data)
    target = tmp_path / "blob.car"
    with target.open("wb") as file:
        written = await write_car(store, cid, file.fileno())
    raw = target.read_bytes()
    assert written == len(raw)
    header, sections = read_car(raw)
    # {"roots": [link], "version": 1} in dag-cbor, spelled out.
    link = b"\xd8\x2a\x58\x25\x00" + parse_cid(cid).binary()
    assert header == b"\xa2" + b"\x65roots" + b"\x81" + link + b"\x67version" + b"\x01"
    assert all(hashlib.sha256(block).digest() == name[4:] for name, block in sections)
    assert sections[0][0] == parse_cid(cid).binary()
    assert b"".join(block for name, block in sections if name[1] == 0x55) == data
