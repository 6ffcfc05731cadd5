"""A signal for services that depend on pipelines, labels and live nodes, so that they do not look every second."""

from __future__ import annotations

import asyncio

from agent import ticks


class Listener:
    """Waits for the signal, or for some seconds."""

    def __init__(self) -> None:
        self._sent = asyncio.Event()

    def wake(self) -> None:
        """End the present wait, or the next one where nothing waits now."""
        self._sent.set()

    async def wait(self, seconds: float) -> None:
        """Wait until the signal is sent, `seconds` at most."""
        await ticks.wait(self._sent, ticks.until(seconds))
        self._sent.clear()


class ChangeSignal:
    """Is sent when a pipeline or a node changed."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    def listen(self) -> Listener:
        """A new listener; each service needs one."""
        self._listeners.append(Listener())
        return self._listeners[-1]

    def send(self) -> None:
        """Wake all listeners."""
        for listener in self._listeners:
            listener.wake()
