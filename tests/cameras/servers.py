"""Cameras by other software: ffmpeg and GStreamer in processes, and an HTTP server in a thread."""

from __future__ import annotations

import base64
import hashlib
import http.server
import os
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

HERE = Path(__file__).parent
USER, PASSWORD = "viewer", "p@ss/word"
URL_LOGIN = "viewer:p%40ss%2Fword"


def free_port() -> int:
    """A TCP port of the loopback that is free now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


class Server:
    """A server process; `kill` is a power cut, `stop` a hang."""

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
        )

    def kill(self) -> None:
        """SIGKILL, and wait for it to be gone."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()

    def stop(self) -> None:
        """SIGSTOP: connections stay open, nothing moves."""
        os.killpg(self.process.pid, signal.SIGSTOP)


@contextmanager
def rtsp_server(port: int) -> Iterator[Server]:
    """GStreamer's RTSP server with /jpeg, /h264 and /dark."""
    server = Server(["/usr/bin/python3", str(HERE / "rtsp_server.py"), str(port), USER, PASSWORD])
    try:
        assert server.process.stdout is not None
        assert server.process.stdout.readline() == b"READY\n", "the system's python3 needs gir1.2-gst-rtsp-server-1.0"
        yield server
    finally:
        server.kill()


@contextmanager
def mjpeg_server(port: int) -> Iterator[Server]:
    """ffmpeg serving one client an MJPEG stream at /cam."""
    ffmpeg = shutil.which("ffmpeg")
    assert ffmpeg, "these tests need ffmpeg"
    server = Server(
        [
            *(ffmpeg, "-loglevel", "quiet", "-re", "-f", "lavfi", "-i", "testsrc=size=640x360:rate=25"),
            *("-c:v", "mjpeg", "-q:v", "3", "-f", "mpjpeg"),
            *("-content_type", "multipart/x-mixed-replace;boundary=ffmpeg", "-listen", "1"),
            f"http://127.0.0.1:{port}/cam",
        ]
    )
    try:
        _listening(port)
        yield server
    finally:
        server.kill()


def _listening(port: int) -> None:
    """Wait for a listener without connecting to it: it takes one client only."""
    wanted = f":{port:04X} 00000000:0000 0A"
    end = time.monotonic() + 10
    while wanted not in Path("/proc/net/tcp").read_text():
        assert time.monotonic() < end, "the server does not listen"
        time.sleep(0.01)


def make_video(path: Path, seconds: float = 2.0) -> None:
    """A small H.264 or MPEG-4 file by ffmpeg."""
    subprocess.run(
        ["ffmpeg", "-loglevel", "error", "-f", "lavfi", "-i", "testsrc=size=320x240:rate=10", "-t", str(seconds), path],
        check=True,
        stdin=subprocess.DEVNULL,
    )


class Snapshots(http.server.ThreadingHTTPServer):
    """A snapshot camera. Paths: /open, /basic, /digest, and ways to misbehave."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, picture: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.picture = picture
        self.released = threading.Event()
        self.requests: list[str] = []

    @property
    def at(self) -> str:
        """127.0.0.1:PORT"""
        return f"127.0.0.1:{self.server_address[1]}"


def self_signed(folder: Path) -> ssl.SSLContext:
    """A self-signed certificate, as cameras have."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "camera")])
    start = datetime(1970, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, start, start + timedelta(days=36500))
    certificate = builder.sign(key, hashes.SHA256())
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ) + certificate.public_bytes(serialization.Encoding.PEM)
    (folder / "camera.pem").write_bytes(pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "camera.pem")
    return context


@contextmanager
def snapshot_server(picture: bytes, tls: ssl.SSLContext | None = None) -> Iterator[Snapshots]:
    """An HTTP server with snapshots."""
    server = Snapshots(picture)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Snapshots

    def log_message(self, format: str, *args: object) -> None: ...

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        with suppress(OSError):
            getattr(self, "get_" + self.path.strip("/").partition("?")[0], self.get_missing)()

    def _answer(self, status: int, body: bytes, kind: str = "image/jpeg", **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def get_missing(self) -> None:
        self._answer(404, b"no")

    def get_open(self) -> None:
        self._answer(200, self.server.picture)

    def get_basic(self) -> None:
        given = self.headers.get("Authorization", "")
        good = given == "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        self._answer(200, self.server.picture) if good else self._answer(401, b"", WWW_Authenticate='Basic realm="c"')

    def get_digest(self) -> None:
        given = self.headers.get("Authorization", "")
        fields = dict(part.strip().split("=", 1) for part in given.removeprefix("Digest ").split(",") if "=" in part)
        fields = {k: v.strip('"') for k, v in fields.items()}

        def md5(text: str) -> str:
            return hashlib.md5(text.encode()).hexdigest()

        key = md5(f"{USER}:cam:{PASSWORD}"), md5(f"GET:{self.path}")
        middle = [fields.get(k, "") for k in ("nonce", "nc", "cnonce", "qop")]
        if fields.get("response") == md5(":".join([key[0], *middle, key[1]])):
            self._answer(200, self.server.picture)
        else:
            self._answer(401, b"", WWW_Authenticate='Digest realm="cam", nonce="abc", qop="auth", algorithm=MD5')

    def get_redirect(self) -> None:
        self._answer(302, b"", Location="/open")

    def get_page(self) -> None:
        self._answer(200, b"<html>log in</html>", "text/html")

    def get_cut(self) -> None:
        self._answer(200, self.server.picture[:-40])

    def get_short(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.picture)))
        self.end_headers()
        self.wfile.write(self.server.picture[:1000])
        self.close_connection = True

    def get_huge(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.close_connection = True
        while not self.server.released.is_set():
            self.wfile.write(b"\xff\xd8" + bytes(1 << 20))

    def get_silent(self) -> None:
        self.server.released.wait(30)

    def get_drip(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.close_connection = True
        while not self.server.released.wait(0.05):
            self.wfile.write(b"\xff")

    def get_stream(self) -> None:
        """Parts without a length, with dashes in the parameter, as many cameras send them."""
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=--frame")
        self.end_headers()
        self.close_connection = True
        while not self.server.released.wait(0.02):
            self.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\n\r\n" + self.server.picture + b"\r\n")
