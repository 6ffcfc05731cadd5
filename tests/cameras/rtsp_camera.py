"""An RTSP camera in the test's own loop that misbehaves as it is told; its pictures come from ffmpeg as RTP packets."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

from tests.cameras.servers import answers, free_port

SIZE = "320x240"
ENCODERS = {
    "h264": ["-c:v", "libx264", "-preset", "ultrafast", "-bf", "0", "-pix_fmt", "yuv420p"],
    "h265": [
        "-c:v",
        "libx265",
        "-preset",
        "ultrafast",
        "-pix_fmt",
        "yuv420p",
        "-x265-params",
        "log-level=none:bframes=0",
    ],
    "mjpeg": ["-c:v", "mjpeg", "-pix_fmt", "yuvj420p", "-huffman", "default"],
}


DESCRIPTION = "v=0\r\ns=-\r\nt=0 0\r\nm=video 0 RTP/AVP 26\r\nc=IN IP4 0.0.0.0\r\na=control:track1\r\n"
"""JPEG over RTP, which needs no parameters."""


class RtspCamera(asyncio.DatagramProtocol):
    """Serves rtsp://127.0.0.1:PORT/live. `lost(n)` says whether the n-th RTP packet never leaves the camera."""

    def __init__(
        self,
        *,
        codec: str = "h264",
        keyframe: int = 10,
        parameters: bool = True,
        transports: tuple[str, ...] = ("tcp", "udp"),
        challenges: tuple[str, ...] = (),
        statuses: dict[str, str] | None = None,
        stalls: str = "",
        redirect: str = "",
        lost: Callable[[int], bool] = lambda n: False,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.port = 0
        self.requests: list[str] = []
        """The methods, with the transport of a SETUP."""
        self.packets = self.frames = 0
        self.off = asyncio.Event()
        self.lost = lost
        self.stalls = stalls
        self.redirect = redirect
        self.o = SimpleNamespace(
            codec=codec, keyframe=keyframe, parameters=parameters, transports=transports, challenges=challenges,
            statuses=statuses or {}, tls=tls,
        )  # fmt: skip
        self._sdp = DESCRIPTION
        self._players: set[_Player] = set()
        self.clients: set[asyncio.StreamWriter] = set()

    def datagram_received(self, data: bytes, addr: object) -> None:
        """A packet from ffmpeg: to all players, unless it is lost."""
        if data[1] & 0x7F in range(72, 77):
            return
        self.packets += 1
        if not self.lost(self.packets):
            for player in tuple(self._players):
                player.rtp(data)
        self.frames += data[1] >> 7  # the marker of a frame's last packet

    @property
    def played(self) -> bool:
        """Whether a client gets the packets."""
        return bool(self._players)

    async def describe(self, folder: Path, port: int) -> asyncio.subprocess.Process:
        """Start ffmpeg and read the description of its stream."""
        file = folder / "sdp"
        every, header = str(self.o.keyframe), ["-flags", "+global_header"] if self.o.parameters else []
        command = [
            *("ffmpeg", "-nostdin", "-loglevel", "error", "-re", "-f", "lavfi", "-i", f"testsrc=size={SIZE}:rate=25"),
            *(*ENCODERS[self.o.codec], *header, "-g", every, "-keyint_min", every, "-sc_threshold", "0"),
            *("-sdp_file", str(file), "-f", "rtp", f"rtp://127.0.0.1:{port}?pkt_size=800"),
        ]
        ffmpeg = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.DEVNULL)
        while not file.exists() or "a=" not in file.read_text():
            await asyncio.sleep(0.01)
        lines = [line for line in file.read_text().splitlines() if line and not line.startswith("SDP:")]
        text = re.sub(r"m=video \d+", "m=video 0", "\r\n".join(lines))
        if not self.o.parameters:
            text = re.sub(r";? ?sprop-[a-z-]+=[^;\r\n]*", "", text)
        self._sdp = text + "\r\na=control:track1\r\n"
        return ffmpeg

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client's requests."""
        player = _Player(writer)
        self.clients.add(writer)
        try:
            while True:
                head = await _request(reader)
                method, url, _ = head.split("\r\n", 1)[0].split(" ", 2)
                fields = {
                    k.strip().lower(): v.strip() for k, _, v in (x.partition(":") for x in head.split("\r\n")[1:])
                }
                transport = fields.get("transport", "")
                self.requests.append(method + (" tcp" if "interleaved" in transport else " udp" if transport else ""))
                if self.stalls == method:
                    await self.off.wait()
                    return
                status, more, body = await self._answer(method, url, fields, player)
                length = f"Content-Length: {len(body)}\r\n" if body else ""
                writer.write(
                    f"RTSP/1.0 {status}\r\nCSeq: {fields.get('cseq', '0')}\r\n{more}{length}\r\n{body}".encode(
                        "latin-1"
                    )
                )
                await writer.drain()
                if method == "PLAY" and status.startswith("200") and self.stalls != "RTP":
                    self._players.add(player)
                if method == "TEARDOWN":
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            self._players.discard(player)
            self.clients.discard(writer)
            player.close()

    async def _answer(self, method: str, url: str, fields: dict[str, str], player: _Player) -> tuple[str, str, str]:
        if method == "OPTIONS":
            return "200 OK", "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n", ""
        given = fields.get("authorization", "")
        if self.o.challenges and not answers(self.o.challenges[-1], given, url, method):
            return "401 Unauthorized", "".join(f"WWW-Authenticate: {c}\r\n" for c in self.o.challenges), ""
        if method in self.o.statuses:
            return self.o.statuses[method], "", ""
        if method == "DESCRIBE" and self.redirect and not url.endswith("/moved"):
            return "302 Moved", f"Location: {self.redirect}\r\n", ""
        if method == "DESCRIBE":
            return "200 OK", f"Content-Base: {url}/\r\nContent-Type: application/sdp\r\n", self._sdp
        if method != "SETUP":
            return "200 OK", "Session: 77\r\n", ""
        over = "tcp" if "interleaved" in fields["transport"] else "udp"
        if over not in self.o.transports:
            return "461 Unsupported Transport", "", ""
        if over == "tcp":
            return "200 OK", "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 77\r\n", ""
        match = re.search(r"client_port=(\d+)", fields["transport"])
        assert match
        own = await player.over_udp(int(match[1]))
        ports = f"client_port={match[1]}-{int(match[1]) + 1};server_port={own}-{own + 1}"
        return "200 OK", f"Transport: RTP/AVP;unicast;{ports}\r\nSession: 77\r\n", ""


