"""Cameras by other software: ffmpeg and GStreamer in processes, and an HTTP server in a thread."""

from __future__ import annotations

import base64
import hashlib
import http.server
import os
import re
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
        self.challenges: list[str] = []
        self.elsewhere = "192.0.2.7"
        self.raw = b""

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


def fields_of(header: str) -> dict[str, str]:
    """The parameters of a challenge or an answer."""
    found = re.findall(r'(\w+)=(?:"((?:\\.|[^"\\])*)"|([^,\s]*))', header)
    return {name: re.sub(r"\\(.)", r"\1", quoted) or bare for name, quoted, bare in found}


def answers(challenge: str, given: str, path: str, method: str = "GET") -> bool:
    """Whether an `Authorization` header answers the challenge (RFC 7616, 3.4)."""
    if challenge.startswith("Basic"):
        return given == "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    asked, got = fields_of(challenge), fields_of(given)
    algorithm = asked.get("algorithm", "MD5")
    name = {"MD5": "md5", "SHA-256": "sha256", "SHA-512-256": "sha512_256"}[algorithm.removesuffix("-sess")]

    def digest(*parts: str) -> str:
        return hashlib.new(name, ":".join(parts).encode("latin-1")).hexdigest()

    if got.get("nonce") != asked["nonce"] or got.get("uri") != path or got.get("username") != USER:
        return False
    secret = digest(USER, asked["realm"], PASSWORD)
    if algorithm.endswith("-sess"):
        secret = digest(secret, got["nonce"], got["cnonce"])
    quality = got.get("qop", "")
    if quality not in asked.get("qop", "").split(",") or got.get("opaque") != asked.get("opaque"):
        return False
    what = digest(method, path, digest("")) if quality == "auth-int" else digest(method, path)
    middle = [got["nc"], got["cnonce"], quality] if quality else []
    return got["response"] == digest(secret, got["nonce"], *middle, what)


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

    def get_challenge(self) -> None:
        """A login as RFC 7616 and RFC 7617 have it, for the last of the server's challenges that is known."""
        if answers(self.server.challenges[-1], self.headers.get("Authorization", ""), self.path):
            self._answer(200, self.server.picture)
            return
        self.send_response(401)
        for challenge in self.server.challenges:
            self.send_header("WWW-Authenticate", challenge)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def get_hangup(self) -> None:
        """A refusal, and an end of the connection when the next request has come over it."""
        self.get_basic()
        if "Authorization" not in self.headers:
            self.rfile.readline()
            self.close_connection = True

    def get_unknown_digest(self) -> None:
        self._answer(401, b"", WWW_Authenticate='Digest realm="c", nonce="n", algorithm=WHIRLPOOL, qop="auth"')

    def get_redirect(self) -> None:
        self._answer(302, b"", Location="/basic")

    def get_absolute(self) -> None:
        self._answer(301, b"", Location=f"http://{self.server.at}/basic")

    def get_elsewhere(self) -> None:
        self._answer(302, b"", Location=f"http://{self.server.elsewhere}/open?token=s3cret")

    def get_loop(self) -> None:
        self._answer(302, b"", Location=self.path)

    def get_forbidden(self) -> None:
        self._answer(403, b"no")

    def get_busy(self) -> None:
        self._answer(503, b"no")

    def get_page(self) -> None:
        self._answer(200, b"<html>log in</html>", "text/html")

    def get_empty(self) -> None:
        self._answer(200, b"")

    def get_half(self) -> None:
        self._answer(200, self.server.picture[:800])

    def get_leading(self) -> None:
        self._answer(200, b"\r\n" + self.server.picture)

    def get_trailing(self) -> None:
        self._answer(200, self.server.picture + bytes(2000))

    def get_long(self) -> None:
        """A length that is two bytes too large: a client that believes it waits."""
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.picture) + 2))
        self.end_headers()
        self.wfile.write(self.server.picture)
        self.server.released.wait(30)

    def _unbounded(self, kind: str, times: int, before: bytes = b"", body: bytes = b"") -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.close_connection = True
        while times and not self.server.released.wait(0.02):
            self.wfile.write(before + (body or self.server.picture))
            times -= 1

    def get_no_length(self) -> None:
        self._unbounded("image/jpeg", 1)

    def get_endless(self) -> None:
        self._unbounded("image/jpeg", -1)

    def get_octets(self) -> None:
        self._unbounded("application/octet-stream", -1, b"--x\r\nContent-Length: 0\r\n\r\n")

    def get_single(self) -> None:
        self._unbounded("multipart/x-mixed-replace; boundary=x", 1, b"--x\r\n\r\n")

    def get_every_second_cut(self) -> None:
        """Each second picture ends after its headers and a tenth of its data."""
        head = b"--x\r\nContent-Length: 99\r\n\r\n"
        cut = head + self.server.picture[:700] + head + self.server.picture
        self._unbounded("multipart/x-mixed-replace; boundary=x", -1, body=cut)

    def get_without_ends(self) -> None:
        self._unbounded("multipart/x-mixed-replace; boundary=x", -1, b"--x\r\n\r\n", self.server.picture[:-2])

    def get_chunked(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for at in range(0, len(self.server.picture), 500):
            chunk = self.server.picture[at : at + 500]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        self.wfile.write(b"0\r\n\r\n")

    def get_odd_header(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n")
        self.close_connection = True

    def get_raw(self) -> None:
        self.wfile.write(self.server.raw)
        self.close_connection = True

    def get_junk(self) -> None:
        self._unbounded("image/jpeg", 40, body=bytes(1 << 20))

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
        self.wfile.write(self.server.picture[:-2])
        while not self.server.released.is_set():
            self.wfile.write(bytes(1 << 20))

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
