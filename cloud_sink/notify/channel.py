"""The interface of a channel, and the error that asks for a retry."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from cloud_sink.incidents import Incident, Picture
from cloud_sink.notify.queue import Pending
from cloud_sink.store.models import Report


class Later(Exception):
    """Try again after `seconds` (0: the usual backoff). `maybe_posted`: the message may have arrived."""

    def __init__(self, reason: str, seconds: float = 0.0, *, maybe_posted: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.seconds, self.maybe_posted = reason, seconds, maybe_posted


@dataclass(frozen=True)
class Books:
    """The queue's functions that a channel may call while it works.

    `keep_files` stores the ids of uploaded files. `posting` stores that the first message is under way. `picture` gives
    a photo's JPEG with its boxes drawn in, or empty bytes when the photo cannot be read: the message goes without it.
    """

    keep_files: Callable[[dict[str, str]], Awaitable[None]]
    posting: Callable[[bool], Awaitable[None]]
    picture: Callable[[Picture], Awaitable[bytes]]


class Channel(Protocol):
    """One place where incidents and reports are shown."""

    name: str

    async def show(self, pending: Pending, incident: Incident, books: Books) -> str:
        """Show the incident, or update its message; returns the message's id. Raises Later."""
        ...

    async def tell(self, pending: Pending, report: Report, books: Books) -> str:
        """Post a report, unless it is posted already; returns the message's id. Raises Later."""
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...