class _Player:
    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._udp: asyncio.DatagramTransport | None = None
        self._to = ("127.0.0.1", 0)

    def rtp(self, data: bytes) -> None:
        if self._udp is not None:
            self._udp.sendto(data, self._to)
        elif not self._writer.is_closing():
            self._writer.write(b"$\0" + len(data).to_bytes(2, "big") + data)

    async def over_udp(self, port: int) -> int:
        loop = asyncio.get_running_loop()
        self._udp, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0))
        self._to = ("127.0.0.1", port)
        return int(self._udp.get_extra_info("sockname")[1])

    def close(self) -> None:
        self._writer.transport.abort()
        if self._udp is not None:
            self._udp.close()


async def _request(reader: asyncio.StreamReader) -> str:
    """The head of the next request; interleaved packets from the client are skipped."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = await reader.readexactly(1)
        if byte == b"$" and not head:
            rest = await reader.readexactly(3)
            await reader.readexactly(int.from_bytes(rest[1:], "big"))
        else:
            head += byte
    return head.decode("latin-1")


@asynccontextmanager
async def rtsp_camera(*, source: bool = True, **options: object) -> AsyncIterator[RtspCamera]:
    """A camera with RtspCamera's options, switched on; without `source` its stream has a description and no pictures."""
    camera = RtspCamera(**options)  # type: ignore[arg-type]
    loop, port = asyncio.get_running_loop(), free_port()
    packets, _ = await loop.create_datagram_endpoint(lambda: camera, local_addr=("127.0.0.1", port))
    with TemporaryDirectory() as folder:
        ffmpeg = await camera.describe(Path(folder), port) if source else None
        server = await asyncio.start_server(camera.serve, "127.0.0.1", 0, ssl=camera.o.tls)
        camera.port = server.sockets[0].getsockname()[1]
        try:
            yield camera
        finally:
            if ffmpeg is not None:
                ffmpeg.kill()
                await ffmpeg.wait()
            packets.close()
            server.close()
            camera.off.set()
            for writer in tuple(camera.clients):
                writer.transport.abort()
            while camera.clients:
                await asyncio.sleep(0)
