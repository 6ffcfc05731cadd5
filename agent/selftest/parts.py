"""The parts of an agent that a self-test exercises, with temporary files and connections."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from contextlib import suppress
from pathlib import Path

from agent.config import Config
from agent.database import Schema, open_database
from agent.discovery import Discovery, Found, own_addresses
from agent.errors import EdgeError, StepFailed, Unreachable, in_words
from agent.executors import check_engine
from agent.identity import IdentityStore, PeerIdentity, Trust
from agent.mesh import Mesh, MeshSettings
from agent.model.node import ROLE_MEMBER

MEET = 60.0
"""Seconds for two nodes of this process to meet: a slow device makes each handshake in a second."""
HEAR = 10.0
"""Seconds to hear one's own announcement."""
WRITE = 1 << 20
_TABLE = Schema("self-test", ("CREATE TABLE line (text TEXT)",), "selftest.disk", "selftest.disk")
_VERB = "selftest.echo"


async def identity(config: Config, scratch: Path) -> str:
    """This node's identity can be read, or a new one can be made, signed and checked; raises EdgeError."""
    folder = config.state / "identity"
    try:
        known = IdentityStore(folder).load() if folder.exists() else None
    except PermissionError as e:
        raise StepFailed(
            f"{folder} cannot be read: {in_words(e)}", code="selftest.identity", hint="run it as root"
        ) from None
    mine = known or IdentityStore(scratch / "identity").create_mesh("selftest")
    signature = mine.sign(b"selftest")
    Trust(mine.ca_der).verify(mine.cert_der, signature, b"selftest", allow_expired=True)
    if known is None:
        return "keys can be made; this device is in no mesh yet"
    return f"{known.name} ({known.node_id}) in mesh {known.mesh_id}"


async def engine(config: Config, scratch: Path) -> str:
    """The WASM engine runs programs in its worker and keeps their limits; raises StepFailed."""
    return await check_engine(scratch / "wasm")


async def disk(config: Config, scratch: Path) -> str:
    """A file and a database row reach the disk of the state folder; raises EdgeError."""
    began = time.monotonic()
    await asyncio.to_thread(_write, scratch)
    return f"1 MiB and a database row are on the disk in {(time.monotonic() - began) * 1000:.0f} ms"


def _write(scratch: Path) -> None:
    try:
        with (scratch / "file").open("wb") as file:
            file.write(os.urandom(WRITE))
            file.flush()
            os.fsync(file.fileno())
    except OSError as e:
        raise StepFailed(
            f"{scratch} cannot be written: {in_words(e)}", code="selftest.disk", hint="free some space"
        ) from None
    db = open_database(scratch / "rows.db", _TABLE)
    try:
        db.execute("INSERT INTO line VALUES ('selftest')")
    finally:
        db.close()


async def mesh(config: Config, scratch: Path) -> str:
    """Two nodes meet over the loopback interface, with TLS and signed requests; raises EdgeError."""
    hall = IdentityStore(scratch / "hall").create_mesh("hall")
    store = IdentityStore(scratch / "porch")
    key = store.pending_key()
    porch = store.adopt(key, hall.issue(key.public_key(), role=ROLE_MEMBER, name="porch"), hall.ca_der, "porch")
    ports = _free_port(), _free_port()
    one = Mesh(hall, Trust(hall.ca_der), _settings(ports[0]), scratch / "hall")
    other = Mesh(porch, Trust(porch.ca_der), _settings(ports[1], join=ports[0]), scratch / "porch")

    async def echo(peer: PeerIdentity, body: bytes) -> bytes:
        return body

    one.serve(_VERB, echo)
    began = time.monotonic()
    running = [asyncio.create_task(m.run()) for m in (one, other)]
    try:
        async with asyncio.timeout(MEET):
            while not other.is_live(hall.node_id):
                for task in running:
                    if task.done():
                        task.result()
                await asyncio.sleep(0.05)
            met = time.monotonic() - began
            asked = time.monotonic()
            await other.call(hall.node_id, _VERB, b"selftest", timeout=MEET)
    except TimeoutError:
        raise Unreachable(
            f"two nodes of this device do not meet over 127.0.0.1 in {MEET:.0f} s",
            hint="is the loopback interface up, and /dev/shm there?",
            code="selftest.mesh",
        ) from None
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    return f"two nodes met in {met:.1f} s and asked each other in {(time.monotonic() - asked) * 1000:.1f} ms"


def _settings(port: int, *, join: int = 0) -> MeshSettings:
    return MeshSettings(
        listen="127.0.0.1", port=port, advertise=[f"127.0.0.1:{port}"], publish_every=1.0, redial_min=0.2,
        join=[f"127.0.0.1:{join}"] if join else [],
    )  # fmt: skip


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


async def mdns(config: Config, scratch: Path) -> str | None:
    """This device hears its own announcement; None where mDNS is off or there is no network. Raises Unreachable."""
    if not config.mesh.mdns or not own_addresses():
        return None
    me = IdentityStore(scratch / "announced").create_mesh("selftest")
    heard = asyncio.Event()

    def found(node: Found) -> None:
        if node.node == me.node_id:
            heard.set()

    listener, speaker = Discovery(found), Discovery(lambda _: None)
    speaker.announce(me.mesh_id, me.node_id, "selftest", config.mesh.port, config.mesh.enrol_port)
    running = [asyncio.create_task(d.run()) for d in (listener, speaker)]
    try:
        async with asyncio.timeout(HEAR):
            await heard.wait()
    except TimeoutError:
        why = speaker.problem or listener.problem or "no answer"
        raise Unreachable(
            f"this device does not hear its own announcement: {why}",
            hint="open UDP port 5353, or join with --join HOST:PORT",
            code="selftest.mdns",
        ) from None
    finally:
        for task in running:
            task.cancel()
        with suppress(EdgeError, OSError):
            await asyncio.gather(*running, return_exceptions=True)
    return "this device hears its own announcement"
