"""The cameras of this node as the camera step uses them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from agent.cameras import CameraBook, ShootFailed


class BookCameras:
    """The camera book with the two methods that the camera step needs."""

    def __init__(self, book: CameraBook) -> None:
        self._book = book

    def names(self) -> list[str]:
        """All cameras of this node."""
        return sorted(self._book.list())

    def about_labels(self, name: str) -> dict[str, Any]:
        """The members of a photo's data that conditions on labels read; raises NotFound."""
        return self._book.get(name).about_labels

    async def shoot(self, name: str, shots: int, every: float, taken: Callable[[Any], Awaitable[None]]) -> None:
        """Photos, each given to `taken` at once; raises CameraError when the camera gave none."""
        try:
            await self._book.shoot(name, shots, every, taken=taken)
        except ShootFailed as e:
            if not e.photos:
                raise
