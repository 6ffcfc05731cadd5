"""Addresses that are no members, and what zenoh says of connections that it refused."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from pathlib import Path

import pytest

from agent.mesh import handshakes
from agent.mesh.handshakes import _read, reason_of, why_not
from tests.mesh.building import Building, free_port


async def test_an_address_is_of_another_mesh_of_none_or_silent(building: Building, tmp_path: Path) -> None:
    other = Building(tmp_path / "other")
    await building.start("hall")
    await other.start("hall")

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail\r\n")
        writer.close()
        await writer.wait_closed()

    plain = await asyncio.start_server(greet, "127.0.0.1", 0)
    try:
        mine = building.identity("porch")
        assert await why_not(building.address("hall"), mine) == ""
        assert "another mesh" in await why_not(other.address("hall"), mine)
        assert "TLS" in await why_not(f"127.0.0.1:{plain.sockets[0].getsockname()[1]}", mine)
        assert "cannot be reached" in await why_not(f"127.0.0.1:{free_port()}", mine)
    finally:
        plain.close()
        await other.close()


def test_handshakes_are_counted_while_stdout_has_no_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshakes, "counts", Counter())
    nobody, kept = os.pipe()
    os.close(nobody)
    reading, writing = os.pipe()
    os.write(writing, b"hello\nzenoh_link_tls::unicast: invalid peer certificate: UnknownIssuer\n")
    os.close(writing)
    _read(reading, kept)
    os.close(kept)
    assert sum(handshakes.counts.values()) == 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"peer sent no certificates. Hint: increase the system open file limit.", "without a certificate"),
        (b"received corrupt message of type InvalidContentType.", "does not speak TLS"),
        (b"received fatal alert: UnknownCA.", "another mesh"),
        (b"invalid peer certificate: UnknownIssuer.", "another mesh"),
        (b"tls handshake eof.", ""),
    ],
)
def test_a_failed_handshake_is_explained_and_a_probe_is_none(text: bytes, reason: str) -> None:
    assert reason in reason_of(text)
    assert bool(reason_of(text)) == bool(reason)
