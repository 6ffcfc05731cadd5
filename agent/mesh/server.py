"""The answering side of signed requests: everything is checked before a handler sees a byte."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

import msgspec
import psutil
import zenoh

from agent.errors import EdgeError, IdentityError, NotFound, Refused
from agent.identity import Identity, PeerIdentity
from agent.mesh import wire
from agent.mesh.callbacks import Handler
from agent.mesh.certificates import Certificates
from agent.mesh.failures import to_failure
from agent.mesh.limits import Budget, Refusals
from agent.mesh.loop import soon
from agent.mesh.replay import ReplayGuard
from agent.mesh.send_pool import SendPool
from agent.mesh.session import is_panic
from agent.mesh.settings import MeshSettings
from agent.mesh.wire import Keys, Reply, Request, Sealed

logger = logging.getLogger(__name__)

MAX_WAITING = 2000
"""Most requests that wait to be checked; more are dropped without an answer."""
MAX_WAITING_BYTES = min(256 << 20, psutil.virtual_memory().total // 8)
"""Bytes of requests that may wait to be checked, less where memory is small: an access point has 128 MiB in all."""


class _Arrived:
    """A request as it arrived, copied out of zenoh's buffers."""

    __slots__ = ("attachment", "body", "digest", "query", "verb")

    def __init__(self, query: Any, verb: str, attachment: bytes, body: bytes, digest: bytes) -> None:
        self.query, self.verb, self.attachment, self.body, self.digest = query, verb, attachment, body, digest


