"""Signed requests and replies between nodes.

Any member of the mesh could answer a zenoh query, so a request goes to all that listen, without
consolidation, and the first reply that the addressee validly signed counts. A signature covers recipient,
boot epochs, counter, verb and the body's hash.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable
from typing import Any

import msgspec
import zenoh

from agent.errors import EdgeError, IdentityError, Refused, Unreachable
from agent.mesh import wire
from agent.mesh.certificates import Certificates
from agent.mesh.failures import to_error
from agent.mesh.limits import Refusals
from agent.mesh.loop import soon
from agent.mesh.send_pool import SendPool
from agent.mesh.server import Server
from agent.mesh.session import MeshSession, is_panic
from agent.mesh.wire import Failure, Reply, Request, Sealed

logger = logging.getLogger(__name__)

MAX_REPLIES = 16
"""Most replies to one request that are checked; the addressee sends one."""
BULK_VERBS = ("blob.",)
"""Verbs of the lowest priority: their requests and replies wait for all others."""
_ATTEMPTS = 4


def _failed(node: str, answer: bytes) -> EdgeError:
    """The error that the other side raised; a damaged one becomes Unreachable, so that a call raises only EdgeErrors."""
    try:
        return to_error(wire.decode(Failure, answer))
    except (msgspec.MsgspecError, RecursionError):
        return Unreachable(f"{node} sent an error that cannot be decoded", hint="it may run another version")


class _Call(msgspec.Struct, frozen=True):
    """One call: its node, verb and body; `until` is by the loop's clock, `limit` bounds the answer in bytes."""

    node: str
    verb: str
    body: bytes
    digest: bytes
    until: float
    limit: int


class _Pending:
    """A request under way; its replies arrive on the loop."""

    __slots__ = ("done", "node", "replies", "request", "size")

    def __init__(self, node: str, request: Request, size: int) -> None:
        self.node, self.request, self.size, self.replies = node, request, size, 0
        self.done: asyncio.Future[tuple[Reply, bytes]] = asyncio.get_running_loop().create_future()


