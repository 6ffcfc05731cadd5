"""The worker's side of a worker process: it answers one message after another on a socket and ends with its parent.

A message is a 4-byte big-endian length and that many bytes. The parent's side is `agent.children`; this side imports
no asyncio, which would cost each worker 4 MB.
"""

from __future__ import annotations

import ctypes
import select
import signal
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

HEADER = struct.Struct(">I")
MAX_MESSAGE = 64 << 20
"""Longest message in bytes, either way."""
PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Have the kernel kill this process when its parent ends; Ctrl-C on a terminal is left to the parent."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def outliving_parent(seconds: float) -> Iterator[None]:
    """Within the block this process goes on where its parent ends, but gets SIGALRM after `seconds`."""
    prctl = ctypes.CDLL(None).prctl
    signal.setitimer(signal.ITIMER_REAL, seconds)
    prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0)
    try:
        yield
    finally:
        # Where the parent has ended meanwhile, the socket to it says so.
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)


def receive(link: socket.socket) -> bytearray | None:
    """The parent's next message; None when it has closed its end, even after a message: nobody wants the answer.

    Raises ValueError beyond MAX_MESSAGE, OSError.
    """
    header = _exactly(link, HEADER.size)
    if header is None:
        return None
    (size,) = HEADER.unpack(header)
    if size > MAX_MESSAGE:
        raise ValueError(f"a message of {size} bytes")
    message = _exactly(link, size)
    ended = select.poll()
    ended.register(link, 0)  # only the end of the other side
    return None if ended.poll(0) else message


def send(link: socket.socket, message: bytes) -> None:
    """Send one message; raises OSError."""
    link.sendall(HEADER.pack(len(message)) + message)


def _exactly(link: socket.socket, size: int) -> bytearray | None:
    data = bytearray(size)
    rest = memoryview(data)
    while rest:
        received = link.recv_into(rest)
        if not received:
            return None
        rest = rest[received:]
    return data