class Server:
    """Serves verbs to validly signed requests that are meant for this boot of this node, each once."""

    def __init__(
        self,
        identity: Identity,
        *,
        certificates: Certificates,
        boot: str,
        keys: Keys,
        settings: MeshSettings,
        send_pool: SendPool,
    ) -> None:
        self.identity, self.keys, self.refusals = identity, keys, Refusals()
        self._certificates, self._boot, self._settings, self._send_pool = certificates, boot, settings, send_pool
        self._handlers: dict[str, tuple[Handler, int]] = {}
        self._guard = ReplayGuard()
        self._budgets: dict[str, Budget] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._lock = threading.Lock()
        self._waiting = self._waiting_bytes = 0

    def serve(self, verb: str, handler: Handler, *, limit: int) -> None:
        """Answer `verb` with `handler(peer, body)`; `limit` bounds the bodies of requests and replies in
        bytes.
        """
        if not wire.WORD.match(verb):
            raise ValueError(f"{verb!r} is not a verb")
        self._handlers[verb] = (handler, limit)

    def limit(self, verb: str) -> int:
        """The largest body of this verb's requests and replies in bytes."""
        return self._handlers.get(verb, (None, wire.MAX_BODY))[1]

    async def run(self) -> None:
        """Run handlers until cancelled; requests that come before or after are dropped."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            try:
                await asyncio.Event().wait()
            finally:
                self._tasks = None

    def declaration(self, loop: asyncio.AbstractEventLoop) -> Any:
        """The declaration for a session that makes requests arrive here."""
        key = self.keys.rpc(self.identity.node_id, "**")
        prefix = len(self.keys.rpc(self.identity.node_id, ""))

        def declare(session: Any) -> Any:
            callback: Any = zenoh.handlers.Callback(lambda q: self._on_query(loop, prefix, q), indirect=False)
            return session.declare_queryable(key, callback, complete=True)

        return declare

    async def call_here(self, verb: str, body: bytes) -> bytes:
        """Answer a call of this node to itself by the same handler, without the network."""
        handler, _ = self._handler(verb)
        return await handler(self._certificates.trust.peer(self.identity.cert_der), body)

    # In a zenoh thread ---------------------------------------------------------------------------------------

    def _on_query(self, loop: asyncio.AbstractEventLoop, prefix: int, query: Any) -> None:
        verb = str(query.key_expr)[prefix:]
        attachment, payload = query.attachment, query.payload
        size = len(payload) if payload is not None else 0
        if attachment is None or len(attachment) > wire.MAX_HEADER or size > self.limit(verb):
            query.drop()
            soon(loop, self.refusals.note, "request that is unsigned or too large")
            return
        with self._lock:
            full = self._waiting >= MAX_WAITING or self._waiting_bytes + size > MAX_WAITING_BYTES
            if not full:
                self._waiting += 1
                self._waiting_bytes += size
        if full:
            query.drop()
            soon(loop, self.refusals.note, "request while too many wait")
            return
        body = payload.to_bytes() if payload is not None else b""
        arrived = _Arrived(query, verb, attachment.to_bytes(), body, wire.digest(body))
        if not soon(loop, self._check, arrived):
            query.drop()

    # On the loop ---------------------------------------------------------------------------------------------

    def _check(self, arrived: _Arrived) -> None:
        with self._lock:
            self._waiting -= 1
            self._waiting_bytes -= len(arrived.body)
        try:
            self._admit(arrived)
        except (IdentityError, msgspec.MsgspecError) as error:
            self.refusals.note("request that is forged, damaged or not for this node")
            logger.debug("request %s refused: %s", arrived.verb, error)
            arrived.query.drop()

    def _admit(self, arrived: _Arrived) -> None:
        sealed = wire.decode(Sealed, arrived.attachment)
        request = wire.decode(Request, sealed.content)
        if (
            request.version != wire.VERSION
            or request.recipient != self.identity.node_id
            or request.verb != arrived.verb
            or request.digest != arrived.digest
        ):
            raise IdentityError("the header does not fit the request")
        if not sealed.certificate and not self._certificates.has(request.sender):
            self._answer(arrived, request, wire.STATUS_CERTIFICATE)
            return
        peer = self._certificates.verify(request.sender, sealed, wire.REQUEST)
        if request.recipient_boot != self._boot:
            self._answer(arrived, request, wire.STATUS_BOOT)
            return
        if not self._guard.accept(request.sender, request.sender_boot, request.counter):
            self.refusals.note("request seen before", request.sender)
            arrived.query.drop()
            return
        self._start(arrived, request, peer)

    def _start(self, arrived: _Arrived, request: Request, peer: PeerIdentity) -> None:
        budget = self._budgets.get(request.sender)
        if budget is None:
            budget = self._budgets[request.sender] = Budget(self._settings.call_rate, self._settings.calls_at_once)
        if limit := budget.take():
            self.refusals.note(f"request over the limit of {limit}", request.sender)
            busy = Refused(f"{self.identity.name} is at its limit of {limit}", hint="ask again later", code="busy")
            self._answer(arrived, request, wire.STATUS_ERROR, wire.encode(to_failure(busy)))
        elif self._tasks is None:
            arrived.query.drop()
        else:
            budget.running += 1
            self._tasks.create_task(self._handle(arrived, request, peer, budget))

    async def _handle(self, arrived: _Arrived, request: Request, peer: PeerIdentity, budget: Budget) -> None:
        answered = False
        try:
            status, body = await self._outcome(request, peer, arrived.body)
            answered = True
            self._answer(arrived, request, status, body, await wire.digest_aside(body))
        finally:
            budget.running -= 1
            if not answered:
                arrived.query.drop()

    async def _outcome(self, request: Request, peer: PeerIdentity, body: bytes) -> tuple[str, bytes]:
        try:
            handler, limit = self._handler(request.verb)
            answer = await handler(peer, body)
            if len(answer) > limit:
                raise Refused(f"the answer to {request.verb} has {len(answer)} bytes, over {limit}", code="too-large")
        except EdgeError as error:
            return wire.STATUS_ERROR, wire.encode(to_failure(error))
        except Exception:
            logger.exception("mesh: the handler of %s failed for %s", request.verb, peer.name)
            broken = EdgeError(f"{self.identity.name} failed to answer {request.verb}", hint="its log says why")
            return wire.STATUS_ERROR, wire.encode(to_failure(broken))
        return wire.STATUS_OK, answer

    def _handler(self, verb: str) -> tuple[Handler, int]:
        found = self._handlers.get(verb)
        if found is None:
            raise NotFound(f"{self.identity.name} does not know {verb}", hint="is its version older?", code="mesh.verb")
        return found

    def _answer(
        self, arrived: _Arrived, request: Request, status: str, body: bytes = b"", digest: bytes | None = None
    ) -> None:
        reply = Reply(
            wire.VERSION,
            self.identity.node_id,
            self._boot,
            request.sender,
            request.sender_boot,
            request.counter,
            status,
            digest or wire.digest(body),
        )
        content = wire.encode(reply)
        certificate = self.identity.cert_der if request.ask_certificate else b""
        attachment = wire.encode(Sealed(content, self.identity.sign(wire.REPLY + content), certificate))
        query = arrived.query

        def send() -> None:
            try:
                query.reply(query.key_expr, body, attachment=attachment, express=True)
            except zenoh.ZError as error:
                logger.debug("a reply could not be sent: %s", error)
            except BaseException as error:
                if not is_panic(error):
                    raise
                logger.error("mesh: a reply could not be sent, the session broke")
            finally:
                query.drop()

        self._send_pool.send(len(body) + len(attachment), send)
