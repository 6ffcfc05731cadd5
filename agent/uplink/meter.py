"""Bytes on the wire of one connection."""

from __future__ import annotations


class Meter:
    """Bytes up and down since the connection was made, TLS included."""

    def __init__(self) -> None:
        self.up = self.down = 0
        self._told = (0, 0)

    def spent(self) -> tuple[int, int]:
        """Bytes up and down since the last call."""
        told, self._told = self._told, (self.up, self.down)
        return self.up - told[0], self.down - told[1]
