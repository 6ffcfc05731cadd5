"""A real Mosquitto on loopback, with and without TLS, with a user and a password."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from cloud_sink.certificate import ensure_certificate

MOSQUITTO = "/usr/sbin/mosquitto"
PASSWORD = "correct horse"


@dataclass
class Broker:
    """The broker's ports and files."""

    plain: int
    tls: int
    pin: str
    process: asyncio.subprocess.Process


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as s:
        return int(s.getsockname()[1])


@asynccontextmanager
async def mosquitto(folder: Path) -> AsyncIterator[Broker]:
    """Start it; ends with the block."""
    folder.mkdir(exist_ok=True)
    certificate, key, pin = ensure_certificate(folder, ["127.0.0.1"])
    passwords = folder / "passwords"
    passwords.touch(0o600)
    subprocess.run(["mosquitto_passwd", "-b", str(passwords), "edge", PASSWORD], check=True, capture_output=True)
    plain, tls = free_port(), free_port()
    (folder / "conf").write_text(
        f"user root\nper_listener_settings false\nallow_anonymous false\npassword_file {passwords}\nmax_packet_size 5000000\n"
        f"listener {plain} 127.0.0.1\nlistener {tls} 127.0.0.1\ncertfile {certificate}\nkeyfile {key}\n"
    )
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(MOSQUITTO, "-c", str(folder / "conf"), stdout=log, stderr=log)
    try:
        for port in (plain, tls):
            async with asyncio.timeout(10):
                while True:
                    assert process.returncode is None, (folder / "log").read_text()
                    try:
                        _, writer = await asyncio.open_connection("127.0.0.1", port)
                    except OSError:
                        await asyncio.sleep(0.02)
                        continue
                    writer.close()
                    await writer.wait_closed()
                    break
        yield Broker(plain, tls, pin, process)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
