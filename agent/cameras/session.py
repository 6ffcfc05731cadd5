"""The interface of an open camera of any kind."""

from __future__ import annotations

from typing import Protocol

import msgspec

from agent.errors import CameraError


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

    async def frame(self) -> Frame:
        """A picture taken after this call. Raises CameraError. The caller bounds the time."""
        ...

    @property
    def alive(self) -> bool:
        """Whether it can give another picture without a new opening."""
        ...

    async def close(self) -> None:
        """Close the camera at once, even where it hangs."""
        ...


def failed(what: str, hint: str = "check its address, user and password, its power and its cable") -> CameraError:
    """A CameraError; the book adds the camera's name."""
    return CameraError(what, hint=hint)
