"""The interface of an open camera of any kind."""

from __future__ import annotations

from typing import Protocol

import msgspec

from agent.errors import CameraError

DAMAGED = "camera.damaged"
"""The code of a picture that is damaged: the next picture may be good."""


class Frame(msgspec.Struct, frozen=True):
    """One picture as JPEG, and the monotonic time in seconds when it was taken."""

    jpeg: bytes
    width: int
    height: int
    taken: float


class Session(Protocol):
    """An open camera; after any exception it must be closed."""

    async def open(self, timeout: float) -> None:
        """Open it. The caller bounds the time; `timeout` (seconds) is a hint. Raises CameraError."""
        ...

    async def frame(self, timeout: float) -> Frame:
        """A picture taken after this call. Raises CameraError. The caller bounds the time; `timeout` is a hint."""
        ...

    @property
    def alive(self) -> bool:
        """Whether it can give another picture without a new opening."""
        ...

    async def close(self) -> None:
        """Close the camera at once, even where it hangs."""
        ...


RULES = {
    "camera": "check its address, user and password, its power and its cable",
    "camera.address": "docs/cameras.md lists the usual addresses of vendors; the camera's manual has its own",
    "camera.answer": "is it a camera, and is the path of its address right? See docs/cameras.md",
    "camera.authentication": "switch Digest or Basic authentication on in the camera's settings",
    "camera.busy": "it serves too many viewers: close one, or raise the limit in the camera's settings",
    "camera.certificate": "where it signs its certificate itself: edge-agent camera add NAME - --insecure --replace",
    "camera.damaged": "check the cable or the Wi-Fi; for RTSP lower the camera's bit rate; edge-agent camera test NAME",
    "camera.denied": "may this user watch, or has the camera blocked it after wrong passwords? See its settings",
    "camera.ended": "check its power and its network; edge-agent camera test NAME",
    "camera.not-found": "check the path of its address: docs/cameras.md lists the usual paths of vendors",
    "camera.password": "add it again with the right password: edge-agent camera add NAME - --replace",
    "camera.permission": "the agent's user must be able to read it; for /dev/video…: add the user to the group video",
    "camera.picture": "is the path of its address that of a picture or a stream? See docs/cameras.md",
    "camera.redirect": "add it with that address: edge-agent camera add NAME - --replace",
    "camera.refused": "is the port right, and is RTSP or HTTP switched on in the camera's settings?",
    "camera.stream": "choose H.264, H.265 or MJPEG in the camera's settings; see docs/cameras.md",
    "camera.timeout": "check its power and its network; a slow camera: edge-agent camera add NAME - --warm --replace",
    "camera.too-large": "choose a smaller picture in the camera's settings",
    "camera.transport": "allow RTP over TCP in the camera's settings, or UDP from the camera in the firewall",
    "camera.unexpected": "report it with the agent's log; other cameras go on",
    "camera.unknown-host": "check the name, or write the camera's IP address",
    "camera.unreachable": "is this machine in the camera's network? See the routes and the firewall",
    "camera.worker": "try again; where it repeats, see the agent's log",
}
"""The hint of an error, by its code."""


def failed(what: str, code: str = "camera", hint: str = "") -> CameraError:
    """A CameraError with the hint of its code; the book adds the camera's name."""
    return CameraError(what, hint=hint or RULES[code], code=code)
