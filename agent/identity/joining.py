"""The joiner's side: finds the mesh by a token's addresses or by mDNS, checks it, and gets its certificate."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from agent import PROTOCOL
from agent.backoff import Backoff, doubling
from agent.errors import EdgeError, IdentityError, JoinRefused, Unreachable
from agent.identity import wire
from agent.identity.certificates import make_csr
from agent.identity.closing import close
from agent.identity.dsse import open_envelope
from agent.identity.keys import node_id_of, spki
from agent.identity.pending import code_of, commitment_of, new_nonce
from agent.identity.sealing import unseal
from agent.identity.store import Identity, IdentityStore
from agent.identity.tokens import Token, split_address
from agent.identity.trust import Trust

logger = logging.getLogger(__name__)

Progress = Callable[[str], None]
"""Gets progress messages for a person; they never hold a secret."""

PATIENCE = 120.0
"""Seconds that `join` goes on trying to reach the issuer."""

_CONNECT, _ANSWER = 6.0, 20.0
_AGAIN = wire.NOT_NOW | {"join.busy"}
"""Refusals that may end within seconds."""
_BACKOFF = Backoff(doubling(0.5, 5.0))

_admission = msgspec.msgpack.Decoder(wire.Admission)


@dataclass(frozen=True)
class Joined:
    """A new member: its identity, the labels that the operator signed, and mesh addresses to dial first."""

    identity: Identity
    labels: dict[str, str] = field(default_factory=dict)
    endpoints: list[str] = field(default_factory=list)


class Session:
    """A connection to an enrolment server whose certificate is under a CA that the caller accepts."""

    def __init__(self, address: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Made by `meet`."""
        self.address = address
        self._reader, self._writer = reader, writer
        self.trust: Trust
        self.issuer: bytes = b""

    async def ask(self, request: wire.Request) -> wire.Answer:
        """Send a request and await its answer.

        Raises JoinRefused with the other side's code when it refuses, Unreachable when the connection fails.
        """
        try:
            async with asyncio.timeout(_ANSWER):
                self._writer.write(wire.frame(wire.encode(request)))
                await self._writer.drain()
                raw = await wire.read_frame(self._reader)
        except (OSError, TimeoutError, ssl.SSLError) as error:
            raise Unreachable(
                f"{self.address} closed the connection too early", hint="is the device still on?"
            ) from error
        except JoinRefused as error:
            raise Unreachable(f"{self.address}: {error.message}") from error
        if raw is None:
            raise Unreachable(f"{self.address} closed the connection", hint="it may be busy; see its log")
        answer = wire.decode_answer(raw)
        if isinstance(answer, wire.Refusal):
            if answer.code == Unreachable.code:
                raise Unreachable(f"{self.address} says: {answer.message[:500]}", hint=answer.hint[:500])
            raise JoinRefused(answer.message[:500], code=answer.code[:64], hint=answer.hint[:500])
        return answer

    def server_certificate(self) -> bytes:
        """The certificate (DER) that the server showed in TLS."""
        tls: ssl.SSLObject = self._writer.get_extra_info("ssl_object")
        return tls.getpeercert(binary_form=True) or b""

    async def aclose(self) -> None:
        """End the connection."""
        await close(self._writer, self.address)


async def meet(address: str, hello: wire.Hello, accept: Callable[[Trust], None]) -> Session:
    """Connect to an enrolment server and check that it is of an accepted mesh.

    `accept(trust)` raises JoinRefused for a CA that is not wanted. Raises JoinRefused, Unreachable.
    """
    host, port = split_address(address)
    try:
        async with asyncio.timeout(_CONNECT):
            reader, writer = await asyncio.open_connection(
                host, port, ssl=wire.client_context(), server_hostname="", limit=wire.MAX_FRAME
            )
    except ssl.SSLError as error:
        raise JoinRefused(
            f"{address} is not an enrolment server", code="join.not-mesh", hint="check the address and the port"
        ) from error
    except (OSError, TimeoutError) as error:
        reason = getattr(error, "strerror", None) or "no answer"
        raise Unreachable(f"{address}: {reason}", hint="is it on, and is its enrolment port open?") from error
    session = Session(address, reader, writer)
    try:
        await _greet(session, hello, accept)
    except BaseException:
        await session.aclose()
        raise
    return session


