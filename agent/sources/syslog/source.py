"""Lines that other devices send: UDP, TCP and TLS, RFC 3164 and 5424, from allowed networks, within limits."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.errors import ConfigError, in_words
from agent.identity import Identity
from agent.sources.batch import Batch, Counters, Position, SenderCount
from agent.sources.mark import new_generation
from agent.sources.syslog.allow_list import EVERY, LOOPBACK, AllowList
from agent.sources.syslog.credentials import Credentials, Files
from agent.sources.syslog.datagrams import Datagrams
from agent.sources.syslog.decisions import Decisions
from agent.sources.syslog.inbox import MAX_WAITING, Inbox
from agent.sources.syslog.sockets import listening, parse_url
from agent.sources.syslog.streams import CONNECTIONS, Streams

CONNECTIONS_EACH = 128
"""Connections at once of one sender, by default: some relays open one for each message."""
RATE = 1000.0
"""Messages a second from one sender, by default."""
KEYS = ("syslog", "allow", "rate", "connections", "certificate", "key", "client_ca")
"""The keys of a receiver in a pipeline or the configuration."""
_HINT = 'write it like {syslog: "udp://:5514", allow: [192.168.1.0/24], rate: 1000}'


@dataclass(frozen=True)
class Reception:
    """The parts that the receivers of a node share: operators' decisions about senders, and the node's identity for TLS."""

    decisions: Decisions = field(default_factory=Decisions)
    identity: Callable[[], Identity] | None = None


class SyslogSource:
    """A receiver at `udp://HOST:PORT`, `tcp://HOST:PORT` or `tls://HOST:PORT` (no host: all interfaces).

    Received lines have no position; their ids come from a random generation and a count.
    """

    def __init__(
        self,
        url: str,
        *,
        allow: Sequence[str] = LOOPBACK,
        rate: float = RATE,
        connections: int = CONNECTIONS_EACH,
        files: Files | None = None,
        reception: Reception | None = None,
    ) -> None:
        """`allow` are networks, `rate` is in messages a second and `connections` at once, both for each sender.

        Raises ConfigError for an invalid address or network.
        """
        self.name = url
        self.problem = ""
        self.port = 0
        reception = reception or Reception()
        self._where = parse_url(url, _HINT)
        self._inbox = Inbox(url, AllowList(allow, reception.decisions), rate)
        self._credentials = Credentials(files or Files(), reception.identity) if self._where.scheme == "tls" else None
        self._connections = connections

    @classmethod
    def of(cls, spec: Mapping[str, Any], reception: Reception | None = None) -> SyslogSource:
        """The receiver that a pipeline or the configuration describes; raises ConfigError."""
        files = Files(*(spec.get(key, "") for key in Files._fields))
        allow = spec.get("allow", list(EVERY if files.client_ca else LOOPBACK))
        if (
            not isinstance(spec["syslog"], str)
            or not isinstance(allow, list)
            or not all(isinstance(a, str) for a in allow)
        ):
            raise ConfigError(f"{dict(spec)!r} is not a syslog receiver", hint=_HINT)
        rate, connections = spec.get("rate", RATE), spec.get("connections", CONNECTIONS_EACH)
        if isinstance(rate, bool) or not isinstance(rate, int | float) or rate <= 0:
            raise ConfigError(f"rate: {rate!r} is not a number of messages a second", hint=_HINT)
        if isinstance(connections, bool) or not isinstance(connections, int) or not 0 < connections <= CONNECTIONS:
            raise ConfigError(f"connections: {connections!r} is not in 1..{CONNECTIONS}", hint=_HINT)
        _check_files(spec["syslog"], files)
        return cls(
            spec["syslog"], allow=allow, rate=float(rate), connections=connections, files=files, reception=reception
        )

    @property
    def counters(self) -> Counters:
        """See LineSource."""
        return self._inbox.counters

    def senders(self) -> list[SenderCount]:
        """See LineSource."""
        return self._inbox.senders()

    async def batches(self, position: Position | None) -> AsyncIterator[Batch]:
        """Lines as they come; `position` is ignored. Raises ConfigError where the port or the certificate cannot be used."""
        generation, offset = new_generation(), 0
        async with self._listening():
            while True:
                await self._inbox.arrived.wait()
                data, senders = self._inbox.take()
                batch = Batch(generation, offset, data, None, senders=senders)
                offset += len(data)
                yield batch

    @contextlib.asynccontextmanager
    async def _listening(self) -> AsyncIterator[None]:
        if self._credentials is not None:
            self._credentials.context()
        try:
            sock = listening(self._where, MAX_WAITING)
        except OSError as error:
            hint = "another program or pipeline may use this port: choose another port"
            raise ConfigError(f"it cannot listen: {in_words(error)}", hint=hint) from error
        with sock:
            self.port = int(sock.getsockname()[1])
            if self._where.scheme == "udp":
                transport = await Datagrams(self._inbox).listen(sock)
                try:
                    yield
                finally:
                    transport.close()
                return
            context = self._credentials.context if self._credentials is not None else lambda: None
            accepting = asyncio.create_task(Streams(self._inbox, self._connections, context).run(sock))
            try:
                yield
            finally:
                accepting.cancel()
                await asyncio.wait([accepting])


def _check_files(url: str, files: Files) -> None:
    for name, path in files._asdict().items():
        if path and not (isinstance(path, str) and path.startswith("/")):
            raise ConfigError(f"{name}: {path!r} is not an absolute path", hint="write the path of a PEM file")
        if path and not url.startswith("tls://"):
            raise ConfigError(f"{name} is for tls://HOST:PORT, not for {url}", hint="write tls://, or remove it")
    if bool(files.certificate) != bool(files.key):
        raise ConfigError(
            "certificate and key belong together", hint="name both files, or none: then it is the node's own"
        )
