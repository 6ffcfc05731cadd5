"""A real `edge-sink` in its own process, and alerts as a building makes them."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from PIL import Image, ImageDraw

from agent.model.alert import Alert, AlertPhoto, Hello, Hop
from agent.model.event import Event, event_id, now
from agent.model.unixfs import cid_of

STEPS = (
    ("line", "ap", 0.0, 0.0),
    ("wifi", "ap", 3.1, 2.4),
    ("arrived", "porch", 7.9, 1.2),
    ("photos", "porch", 61.0, 48.2),
    ("small", "porch", 92.4, 27.9),
    ("labels", "gpu", 158.8, 55.1),
    ("alert", "ap", 166.2, 3.3),
)


class Building:
    """A mesh with one signing node: CA, certificate, key."""

    def __init__(self, mesh: str = "mesh-test", node: str = "node-ap") -> None:
        self.mesh, self.node = mesh, node
        ca_key = ec.generate_private_key(ec.SECP256R1())
        self.key = ec.generate_private_key(ec.SECP256R1())
        ca = _certificate(f"CA {mesh}", ca_key, f"CA {mesh}", ca_key)
        self.ca_pem = ca.public_bytes(serialization.Encoding.PEM).decode()
        self.certificate = _certificate(node, self.key, f"CA {mesh}", ca_key).public_bytes(serialization.Encoding.DER)

    @property
    def hello(self) -> Hello:
        return Hello(mesh=self.mesh, node=self.node, name="ap", ca=self.ca_pem)

    def sign(self, data: bytes) -> bytes:
        return self.key.sign(data, ec.ECDSA(hashes.SHA256()))

    def alert(self, n: int | str = 0, **changes: Any) -> Alert:
        alert = unsigned(self.mesh, self.node, n, **changes)
        alert.certificate = self.certificate
        alert.signature = self.sign(alert.signed_bytes())
        return alert


def unsigned(
    mesh: str,
    node: str,
    n: int | str = 0,
    *,
    camera: str = "porch",
    root: str = "",
    photo: bytes | None = None,
    **data: Any,
) -> Alert:
    content = jpeg() if photo is None else photo
    root = root or event_id("line", n)
    event = Event(
        id=event_id("alert", n, camera),
        source="/ap/person-at-the-door/labels",
        type="image.labels",
        time=now(),
        root=root,
        pipeline="person-at-the-door",
        step="alert",
        data={
            "labels": [{"name": "person", "score": 0.91, "box": [0.3, 0.2, 0.3, 0.7]}],
            "camera": camera,
            "device": {"known": False, "private": True, "first_seen": now(), "id": "dev-abcdefgh"},
            "width": 640,
            "height": 360,
            **data,
        },
    )
    trace = [Hop(step=s, node=n, at_ms=at, run_ms=run) for s, n, at, run in STEPS]
    photos = [AlertPhoto(name="labelled", cid=cid_of(content), type="image/jpeg", size=len(content), content=content)]
    return Alert(mesh=mesh, node=node, event=event, trace=trace, photos=photos if content else [])


def jpeg(width: int = 640, height: int = 360, *, exif: bytes = b"", comment: bytes = b"") -> bytes:
    image = Image.new("RGB", (width, height), (70, 90, 110))
    ImageDraw.Draw(image).ellipse((width * 0.35, height * 0.2, width * 0.55, height * 0.9), fill=(180, 120, 80))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=80, exif=exif, comment=comment)
    return out.getvalue()


def _certificate(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: str, by: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    def dn(cn: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, cn)])

    return (
        x509.CertificateBuilder()
        .subject_name(dn(name))
        .issuer_name(dn(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(1970, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime.now(UTC) + timedelta(days=400))
        .add_extension(x509.BasicConstraints(ca=name == issuer, path_length=None), critical=True)
        .sign(by, hashes.SHA256())
    )


class RunningSink:
    """A sink's process and the content of its ready file."""

    def __init__(self, process: asyncio.subprocess.Process, facts: dict[str, Any], log: Path) -> None:
        self.process, self.facts, self.log = process, facts, log
        self.url, self.pin, self.connect = facts["url"], facts["pin"], f"{facts['url']}#sha256={facts['pin']}"
        self.port: int = facts["port"]

    @property
    def key(self) -> str:
        return Path(self.facts["key_file"]).read_text().strip()

    async def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process.returncode is None:
            self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), 10)


@asynccontextmanager
async def running_sink(
    data: Path, *options: str, port: int = 0, environ: dict[str, str] | None = None
) -> AsyncIterator[RunningSink]:
    """Start `edge-sink serve` on loopback and wait until it is ready."""
    ready = data.with_name(f"{data.name}.ready")
    ready.unlink(missing_ok=True)
    log = data.with_name(f"{data.name}.log")
    with log.open("ab") as out:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "cloud_sink", "serve", "--data", str(data), "--host", "127.0.0.1",
            "--port", str(port),
            "--ready-file", str(ready), "--json", *options,
            stdout=out, stderr=out, env={**os.environ, **(environ or {})},
        )  # fmt: skip
    sink: RunningSink | None = None
    try:
        async with asyncio.timeout(30):
            while not ready.exists():
                assert process.returncode is None, log.read_text()
                await asyncio.sleep(0.02)
        sink = RunningSink(process, json.loads(ready.read_text()), log)
        yield sink
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), 10)
        except TimeoutError:
            process.kill()
            await process.wait()
            raise AssertionError(f"the sink did not end at SIGTERM\n{log.read_text()}") from None


def encode(alert: Alert) -> bytes:
    return msgspec.msgpack.encode(alert)


class Caller:
    """A running sink with a plain HTTP client, for tests that only send requests."""

    def __init__(self, facts: dict[str, Any], data: Path, log: Path) -> None:
        self.facts, self.data, self.log = facts, data, log
        self.key = Path(facts["key_file"]).read_text().strip()
        context = ssl.create_default_context(cafile=str(data / "tls" / "certificate.pem"))
        self.http = httpx.Client(base_url=facts["url"], verify=context, timeout=20)

    def post(self, path: str, body: bytes, key: str | None = None) -> httpx.Response:
        return self.http.post(path, content=body, headers={"authorization": f"Bearer {key or self.key}"})

    def cli(self, *arguments: str, check: bool = True) -> str:
        command = [sys.executable, "-m", "cloud_sink", *arguments, "--data", str(self.data)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 or not check, done.stderr
        return done.stdout + done.stderr


@contextmanager
def calling_sink(data: Path, *options: str, environ: dict[str, str] | None = None) -> Iterator[Caller]:
    """Start `edge-sink serve` without an event loop; ends with the block."""
    ready, log = data.with_name(f"{data.name}.ready"), data.with_name(f"{data.name}.log")
    ready.unlink(missing_ok=True)
    command = [sys.executable, "-m", "cloud_sink", "serve", "--data", str(data), "--host", "127.0.0.1", "--port", "0"]
    with log.open("ab") as out:
        process = subprocess.Popen(
            [*command, "--ready-file", str(ready), "--json", *options],
            stdout=out, stderr=out, env={**os.environ, **(environ or {})},
        )  # fmt: skip
    try:
        end = time.monotonic() + 30
        while not ready.exists():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, "the sink did not start"
            time.sleep(0.02)
        caller = Caller(json.loads(ready.read_text()), data, log)
        yield caller
        caller.http.close()
    finally:
        process.terminate()
        assert process.wait(10) == 0, log.read_text()