async def _greet(session: Session, hello: wire.Hello, accept: Callable[[Trust], None]) -> None:
    welcome = await session.ask(hello)
    if not isinstance(welcome, wire.Welcome):
        raise JoinRefused(f"{session.address} is not an enrolment server", code="join.not-mesh")
    try:
        session.trust = Trust(welcome.ca)
        accept(session.trust)
        session.trust.peer(session.server_certificate(), allow_expired=True)
    except JoinRefused:
        raise
    except IdentityError as error:
        raise JoinRefused(
            f"{session.address} is not a member of the mesh: {error.message}",
            code="join.foreign",
            hint="the connection may be intercepted; join from another network or ask for a new token",
        ) from error
    session.issuer = welcome.issuer


async def first_session(addresses: Sequence[str], hello: wire.Hello, accept: Callable[[Trust], None]) -> Session:
    """Ask all of these enrolment servers at once; returns the first one that answers well.

    When none does, raises the JoinRefused of one that refused for good, else one with code `join.operator-
    away`, else Unreachable with each address and reason in `fields`.
    """
    tasks = [asyncio.create_task(meet(a, hello, accept)) for a in addresses]
    errors: list[EdgeError] = []
    winner: Session | None = None
    try:
        for done in asyncio.as_completed(tasks):
            try:
                winner = await done
                return winner
            except EdgeError as error:
                errors.append(error)
    finally:
        await _drop_others(tasks, winner)
    errors.sort(key=lambda e: (not isinstance(e, JoinRefused), e.code in _AGAIN))
    if errors and isinstance(errors[0], JoinRefused):
        raise errors[0]
    raise Unreachable(
        "none of the mesh's addresses answers: " + "; ".join(e.message for e in errors),
        hint="is one of its devices on, and in the same network as this one?",
    )


async def _drop_others(tasks: list[asyncio.Task[Session]], winner: Session | None) -> None:
    for task in tasks:
        task.cancel()
    for ended in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(ended, Session) and ended is not winner:
            await ended.aclose()


async def join(
    token_text: str,
    store: IdentityStore,
    name: str,
    progress: Progress,
    *,
    labels: Mapping[str, str] | None = None,
    patience: float = PATIENCE,
) -> Joined:
    """Join the mesh that a token is for, and keep the identity in `store`.

    `name` is a wish, `labels` are the detected labels. Asks until the issuer answers, `patience` seconds at
    most; a lost answer does no harm. Raises JoinRefused with a code that says why, Unreachable,
    IdentityError.
    """
    token = Token.parse(token_text)
    if store.load() is not None:
        raise JoinRefused(
            "this node is in a mesh already", code="join.member", hint="remove its state folder to join another one"
        )
    key = store.pending_key()
    body = wire.encode(wire.JoinBody(token.id, make_csr(key), name, dict(labels or {})))
    issuer = token.issuer_name or token.issuer

    async def attempt() -> Joined:
        progress(f"asking {', '.join(token.addresses)} for {issuer}")
        hello = wire.Hello(ca=token.ca, issuer=token.issuer, protocol=PROTOCOL)
        session = await first_session(token.addresses, hello, lambda trust: _check_hash(token, trust.ca_der))
        async with aclosing(session):
            operator = session.trust.peer(session.issuer)
            if operator.id != token.issuer or not operator.is_operator:
                raise JoinRefused(
                    "the token's issuer is not an operator of the mesh",
                    code="join.not-operator",
                    hint="ask for a new token",
                )
            progress(f"{session.address} is a member of the mesh; asking {operator.name} to admit this node")
            mac = wire.join_mac(token.secret, spki(operator.public_key), body)
            answer = await session.ask(wire.Join(token.issuer, body, mac))
            return _admitted(answer, session.trust, store, key, role=token.role)

    return await _patiently(attempt, patience, lambda: progress(f"waiting for {issuer}, who issued the token"))


def _check_hash(token: Token, ca: bytes) -> None:
    if not hmac.compare_digest(hashlib.sha256(ca).digest(), token.ca):
        raise JoinRefused(
            "the token is for another mesh", code="join.foreign", hint="ask an operator of this mesh for a token"
        )


