"""Log streams: lines of executions, published in small signed batches, followed from any node."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import msgspec
import zenoh

from agent.errors import EdgeError, NotFound, Refused
from agent.mesh import wire
from agent.mesh.certificates import Certificates
from agent.mesh.limits import Refusals, fitting
from agent.mesh.loop import soon
from agent.mesh.session import MeshSession
from agent.mesh.wire import Keys, LogBatch, Sealed

logger = logging.getLogger(__name__)

MAX_LINE = 32 << 10
"""Longest line in bytes; lines are often JSON, and a part of a JSON document is useless."""
MAX_LINES = 500
"""Lines of one execution that wait for the next batch; more are dropped and leave a gap in the numbers."""
MAX_STREAMS = 1000
QUEUE = 2000
QUEUE_BYTES = 16 << 20
"""Batches and bytes of them that wait for one consumer; more are dropped."""
MAX_SOURCES = 1000
"""Most (sender, boot) pairs for which a consumer of all nodes counts lines."""
_FLUSH_SECONDS = 0.05


class LogLine(NamedTuple):
    """A line, the id of the node that published it, and how many of that node's lines before it were lost: on the way, or
    because the consumer was too slow.
    """

    node: str
    text: str
    lost: int = 0


class _Stream(msgspec.Struct):
    lines: list[str] = []
    first: int = 0
    total: int = 0


class LogStreams:
    """Publishes and follows log lines. Use it on one event loop."""

    def __init__(
        self, session: MeshSession, certificates: Certificates, boot: str, keys: Keys, refusals: Refusals
    ) -> None:
        self._session, self._certificates, self._boot, self._keys = session, certificates, boot, keys
        self._refusals = refusals
        self._streams: dict[str, _Stream] = {}
        self._wake = asyncio.Event()

    def publish(self, execution: str, line: str) -> None:
        """Publish one line of an execution; batches go out a moment later. Raises NotFound for a malformed
        execution id and Refused (`too-large`) for a line over MAX_LINE.
        """
        if len(line) > MAX_LINE or len(line.encode()) > MAX_LINE:
            raise Refused(f"a line of an execution has at most {MAX_LINE} bytes", code="too-large")
        if not wire.WORD.match(execution):
            raise NotFound(f"{execution!r} is not an execution")
        stream = self._streams.get(execution)
        if stream is None:
            if len(self._streams) >= MAX_STREAMS:
                self._streams.pop(next(iter(self._streams)))
            stream = self._streams[execution] = _Stream()
        if not stream.lines:
            stream.first = stream.total
        stream.total += 1
        if len(stream.lines) < MAX_LINES:
            stream.lines.append(line)
            self._wake.set()
        else:
            self._refusals.note("log lines over the rate", execution)

    async def run(self) -> None:
        """Send published lines until cancelled."""
        while True:
            await self._wake.wait()
            await asyncio.sleep(_FLUSH_SECONDS)
            self._wake.clear()
            for execution, stream in self._streams.items():
                lines, stream.lines = stream.lines, []
                first = stream.first
                while lines:
                    count = fitting((len(line.encode()) + 8 for line in lines), wire.MAX_LOG // 2)
                    self._send(execution, first, lines[:count])
                    first, lines = first + count, lines[count:]

    def _send(self, execution: str, first: int, lines: list[str]) -> None:
        identity = self._session.identity
        content = wire.encode(LogBatch(execution, identity.node_id, self._boot, first, lines))
        sealed = Sealed(content, identity.sign(wire.LOG + content), identity.cert_der)
        self._session.put(self._keys.log(execution), wire.encode(sealed))

    async def follow(self, execution: str, node: str = "") -> AsyncIterator[LogLine]:
        """The lines that are published from now on, by `node` alone where it is given; ends only when the
        consumer stops.
        """
        if not wire.WORD.match(execution):
            raise NotFound(f"{execution!r} is not an execution")
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[tuple[LogBatch, int]] = asyncio.Queue(QUEUE)
        waiting = 0

        def arrived(raw: bytes) -> None:
            nonlocal waiting
            if queue.full() or waiting + len(raw) > QUEUE_BYTES:
                return
            batch = self._opened(execution, node, raw)
            if batch is not None:
                waiting += len(raw)
                queue.put_nowait((batch, len(raw)))

        def on_sample(sample: Any) -> None:
            if len(sample.payload) <= wire.MAX_LOG:
                soon(loop, arrived, sample.payload.to_bytes())

        def declare(session: Any) -> Any:
            handler: Any = zenoh.handlers.Callback(on_sample, indirect=False)
            return session.declare_subscriber(self._keys.log(execution), handler)

        self._session.declare(declare)
        expected: dict[tuple[str, str], int] = {}
        try:
            while True:
                batch, size = await queue.get()
                waiting -= size
                if len(expected) >= MAX_SOURCES:
                    expected.clear()
                source = (batch.sender, batch.sender_boot)
                missing = batch.first - expected.get(source, batch.first)
                if missing < 0:
                    continue
                expected[source] = batch.first + len(batch.lines)
                for line in batch.lines:
                    yield LogLine(batch.sender, line, missing)
                    missing = 0
        finally:
            self._session.undeclare(declare)

    def _opened(self, execution: str, node: str, raw: bytes) -> LogBatch | None:
        try:
            sealed = wire.decode(Sealed, raw)
            batch = wire.decode(LogBatch, sealed.content)
            if batch.execution != execution or (node and batch.sender != node):
                return None
            self._certificates.verify(batch.sender, sealed, wire.LOG)
        except (EdgeError, msgspec.MsgspecError) as error:
            self._refusals.note("log lines that are forged or damaged")
            logger.debug("log lines of %s refused: %s", execution, error)
            return None
        return batch
