"""Losses in a stream, as FFmpeg's messages tell them: OpenCV gives a smeared picture like any other."""

from __future__ import annotations

import ctypes
import fcntl
import os
import re
import time
from contextlib import suppress

LOST = re.compile(
    rb"RTP: missed|error while decoding|concealing|Could not find ref|Error constructing the frame|Missing reference"
    rb"|slice too large|damaged|corrupt"
)
GAP = re.compile(rb"Frame num gap")
"""A missing frame of H.264, or the camera's way: some number their frames so."""
KEY_UNIT = re.compile(rb"nal_unit_type: (?:5\(IDR\)|\d+\((?:CRA|IDR|BLA)\w*\))")
"""The beginning of a key frame of H.264 or H.265; decoding follows the list of a frame's units."""
GAP_PATIENCE = 5.0
"""Seconds after which gaps alone count as the camera's way."""
FORGET = 30.0
"""Seconds without a loss after which a stream without key frames is good again: it renews its picture bit by bit."""
KEY, BOTH_WAYS = ord("I"), ord("B")
REORDER = 4
"""Frames that may come out between a loss and its effect where frames are reordered."""
_REFUSED = re.compile(rb"method SETUP failed: 461")
_FAILED = re.compile(rb"method (\w+) failed: (\d{3})")
_INTERRUPTED = b"Immediate exit requested"
_SLICE = re.compile(rb"nal_unit_type: (?:[0-5]|1\d|2[01])\(")
"""A part of a picture of H.264 or H.265, as opposed to parameters."""
_CODES = {
    401: "camera.password", 403: "camera.denied", 404: "camera.not-found", 410: "camera.not-found",
    453: "camera.busy", 503: "camera.busy",
}  # fmt: skip


PIPE = 1 << 20
"""Bytes of messages that wait: those of 20 s before the first key frame."""


class Messages:
    """FFmpeg's messages, which OpenCV prints: from now on into a pipe. They name addresses, so they go nowhere else.

    A full pipe drops messages: the reader takes them with each frame.
    """

    def __init__(self) -> None:
        self._read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        with suppress(OSError):
            fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, PIPE)
        os.dup2(write, 1)
        os.close(write)
        self._c = ctypes.CDLL(None)

    def take(self) -> bytes:
        """The messages since the last call."""
        found = bytearray()
        self._c.fflush(None)
        with suppress(BlockingIOError):
            while chunk := os.read(self._read, 65536):
                found += chunk
        return bytes(found)


def why_closed(messages: bytes) -> tuple[str, str]:
    """Why a source could not be opened, as far as FFmpeg's messages tell it, and the code of this error."""
    if len(_REFUSED.findall(messages)) >= 2:
        return "it offers its stream neither over TCP nor over UDP", "camera.transport"
    if answers := _FAILED.findall(messages):
        method, status = answers[-1]
        return f"it answers {method.decode()} with RTSP {status.decode()}", _CODES.get(int(status), "camera.answer")
    if _INTERRUPTED in messages:
        return "it stops answering while its stream is opened", "camera.timeout"
    return "it cannot be opened", "camera.stream"


def udp_alone(messages: bytes) -> bool:
    """Whether the camera has refused TCP, and nothing of a picture has come over UDP."""
    return len(_REFUSED.findall(messages)) == 1 and not _SLICE.search(messages)


class Losses:
    """Whether the pictures of a stream are whole: not from a loss on, until the next key frame."""

    def __init__(self) -> None:
        self.damaged = False
        self._since = self._last = 0.0
        self._hard = False
        self._frames = 0
        self._reorders = False
        self._first = True
        self._gaps_are_normal = False

    def frame(self, messages: bytes, kind: int, now: float | None = None) -> None:
        """A frame came out; `messages` are those of its decoding, `kind` is the letter of its type (I, P or B)."""
        now = time.monotonic() if now is None else now
        self._frames += 1
        self._reorders |= kind == BOTH_WAYS
        if kind == KEY:  # losses before it do no harm; before the first frame there is nothing else
            before, *after = KEY_UNIT.split(messages)
            messages = after[-1] if after else b"" if self._first else before
        self._first = False
        hard = LOST.search(messages) is not None
        if hard or (not self._gaps_are_normal and GAP.search(messages)):
            if not self.damaged:
                self.damaged, self._since, self._hard = True, now, False
            self._hard |= hard
            self._last, self._frames = now, 0
        elif self.damaged:
            key = kind == KEY and (not self._reorders or self._frames >= REORDER)
            if key or now - self._last > FORGET:
                self.damaged = False
        if self.damaged and not self._hard and now - self._since > GAP_PATIENCE:
            self.damaged, self._gaps_are_normal = False, True