async def _patiently(attempt: Callable[[], Awaitable[Joined]], patience: float, waiting: Callable[[], None]) -> Joined:
    loop = asyncio.get_running_loop()
    end, failures = loop.time() + patience, 0
    while True:
        try:
            return await attempt()
        except (JoinRefused, Unreachable) as error:
            failures += 1
            pause = _BACKOFF.after(failures)
            if error.code not in _AGAIN or loop.time() + pause > end:
                raise
            waiting()
            logger.info("not joined yet: %s", error.message)
        await asyncio.sleep(pause)


def _admitted(
    answer: wire.Answer, trust: Trust, store: IdentityStore, key: ec.EllipticCurvePrivateKey, *, role: str | None = None
) -> Joined:
    """Check an admission, which any member may have relayed, and keep it."""
    if not isinstance(answer, wire.Admitted):
        raise JoinRefused("the answer is not an admission", code="join.garbage")
    admission = open_admission(answer, trust)
    peer = trust.peer(admission.certificate)
    if peer.id != node_id_of(key.public_key()) or (role is not None and peer.role != role):
        raise JoinRefused(
            "the admission is for another node", code="join.forged", hint="try again through another address"
        )
    ca_key = unseal(key, admission.sealed_ca_key) if admission.sealed_ca_key else None
    identity = store.adopt(key, admission.certificate, trust.ca_der, peer.name, ca_key_pem=ca_key)
    return Joined(identity, admission.labels, admission.endpoints)


def open_admission(answer: wire.Admitted, trust: Trust) -> wire.Admission:
    """The admission that an operator signed; raises JoinRefused (`join.forged`)."""
    try:
        payload, _ = open_envelope(trust, answer.envelope, operator=True, payload_type=wire.ADMISSION_TYPE)
        return _admission.decode(payload)
    except (IdentityError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise JoinRefused(
            "no operator signed the admission", code="join.forged", hint="try again through another address"
        ) from error


async def wait_as_pending(
    addresses: Sequence[str],
    mesh_id: str,
    store: IdentityStore,
    name: str,
    progress: Progress,
    *,
    on_code: Callable[[str], None],
    labels: Mapping[str, str] | None = None,
    interval: float = 2.0,
) -> Joined:
    """Ask a discovered mesh for admission, show a code, and wait until an operator approves it.

    `on_code` gets the code to show, again when it changes. Goes on through restarts of either side until approved or
    cancelled; `addresses` are read again for each poll, so they may be a list that grows. Raises JoinRefused when an
    operator turns this node away, or the mesh is not `mesh_id`.
    """
    key = store.pending_key()
    csr = make_csr(key)
    poll: wire.Poll | None = None
    while True:
        try:
            session = await first_session(
                addresses, wire.Hello(protocol=PROTOCOL), lambda trust: _check_mesh(trust, mesh_id)
            )
            async with aclosing(session):
                if poll is None:
                    poll, code = await _register(session, key, csr, name, dict(labels or {}))
                    on_code(code)
                    progress(f"waiting for an operator to run: edge-agent node approve {code}")
                answer = await session.ask(poll)
                if not isinstance(answer, wire.Waiting):
                    return _admitted(answer, session.trust, store, key)
        except JoinRefused as error:
            if error.code == "join.forgotten":
                poll = None
            elif error.code not in _AGAIN and error.code != "join.rate":
                raise
            progress(f"waiting: {error.message}")
        except Unreachable as error:
            progress(f"waiting: {error.message}")
        await asyncio.sleep(interval)


async def _register(
    session: Session, key: ec.EllipticCurvePrivateKey, csr: bytes, name: str, labels: dict[str, str]
) -> tuple[wire.Poll, str]:
    nonce, public, ca = new_nonce(), key.public_key(), session.trust.ca_der
    commitment = commitment_of(ca, public, nonce)
    answer = await session.ask(wire.Commit(commitment))
    if not isinstance(answer, wire.Committed):
        raise JoinRefused("the answer cannot be decoded", code="join.garbage")
    operator = session.trust.peer(answer.operator)
    if not operator.is_operator:
        raise JoinRefused(f"{operator.name} is not an operator", code="join.not-operator")
    poll = wire.Poll(operator.id, commitment, nonce, csr, name, labels)
    return poll, code_of(ca, public, nonce, answer.nonce)


def _check_mesh(trust: Trust, mesh_id: str) -> None:
    if trust.mesh_id != mesh_id:
        raise JoinRefused(
            f"this is the mesh {trust.mesh_id}, not {mesh_id}",
            code="join.foreign",
            hint="several meshes are near: use a token",
        )