class Rpc:
    """Calls other nodes. Use it on one event loop."""

    def __init__(
        self, session: MeshSession, certificates: Certificates, boot: str, server: Server, send_pool: SendPool
    ) -> None:
        self.refusals: Refusals = server.refusals
        self._session, self._certificates, self._boot, self._server, self._send_pool = (
            session, certificates, boot, server, send_pool,
        )  # fmt: skip
        self._keys = server.keys
        self._counter = itertools.count(1)
        self._boots: dict[str, str] = {}
        self.on_no_way: Callable[[str], None] = lambda node: None

    def note_boot(self, node: str, boot: str) -> None:
        """Remember the boot epoch that a node proved to have."""
        self._boots[node] = boot

    async def call(self, node: str, verb: str, body: bytes, *, timeout: float = 5.0) -> bytes:
        """Ask a node and return its answer.

        Raises Unreachable (not linked, or no valid answer within `timeout` seconds), Refused (our request
        is too large), or the EdgeError that the other side raised.
        """
        if len(body) > (limit := self._server.limit(verb)):
            raise Refused(f"a request {verb} of {len(body)} bytes is over the limit of {limit}", code="too-large")
        if node == self._session.identity.node_id:
            return await self._server.call_here(verb, body)
        try:
            async with asyncio.timeout(timeout) as deadline:
                until = deadline.when() or 0.0
                return await self._ask(_Call(node, verb, body, await wire.digest_aside(body), until, limit))
        except TimeoutError:
            raise Unreachable(
                f"{node} did not answer {verb} within {timeout:g} s", hint="see `edge-agent status` on both nodes"
            ) from None

    async def _ask(self, call: _Call) -> bytes:
        node = call.node
        send_certificate = not self._certificates.knows_ours(node, self._boots.get(node, ""))
        for _ in range(_ATTEMPTS):
            reply, answer = await self._once(call, send_certificate)
            match reply.status:
                case wire.STATUS_OK:
                    self._certificates.note_ours(node, reply.sender_boot)
                    return answer
                case wire.STATUS_ERROR:
                    self._certificates.note_ours(node, reply.sender_boot)
                    raise _failed(node, answer)
                case wire.STATUS_BOOT:
                    self._boots[node] = reply.sender_boot
                case _:
                    send_certificate = True
        raise Unreachable(f"{node} keeps asking for another boot epoch", hint="is its state folder damaged?")

    async def _once(self, call: _Call, send_certificate: bool) -> tuple[Reply, bytes]:
        loop = asyncio.get_running_loop()
        session = await self._session.up(max(0.0, call.until - loop.time()))
        identity, node = self._session.identity, call.node
        request = Request(
            version=wire.VERSION,
            recipient=node,
            recipient_boot=self._boots.get(node, ""),
            sender=identity.node_id,
            sender_boot=self._boot,
            counter=next(self._counter),
            verb=call.verb,
            digest=call.digest,
            ask_certificate=not self._certificates.has(node),
        )
        content = wire.encode(request)
        certificate = identity.cert_der if send_certificate else b""
        sealed = wire.encode(Sealed(content, identity.sign(wire.REQUEST + content), certificate))
        pending = _Pending(node, request, call.limit)
        size = len(call.body)
        self._send_pool.outstanding += size
        try:
            self._send_pool.send(size, self._get(session, pending, call, sealed))
            return await pending.done
        finally:
            self._send_pool.outstanding -= size
            pending.done.cancel()

    def _get(self, session: Any, pending: _Pending, call: _Call, attachment: bytes) -> Callable[[], None]:
        loop = asyncio.get_running_loop()
        timeout = max(0.001, call.until - loop.time())
        bulk = call.verb.startswith(BULK_VERBS) or len(call.body) > wire.BULK
        handler: Any = zenoh.handlers.Callback(
            lambda reply: self._on_reply(loop, pending, reply),
            drop=lambda: soon(loop, self._on_end, pending),
            indirect=False,
        )

        def send() -> None:
            try:
                session.get(
                    self._keys.rpc(call.node, call.verb),
                    handler,
                    payload=call.body,
                    attachment=attachment,
                    target=zenoh.QueryTarget.ALL,
                    consolidation=zenoh.ConsolidationMode.NONE,
                    congestion_control=zenoh.CongestionControl.BLOCK,
                    priority=zenoh.Priority.DATA_LOW if bulk else zenoh.Priority.DATA_HIGH,
                    express=True,
                    timeout=timeout,
                )
            except zenoh.ZError as error:
                logger.debug("a request could not be sent: %s", error)
                soon(loop, self._on_end, pending)
            except BaseException as error:
                if not is_panic(error):
                    raise
                soon(loop, self._session.broke)
                soon(loop, self._on_end, pending)

        return send

    def _on_reply(self, loop: asyncio.AbstractEventLoop, pending: _Pending, reply: Any) -> None:
        """Runs in a zenoh thread: copies a reply within the limits and hands it to the loop."""
        sample = reply.ok
        if sample is None:
            return
        attachment, payload = sample.attachment, sample.payload
        pending.replies += 1
        if (
            attachment is None
            or pending.replies > MAX_REPLIES
            or len(attachment) > wire.MAX_HEADER
            or len(payload) > pending.size
        ):
            soon(loop, self.refusals.note, "reply that is malformed or too large", pending.node)
            return
        raw, body = attachment.to_bytes(), payload.to_bytes()
        digest = wire.digest(body)
        soon(loop, self._on_checked, pending, raw, body, digest)

    def _on_checked(self, pending: _Pending, raw: bytes, body: bytes, digest: bytes) -> None:
        if pending.done.done():
            return
        try:
            reply = self._verified(pending, raw, digest)
        except (IdentityError, msgspec.MsgspecError) as error:
            self.refusals.note("forged or damaged reply", pending.node)
            logger.debug("reply in the name of %s refused: %s", pending.node, error)
        else:
            pending.done.set_result((reply, body))

    def _verified(self, pending: _Pending, raw: bytes, digest: bytes) -> Reply:
        sealed, asked = wire.decode(Sealed, raw), pending.request
        reply = wire.decode(Reply, sealed.content)
        if (
            reply.version != wire.VERSION
            or reply.sender != asked.recipient
            or reply.recipient != asked.sender
            or reply.recipient_boot != asked.sender_boot
            or reply.counter != asked.counter
            or reply.digest != digest
        ):
            raise IdentityError("the reply is not for this request")
        self._certificates.verify(reply.sender, sealed, wire.REPLY)
        return reply

    def _on_end(self, pending: _Pending) -> None:
        if not pending.done.done():
            self.on_no_way(pending.node)
            pending.done.set_exception(
                Unreachable(
                    f"{pending.node} gave no valid answer to {pending.request.verb}",
                    reason="no-answer",
                    hint="it is not linked or is just leaving",
                )
            )
