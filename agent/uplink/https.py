"""The sink over pinned HTTPS: `POST /v1/hello`, `/v1/alerts`, `/v1/status`, msgpack bodies, bearer key."""

from __future__ import annotations

import asyncio

from agent.errors import EdgeError, SinkError
from agent.uplink.address import SinkAddress
from agent.uplink.ledger import EgressLedger
from agent.uplink.outcome import Answer, Kind, Outcome, Verdict, judge
from agent.uplink.wire import PinMismatch, PinnedConnection

ANSWER_TIMEOUT = 30.0
"""Seconds for one request and its answer, besides a second for each SLOWEST bytes of it."""
AT_ONCE = 4
SLOWEST = 16 * 1024
"""A line of 128 kbit/s."""
_PATHS: dict[Kind, str] = {"alert": "/v1/alerts", "status": "/v1/status", "hello": "/v1/hello"}


class HttpsClient:
    """Keeps its connections open between requests, one for each request that is under way at the same time; each
    request leaves a row in the ledger, a failed request too.
    """

    at_once = AT_ONCE

    def __init__(
        self, address: SinkAddress, key: str, ledger: EgressLedger, *, answer_timeout: float = ANSWER_TIMEOUT
    ) -> None:
        self.address = address
        self._headers = [("authorization", f"Bearer {key}"), ("content-type", "application/msgpack")]
        self._ledger = ledger
        self._timeout = answer_timeout
        self._idle: list[PinnedConnection] = []

    async def send(self, kind: Kind, body: bytes, event_id: str = "") -> Outcome:
        """See SinkClient."""
        kept = await self._kept()
        outcome, answer = await self._once(kept, kind, body, event_id)
        if kept is not None and answer is None and outcome.verdict is Verdict.DOWN:
            # A kept connection may have been closed by the sink meanwhile; ids make the second try harmless.
            outcome, answer = await self._once(None, kind, body, event_id)
        return outcome if answer is None else judge(answer, event_id)

    async def aclose(self) -> None:
        """See SinkClient."""
        while self._idle:
            await self._end(self._idle.pop())

    async def _kept(self) -> PinnedConnection | None:
        """An earlier connection that the sink has not closed; the others are closed here too."""
        while self._idle:
            connection, good = self._idle.pop(), False
            try:
                good = not await connection.stale()
            finally:
                if not good:
                    await self._end(connection)
            if good:
                return connection
        return None

    async def _once(
        self, connection: PinnedConnection | None, kind: Kind, body: bytes, event_id: str
    ) -> tuple[Outcome, Answer | None]:
        answer: Answer | None = None
        outcome = Outcome(Verdict.DOWN, "interrupted")
        try:
            if connection is None:
                connection = PinnedConnection(self.address)
                await connection.open()
            async with asyncio.timeout(self._timeout + len(body) / SLOWEST):
                answer = await connection.request("POST", _PATHS[kind], self._headers, body)
            outcome = Outcome(Verdict.STORED, f"HTTP {answer.status}")
        except PinMismatch as e:
            outcome = Outcome(Verdict.DENIED, e.message, code=e.code)
        except SinkError as e:
            outcome = Outcome(Verdict.RETRY, e.message)
        except TimeoutError:
            outcome = Outcome(Verdict.RETRY, "the sink did not answer in time")
        except EdgeError as e:
            outcome = Outcome(Verdict.DOWN, e.message)
        finally:
            if connection is not None:
                self._book(connection, kind, event_id, outcome.reason)
                if answer is not None and connection.reusable():
                    self._idle.append(connection)
                else:
                    await connection.close()
        return outcome, answer

    async def _end(self, connection: PinnedConnection) -> None:
        await connection.close()
        self._book(connection, "close", "", "ok")

    def _book(self, connection: PinnedConnection, kind: str, event_id: str, result: str) -> None:
        self._ledger.book(connection.meter, kind=kind, event_id=event_id, sink=self.address.url, result=result)
