"""Waking up what depends on pipelines, labels and who is there, instead of every service looking every second."""

from __future__ import annotations

import asyncio

from agent import ticks


class Listener:
    """Waits for the bell, or for a while."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Something changed."""
        self._rung.set()

    async def wait(self, seconds: float) -> None:
        """Until the bell rings, `seconds` at most."""
        await ticks.wait(self._rung, ticks.until(seconds))
        self._rung.clear()


class Bell:
    """Rung when a pipeline or a node changed."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    def listen(self) -> Listener:
        """A listener of its own for each service."""
        self._listeners.append(Listener())
        return self._listeners[-1]

    def ring(self) -> None:
        """Wake all who listen."""
        for listener in self._listeners:
            listener.ring()
