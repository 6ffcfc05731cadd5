"""Syslog over TLS, with the certificate of the node and with the user's."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from pathlib import Path

import pytest

from agent.errors import ConfigError
from agent.identity import Identity, IdentityStore
from agent.sources import Reception, SyslogSource
from agent.sources.syslog.credentials import Credentials, Files
from tests.sources.support import Collector
from tests.support import eventually

LINE = b"<29>Mar  4 09:10:11 ap hostapd: x\n"


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return IdentityStore(tmp_path_factory.mktemp("identity")).create_mesh("attic")


def trusting(identity: Identity, *, own: Path | None = None) -> ssl.SSLContext:
    """A device that trusts the mesh's CA alone and may have an own certificate."""
    context = ssl.create_default_context(cadata=identity.ca_pem.decode())
    if own is not None:
        context.load_cert_chain(own)
    return context


async def send(source: SyslogSource, context: ssl.SSLContext, identity: Identity) -> None:
    name = f"{identity.node_id}.{identity.mesh_id}.internal"
    _, writer = await asyncio.open_connection("127.0.0.1", source.port, ssl=context, server_hostname=name)
    writer.write(LINE)
    await writer.drain()
    writer.close()


async def test_a_device_that_trusts_the_mesh_sends_over_tls(identity: Identity) -> None:
    source = SyslogSource.of({"syslog": "tls://127.0.0.1:0"}, Reception(identity=lambda: identity))
    async with Collector(source) as reader:
        await eventually(lambda: source.port)
        await send(source, trusting(identity), identity)
        await eventually(lambda: len(reader.lines) == 1)
        _, plain = await asyncio.open_connection("127.0.0.1", source.port)
        plain.write(LINE)
        await eventually(lambda: source.counters.dropped == {"tls": 1})
        plain.close()
        old = trusting(identity)
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        await send(source, old, identity)
        await eventually(lambda: len(reader.lines) == 2)


async def test_senders_need_a_certificate_where_a_ca_is_named(identity: Identity, tmp_path: Path) -> None:
    pem, ca = tmp_path / "own.pem", tmp_path / "ca.pem"
    pem.write_bytes(identity.key_pem + identity.cert_pem)
    ca.write_bytes(identity.ca_pem)
    spec = {"syslog": "tls://127.0.0.1:0", "certificate": str(pem), "key": str(pem), "client_ca": str(ca)}
    source = SyslogSource.of(spec)
    assert source._inbox.allows("192.0.2.7")  # its certificate says that it may send
    async with Collector(source) as reader:
        await eventually(lambda: source.port)
        await send(source, trusting(identity, own=pem), identity)
        await eventually(lambda: len(reader.lines) == 1)
        with contextlib.suppress(OSError):
            await send(source, trusting(identity), identity)
        await eventually(lambda: source.counters.dropped == {"tls": 1})
    assert len(reader.lines) == 1


async def test_a_renewed_certificate_is_used_without_a_restart(identity: Identity, tmp_path: Path) -> None:
    other = IdentityStore(tmp_path).create_mesh("attic")
    used = [identity]
    source = SyslogSource.of({"syslog": "tls://127.0.0.1:0"}, Reception(identity=lambda: used[-1]))
    async with Collector(source) as reader:
        await eventually(lambda: source.port)
        used.append(other)
        await send(source, trusting(other), other)
        await eventually(lambda: len(reader.lines) == 1)


@pytest.mark.parametrize("content", [None, "not a certificate"])
async def test_an_unreadable_certificate_is_an_error_with_a_hint(content: str | None, tmp_path: Path) -> None:
    pem = tmp_path / "own.pem"
    if content is not None:
        pem.write_text(content)
    source = SyslogSource.of({"syslog": "tls://127.0.0.1:0", "certificate": str(pem), "key": str(pem)})
    with pytest.raises(ConfigError) as caught:
        await anext(source.batches(None))
    assert str(pem) in caught.value.message
    assert caught.value.hint


def test_a_damaged_file_leaves_the_last_certificate_in_use(identity: Identity, tmp_path: Path) -> None:
    pem = tmp_path / "own.pem"
    pem.write_bytes(identity.key_pem + identity.cert_pem)
    credentials = Credentials(Files(str(pem), str(pem)), None)
    first = credentials.context()
    assert credentials.context() is first
    pem.write_text("half a file")
    os.utime(pem, ns=(1, 1))
    assert credentials.context() is first
    pem.write_bytes(identity.key_pem + identity.cert_pem)
    assert credentials.context() is not first
