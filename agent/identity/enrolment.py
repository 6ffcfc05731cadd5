"""The enrolment server: new devices ask it to join the mesh. Every member runs one.

An operator's server has a desk; another member's server relays to operators. It speaks TLS only. The joiner is told each
refusal, and the log here has one line for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import socket
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable

from agent import PROTOCOL, __version__
from agent.errors import CannotListen, EdgeError, JoinRefused, listen_hint
from agent.identity import wire
from agent.identity.attempts import Attempts
from agent.identity.closing import CLOSE, close
from agent.identity.desk import AdmissionDesk
from agent.identity.store import Identity

logger = logging.getLogger(__name__)

Relay = Callable[[str, bytes], Awaitable[bytes]]
"""(operator's node id, request) -> answer, through the mesh; an empty id means any operator. Raises
EdgeError.
"""

PORT = 7947
MAX_CONNECTIONS = 64
MAX_PER_ADDRESS = 16
_HANDSHAKE, _IDLE = 10.0, 20.0
"""Seconds for the TLS handshake, and for the next request."""

_REQUESTS = 16
"""Requests in one connection."""

_NO_TLS = frozenset({"HTTP_REQUEST", "WRONG_VERSION_NUMBER", "UNEXPECTED_MESSAGE", "HTTPS_PROXY_REQUEST"})


class EnrolmentServer:
    """Serves joiners on `host:port` with this node's certificate until cancelled.

    `ready` is set when it listens; then `port` is the actual port. `attempts` failures in 60 s are allowed for
    each address.
    """

    def __init__(
        self,
        identity: Identity,
        *,
        host: str = "0.0.0.0",  # noqa: S104 - devices of the building must reach it
        port: int = PORT,
        desk: AdmissionDesk | None = None,
        relay: Relay | None = None,
        certificate_of: Callable[[str], bytes | None] = lambda _: None,
        attempts: int = 20,
    ) -> None:
        """`certificate_of` gives the certificate (DER) of another operator of the mesh, None when it is not
        known.
        """
        self.host, self.port = host, port
        self.ready = asyncio.Event()
        self.desk = desk
        self._relay, self._certificate_of = relay, certificate_of
        self._attempts = Attempts(attempts, 60.0)
        self._waiting = Attempts(8, 60.0)
        self._open: Counter[str] = Counter()
        self.update(identity)

    def update(self, identity: Identity) -> None:
        """Go on with a renewed identity."""
        self.identity = identity
        self._tls = wire.server_context(identity)
        if self.desk is not None:
            self.desk.identity = identity

    async def run(self) -> None:
        """Listen until cancelled; raises CannotListen."""
        with self._listen() as listener:
            self.port = listener.getsockname()[1]
            self.ready.set()
            loop = asyncio.get_running_loop()
            try:
                async with asyncio.TaskGroup() as tasks:
                    while True:
                        try:
                            connection, address = await loop.sock_accept(listener)
                        except OSError as error:
                            logger.error("cannot accept a joiner: %s", error)
                            await asyncio.sleep(0.5)
                            continue
                        self._take(tasks, connection, address[0])
            finally:
                self.ready.clear()

    async def redeem(self, body: bytes) -> bytes:
        """The operator's answer to a request that another member relays; raises EdgeError for a refusal,
        logged once.
        """
        try:
            if len(body) > wire.MAX_FRAME:
                raise JoinRefused(f"a message of {len(body)} bytes is too large", code="join.oversize")
            if self.desk is None:
                raise _away("")
            return wire.encode(await self.desk.handle(wire.decode_request(body)))
        except EdgeError as error:
            logger.warning("refused a joiner that another member relayed: %s (%s)", error.message, error.code)
            raise

    def _listen(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        try:
            listener = socket.create_server(
                (self.host, self.port), family=family, backlog=64, dualstack_ipv6=self.host == "::"
            )
        except OSError as error:
            raise CannotListen(
                f"cannot listen for joiners on {self.host}:{self.port}: {os.strerror(error.errno or 0)}",
                hint=listen_hint(error.errno or 0, "mesh.enrol_port", "mesh.listen"),
            ) from error
        listener.setblocking(False)
        return listener

    def _take(self, tasks: asyncio.TaskGroup, connection: socket.socket, address: str) -> None:
        full = self._open.total() >= MAX_CONNECTIONS or self._open[address] >= MAX_PER_ADDRESS
        if full or self._attempts.count(address) >= 4 * self._attempts.limit:
            self._failed(address, JoinRefused("too many connections", code="join.rate"))
            connection.close()
            return
        self._open[address] += 1
        tasks.create_task(self._serve(connection, address))

    async def _serve(self, connection: socket.socket, address: str) -> None:
        writer: asyncio.StreamWriter | None = None
        try:
            reader, writer = await self._handshake(connection)
            for _ in range(_REQUESTS):
                async with asyncio.timeout(_IDLE):
                    if not await self._exchange(reader, writer, address):
                        break
        except TimeoutError:
            self._failed(address, JoinRefused("the client sent nothing for too long", code="join.silent"))
        except JoinRefused as error:
            self._failed(address, error)
        except (ssl.SSLError, OSError) as error:
            reason = getattr(error, "reason", "") or str(error) or type(error).__name__
            text = "it does not speak TLS" if reason in _NO_TLS else f"it closed the connection too early: {reason}"
            self._failed(address, JoinRefused(text, code="join.plain" if reason in _NO_TLS else "join.broken"))
        except Exception:
            # An error that one joiner causes must not end the server for others.
            logger.exception("internal error while serving a joiner from %s", address)
        finally:
            self._open -= Counter([address])
            if writer is None:
                connection.close()
            else:
                await close(writer, address)

    async def _handshake(self, connection: socket.socket) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=wire.MAX_FRAME)
        transport, protocol = await loop.connect_accepted_socket(
            lambda: asyncio.StreamReaderProtocol(reader),
            connection,
            ssl=self._tls,
            ssl_handshake_timeout=_HANDSHAKE,
            ssl_shutdown_timeout=CLOSE,
        )
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: str) -> bool:
        """Answer one request; returns whether another may follow."""
        refused: EdgeError | None = None
        try:
            request = await wire.read_frame(reader)
            if request is None:
                return False
            if self._attempts.over(address):
                raise JoinRefused(
                    "too many attempts from this address", code="join.rate", hint="wait a minute, then try again"
                )
            answer = await self._answer(request)
        except EdgeError as error:
            refused, answer = error, wire.encode(wire.Refusal(error.code, error.message, error.hint))
            self._failed(address, error)
        with contextlib.suppress(ConnectionError):
            writer.write(wire.frame(answer))
            await writer.drain()
        return refused is None

    async def _answer(self, raw: bytes) -> bytes:
        request = wire.decode_request(raw)
        if isinstance(request, wire.Hello):
            return wire.encode(self._welcome(request))
        operator = request.issuer if isinstance(request, wire.Join) else getattr(request, "operator", "")
        if self.desk is not None and operator in ("", self.identity.node_id):
            return wire.encode(await self.desk.handle(request))
        if self._relay is None:
            raise _away(operator)
        return await self._relay(operator, raw)

    def _welcome(self, hello: wire.Hello) -> wire.Welcome:
        if hello.protocol != PROTOCOL:
            raise JoinRefused(
                f"this mesh speaks protocol {PROTOCOL} (version {__version__}), and the device protocol {hello.protocol}",
                code="join.protocol",
                hint="install the version of this mesh on the device: edge-agent token create prints the line",
            )
        if hello.ca and hello.ca != hashlib.sha256(self.identity.ca_der).digest():
            raise JoinRefused(
                "the token is for another mesh", code="join.foreign", hint="ask an operator of this mesh for a token"
            )
        if not hello.issuer:
            return wire.Welcome(self.identity.ca_der)
        mine = hello.issuer == self.identity.node_id
        issuer = self.identity.cert_der if mine else self._certificate_of(hello.issuer)
        if issuer is None:
            raise _away(hello.issuer)
        return wire.Welcome(self.identity.ca_der, issuer)

    def _failed(self, address: str, error: EdgeError) -> None:
        """Count a failure and log it, one line; an address that fails too often gets one more line, then
        silence.
        """
        if error.code in wire.NOT_NOW:
            if self._waiting.failed(address) == 1:
                logger.info("cannot serve a joiner from %s now: %s", address, error.message)
            return
        count = self._attempts.failed(address)
        if count <= self._attempts.limit:
            logger.warning("refused a joiner from %s: %s (%s)", address, error.message, error.code)
        elif count == self._attempts.limit + 1:
            logger.warning(
                "refused a joiner from %s: too many attempts (join.rate); no more lines for a while", address
            )


def _away(operator: str) -> JoinRefused:
    who = f"the operator {operator}" if operator else "an operator"
    return JoinRefused(f"{who} cannot be reached from here", code=wire.AWAY, hint="switch that device on")
