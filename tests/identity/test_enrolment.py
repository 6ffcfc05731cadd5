"""Each way of joining and of being refused, against real servers on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import struct
from pathlib import Path

import msgspec
import pytest

from agent.errors import ConfigError, EdgeError, JoinRefused, Unreachable
from agent.identity import EnrolmentServer, IdentityStore, Joined, Token, Trust, join, joining, wire
from agent.identity.certificates import make_csr
from agent.identity.enrolment import MAX_PER_ADDRESS
from agent.identity.joining import meet
from agent.identity.keys import node_id_of, spki
from tests.identity.meshes import Mesh, address, serving
from tests.support import eventually


@pytest.fixture
def store(tmp_path: Path) -> IdentityStore:
    return IdentityStore(tmp_path / "joiner")


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING)
    return caplog


async def try_join(
    token: Token | str, store: IdentityStore, name: str = "porch", patience: float = 0.0, **options: object
) -> Joined:
    text = token if isinstance(token, str) else token.encode()
    return await join(text, store, name, lambda _: None, patience=patience, **options)  # type: ignore[arg-type]


async def refused(token: Token | str, store: IdentityStore, **options: object) -> JoinRefused:
    """The error that a joiner gets; nothing may have been kept."""
    with pytest.raises(JoinRefused) as caught:
        await try_join(token, store, **options)  # type: ignore[arg-type]
    assert store.load() is None
    assert caught.value.message
    return caught.value


def lines(log: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in log.records if r.name.startswith("agent.identity")]


async def test_a_token_lets_a_device_in(mesh: Mesh, store: IdentityStore) -> None:
    server = mesh.operator_server()
    async with serving(server):
        token = mesh.token(server, labels={"camera": "true"})
        joined = await try_join(token, store, "Front Porch", labels={"docker": "true", "camera": "false"})
    me = joined.identity
    assert store.load() == me
    assert (me.name, me.role, me.mesh_id) == ("front-porch", "member", mesh.identity.mesh_id)
    assert joined.labels == {"docker": "true", "camera": "true"}, "the token's labels override the detected labels"
    assert joined.endpoints == ["192.0.2.1:7946"]
    assert mesh.joined == [(me.node_id, "front-porch", "member", joined.labels)]
    assert mesh.trust.peer(me.cert_der).id == me.node_id


async def test_a_device_with_another_protocol_is_told(
    mesh: Mesh, store: IdentityStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joining, "PROTOCOL", 2)
    server = mesh.operator_server()
    async with serving(server):
        error = await refused(mesh.token(server), store)
    assert (error.code, "this mesh speaks protocol 1" in error.message) == ("join.protocol", True)
    assert "edge-agent token create" in error.hint


async def test_the_progress_says_whom_it_asks_and_holds_no_secret(mesh: Mesh, store: IdentityStore) -> None:
    server, said = mesh.operator_server(), []
    async with serving(server):
        text = mesh.token(server).encode()
        await join(text, store, "porch", said.append)
    assert "hall" in said[0]
    assert not any(text[6:40] in line for line in said)


async def test_an_operators_token_makes_an_operator_who_can_admit(mesh: Mesh, store: IdentityStore) -> None:
    server = mesh.operator_server()
    async with serving(server):
        joined = await try_join(mesh.token(server, role="operator"), store)
    again = store.load()
    assert again == joined.identity
    assert again is not None
    assert again.is_operator
    _, third = mesh.member("third")
    cert = again.issue(third.key.public_key(), role="member", name="third")
    assert mesh.trust.peer(cert).id == third.node_id


async def test_a_lost_answer_can_be_asked_for_again(mesh: Mesh, store: IdentityStore) -> None:
    server = mesh.operator_server()
    async with serving(server):
        token = mesh.token(server)
        first = await try_join(token, store)
        (store.folder / "member.pem").unlink()
        second = await try_join(token, store, "another-name")
    assert second.identity.node_id == first.identity.node_id
    assert second.identity.name == "porch"


async def test_names_are_unique(mesh: Mesh, tmp_path: Path) -> None:
    server = mesh.operator_server()
    async with serving(server):
        token = mesh.token(server, uses=5)
        joined = await asyncio.gather(*(try_join(token, IdentityStore(tmp_path / str(n)), "hall") for n in range(4)))
    assert sorted(j.identity.name for j in joined) == ["hall-2", "hall-3", "hall-4", "hall-5"]


async def test_an_expired_token_is_refused(
    mesh: Mesh, store: IdentityStore, log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = mesh.operator_server()
    async with serving(server):
        token = mesh.token(server, lifetime=1.0)
        import time

        now = time.time()
        monkeypatch.setattr("agent.identity.tokens.time.time", lambda: now + 2)
        assert (await refused(token, store)).code == "join.expired"
    assert len(lines(log)) == 1
    assert "join.expired" in lines(log)[0]


async def test_a_used_token_is_refused(
    mesh: Mesh, store: IdentityStore, tmp_path: Path, log: pytest.LogCaptureFixture
) -> None:
    server = mesh.operator_server()
    async with serving(server):
        token = mesh.token(server)
        await try_join(token, IdentityStore(tmp_path / "first"))
        error = await refused(token, store)
    assert error.code == "join.used"
    assert error.hint
    assert len(lines(log)) == 1
    assert len(mesh.joined) == 1


async def test_a_revoked_token_is_refused(mesh: Mesh, store: IdentityStore, log: pytest.LogCaptureFixture) -> None:
    server = mesh.operator_server()
    async with serving(server):
        token = mesh.token(server)
        mesh.tokens.revoke(token.id)
        assert (await refused(token, store)).code == "join.revoked"
    assert len(lines(log)) == 1


async def test_a_token_with_a_wrong_secret_is_refused(
    mesh: Mesh, store: IdentityStore, log: pytest.LogCaptureFixture
) -> None:
    server = mesh.operator_server()
    async with serving(server):
        token = msgspec.structs.replace(mesh.token(server), secret=bytes(16))
        assert (await refused(token, store)).code == "join.wrong"
    assert len(lines(log)) == 1


async def test_a_token_that_the_issuer_forgot_is_refused(
    mesh: Mesh, store: IdentityStore, log: pytest.LogCaptureFixture
) -> None:
    server = mesh.operator_server()
    async with serving(server):
        token = msgspec.structs.replace(mesh.token(server), id="0123456789")
        assert (await refused(token, store)).code == "join.unknown"
    assert len(lines(log)) == 1


async def test_a_text_that_is_no_token_is_refused_at_once(store: IdentityStore) -> None:
    assert (await refused("hello", store)).code == "join.token"


async def test_another_meshs_token_is_refused(
    mesh: Mesh, other: Mesh, store: IdentityStore, log: pytest.LogCaptureFixture
) -> None:
    server = mesh.operator_server()
    async with serving(server):
        assert (await refused(other.token(server), store)).code == "join.foreign"
    assert len(lines(log)) == 1
    assert "another mesh" in lines(log)[0]


class _Liar(EnrolmentServer):
    """Shows another mesh's CA and issuer, as recorded from it, without having a certificate of it."""

    def __init__(self, mesh: Mesh, pretended: Mesh, issuer: bytes | None = None) -> None:
        super().__init__(mesh.identity, host="127.0.0.1", port=0, desk=mesh.desk)
        self._shown = wire.Welcome(pretended.identity.ca_der, issuer or pretended.identity.cert_der)

    def _welcome(self, hello: wire.Hello) -> wire.Welcome:
        return self._shown


async def test_a_server_with_another_meshs_certificate_gets_no_proof(
    mesh: Mesh, other: Mesh, store: IdentityStore
) -> None:
    liar = _Liar(other, mesh)
    async with serving(liar):
        error = await refused(mesh.token(liar), store)
    assert error.code == "join.foreign"
    assert mesh.joined == other.joined == []


async def test_a_member_cannot_play_the_operator(mesh: Mesh, store: IdentityStore) -> None:
    _, thief = mesh.member("thief")
    liar = _Liar(mesh, mesh, issuer=thief.cert_der)
    async with serving(liar):
        token = msgspec.structs.replace(mesh.token(liar), issuer=thief.node_id)
        assert (await refused(token, store)).code == "join.not-operator"


async def test_a_removed_node_does_not_come_back_with_its_old_key(
    mesh: Mesh, store: IdentityStore, log: pytest.LogCaptureFixture
) -> None:
    server = mesh.operator_server()
    mesh.trust.removed.add(node_id_of(store.pending_key().public_key()))
    async with serving(server):
        assert (await refused(mesh.token(server), store)).code == "join.removed"
    assert len(lines(log)) == 1


async def test_labels_that_are_none_are_refused(mesh: Mesh, store: IdentityStore) -> None:
    server = mesh.operator_server()
    async with serving(server):
        assert (await refused(mesh.token(server), store, labels={"node": "hall"})).code == "join.labels"
        assert (await refused(mesh.token(server), store, labels={f"l{n}": "" for n in range(65)})).code == "join.labels"


async def test_a_member_joins_no_second_mesh(mesh: Mesh, other: Mesh) -> None:
    server = other.operator_server()
    async with serving(server):
        with pytest.raises(JoinRefused, match="in a mesh already"):
            await try_join(other.token(server), mesh.store)


async def test_any_member_relays(mesh: Mesh, store: IdentityStore) -> None:
    asked: list[str] = []
    operator = mesh.operator_server()

    async def relay(issuer: str, body: bytes) -> bytes:
        asked.append(issuer)
        return await operator.redeem(body)

    server = mesh.member_server("garage", relay)
    async with serving(server):
        joined = await try_join(mesh.token(server), store)
    assert asked == [mesh.identity.node_id]
    assert mesh.joined[0][0] == joined.identity.node_id


async def test_a_refusal_through_a_relay_is_one_line_on_each_side(
    mesh: Mesh, store: IdentityStore, log: pytest.LogCaptureFixture
) -> None:
    operator = mesh.operator_server()

    async def relay(issuer: str, body: bytes) -> bytes:
        return await operator.redeem(body)

    server = mesh.member_server("garage", relay)
    async with serving(server):
        token = mesh.token(server)
        mesh.tokens.revoke(token.id)
        assert (await refused(token, store)).code == "join.revoked"
    assert len(lines(log)) == 2


async def test_a_relay_sees_no_secret_and_cannot_forge(mesh: Mesh, store: IdentityStore) -> None:
    """It may keep the request, answer with another node's admission, or sign one as the member that it is."""
    seen: list[bytes] = []
    _, thief = mesh.member("thief")
    forged = wire.Admission(node=thief.node_id, certificate=thief.cert_der, labels={"gpu": "true"})
    from agent.identity import sign_envelope

    for identity in (thief, mesh.identity):
        envelope = sign_envelope(identity, wire.ADMISSION_TYPE, wire.encode(forged))

        async def relay(issuer: str, body: bytes, envelope: bytes = envelope) -> bytes:
            seen.append(body)
            return wire.encode(wire.Admitted(envelope))

        server = mesh.member_server("garage", relay)
        async with serving(server):
            token = mesh.token(server)
            assert (await refused(token, store)).code == "join.forged"
        assert token.secret not in seen[-1]


async def test_an_issuer_that_is_away_is_waited_for(mesh: Mesh, store: IdentityStore) -> None:
    operator, said, tries = mesh.operator_server(), [], []

    async def relay(issuer: str, body: bytes) -> bytes:
        tries.append(issuer)
        if len(tries) == 1:
            raise Unreachable("no answer")
        return await operator.redeem(body)

    server = mesh.member_server("garage", relay)
    async with serving(server):
        joined = await join(mesh.token(server).encode(), store, "porch", said.append, patience=20)
    assert joined.identity.name == "porch"
    assert "waiting for hall, who issued the token" in said


async def test_a_member_that_cannot_relay_says_whom_it_lacks(mesh: Mesh, store: IdentityStore) -> None:
    server = mesh.member_server("garage", None)
    async with serving(server):
        error = await refused(mesh.token(server), store)
    assert error.code == "join.operator-away"
    assert mesh.identity.node_id in error.message


async def test_waiting_for_an_operator_is_no_failed_attempt(
    mesh: Mesh, store: IdentityStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    async def nobody(issuer: str, body: bytes) -> bytes:
        raise Unreachable("no operator answers")

    server = mesh.member_server("garage", nobody)
    async with serving(server):
        token = mesh.token(server)
        for _ in range(30):
            with pytest.raises(Unreachable, match="no operator answers"):
                await try_join(token, store)
    assert [r.levelname for r in caplog.records if "enrolment" in r.name] == ["INFO"], "one line, not thirty"


async def test_dead_addresses_do_not_hinder(mesh: Mesh, store: IdentityStore) -> None:
    server = mesh.operator_server()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with serving(server):
            dead = [f"127.0.0.1:{_free_port()}", f"127.0.0.1:{silent.getsockname()[1]}"]
            joined = await try_join(mesh.token(*dead, server), store)
    assert joined.identity.name == "porch"


async def test_nobody_there_is_unreachable_and_names_the_addresses(mesh: Mesh, store: IdentityStore) -> None:
    dead = f"127.0.0.1:{_free_port()}"
    with pytest.raises(Unreachable) as caught:
        await try_join(mesh.token(dead), store)
    assert dead in caught.value.message
    assert caught.value.hint


async def test_a_port_that_is_no_enrolment_server_is_refused(mesh: Mesh, store: IdentityStore) -> None:
    async def web(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(web, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert (await refused(mesh.token(f"127.0.0.1:{port}"), store)).code == "join.not-mesh"


@pytest.mark.parametrize(
    ("sent", "code"),
    [(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "join.plain"), (b"\x00\x00\x00\x01\x80" * 8, "join.plain")],
)
async def test_plain_tcp_is_refused_with_one_line(
    mesh: Mesh, log: pytest.LogCaptureFixture, sent: bytes, code: str
) -> None:
    server = mesh.operator_server()
    async with serving(server):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(sent)
        answer = await reader.read()
        assert b"waiting" not in answer
        assert len(answer) < 16, "at most a TLS alert"
        writer.close()
        await eventually(lambda: lines(log))
    assert len(lines(log)) == 1
    assert code in lines(log)[0]


async def _raw(server: EnrolmentServer, data: bytes) -> wire.Answer | None:
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", server.port, ssl=wire.client_context(), server_hostname=""
    )
    try:
        writer.write(data)
        writer.write_eof() if writer.can_write_eof() else None
        raw = await wire.read_frame(reader)
        return None if raw is None else wire.decode_answer(raw)
    finally:
        writer.close()
        await asyncio.wait_for(writer.wait_closed(), 5)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (wire.frame(b"garbage"), "join.garbage"),
        (wire.frame(b""), "join.garbage"),
        (wire.frame(msgspec.msgpack.encode({"verb": "drop"})), "join.garbage"),
        (wire.frame(b"\x91" * 60_000), "join.garbage"),
        (wire.frame(msgspec.msgpack.encode({"verb": "welcome", "ca": b""})), "join.garbage"),
        (struct.pack(">I", wire.MAX_FRAME + 1), "join.oversize"),
        (b"\xff\xff\xff\xff" + b"x" * 1000, "join.oversize"),
        (wire.frame(wire.encode(wire.Commit(b"short"))), "join.garbage"),
        (wire.frame(wire.encode(wire.Renew(b"x", b"y"))), "identity"),
    ],
)
async def test_garbage_is_answered_with_a_refusal_and_one_line(
    mesh: Mesh, log: pytest.LogCaptureFixture, data: bytes, code: str
) -> None:
    server = mesh.operator_server()
    async with serving(server):
        answer = await _raw(server, data)
        assert isinstance(answer, wire.Refusal)
        assert answer.code == code
        assert len(lines(log)) == 1
        assert (await _raw(server, wire.frame(wire.encode(wire.Hello())))) is not None, "it goes on serving"


async def test_a_join_with_a_forged_request_is_refused(mesh: Mesh, store: IdentityStore) -> None:
    server = mesh.operator_server()
    key = store.pending_key()
    async with serving(server):
        token = mesh.token(server)
        public = spki(mesh.identity.key.public_key())
        csr = make_csr(key)
        for body, code in [
            (b"junk", "join.garbage"),
            (wire.encode(wire.JoinBody(token.id, b"junk", "porch", {})), "join.csr"),
            (wire.encode(wire.JoinBody(token.id, csr[:-3] + b"abc", "porch", {})), "join.csr"),
        ]:
            request = wire.Join(token.issuer, body, wire.join_mac(token.secret, public, body))
            answer = await _raw(server, wire.frame(wire.encode(request)))
            assert isinstance(answer, wire.Refusal)
            assert answer.code == code
    assert mesh.joined == []


async def test_an_address_that_fails_too_often_is_ignored(
    mesh: Mesh, store: IdentityStore, log: pytest.LogCaptureFixture
) -> None:
    server = mesh.operator_server(attempts=3)
    async with serving(server):
        good = mesh.token(server)
        wrong = msgspec.structs.replace(good, secret=bytes(16))
        codes = [(await refused(wrong, store)).code for _ in range(6)]
        assert codes == ["join.wrong"] * 3 + ["join.rate"] * 3
        assert (await refused(good, store)).code == "join.rate"
        for _ in range(10):
            with pytest.raises((EdgeError, OSError)):
                await meet(address(server), wire.Hello(), lambda *_: None)
    assert len(lines(log)) == 4, "three refusals, one line that says so, then silence"


async def test_tls_below_1_3_is_refused(mesh: Mesh, log: pytest.LogCaptureFixture) -> None:
    server = mesh.operator_server()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with serving(server):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection("127.0.0.1", server.port, ssl=context, server_hostname="")
        await eventually(lambda: lines(log))
    assert len(lines(log)) == 1


async def test_one_address_cannot_take_all_the_places(mesh: Mesh, log: pytest.LogCaptureFixture) -> None:
    server = mesh.operator_server()
    async with serving(server), contextlib.AsyncExitStack() as stack:
        for _ in range(MAX_PER_ADDRESS):
            session = await meet(address(server), wire.Hello(), lambda *_: None)
            stack.push_async_callback(session.aclose)
        with pytest.raises(EdgeError):
            await meet(address(server), wire.Hello(), lambda *_: None)
        assert "too many connections" in lines(log)[0]
        await stack.aclose()
        await eventually(lambda: server._open.total() == 0)
        await (await meet(address(server), wire.Hello(), lambda *_: None)).aclose()


async def test_handshakes_that_never_begin_end_and_block_no_other(
    mesh: Mesh, store: IdentityStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = mesh.operator_server()
    async with serving(server), contextlib.AsyncExitStack() as stack:
        for _ in range(2 * MAX_PER_ADDRESS):
            _, writer = await asyncio.open_connection("127.0.0.1", server.port, local_addr=("127.0.0.2", 0))
            stack.callback(writer.close)
        await eventually(lambda: server._open["127.0.0.2"] == MAX_PER_ADDRESS)
        assert (await try_join(mesh.token(server), store)).identity.name == "porch"
        monkeypatch.setattr("agent.identity.enrolment._HANDSHAKE", 0.1)
        late, writer = await asyncio.open_connection("127.0.0.1", server.port, local_addr=("127.0.0.3", 0))
        stack.callback(writer.close)
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(late.read(), 20) == b""


async def test_a_disk_that_is_full_lets_nobody_in_and_says_so(
    mesh: Mesh, store: IdentityStore, log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    server = mesh.operator_server()
    async with serving(server):
        token = mesh.token(server)
        with monkeypatch.context() as patch:
            patch.setattr("agent.identity.tokens.write_private", full)
            assert "No space left" in (await refused(token, store)).message
        assert (await try_join(token, store)).identity.name == "porch"
    assert len(lines(log)) == 1


async def test_a_bug_ends_one_connection_and_not_the_server(
    mesh: Mesh, store: IdentityStore, log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(request: wire.Request) -> wire.Answer:
        raise ZeroDivisionError

    server = mesh.operator_server()
    async with serving(server):
        token = mesh.token(server)
        with monkeypatch.context() as patch:
            patch.setattr(mesh.desk, "handle", broken)
            with pytest.raises(Unreachable):
                await try_join(token, store)
        assert (await try_join(token, store)).identity.name == "porch"
    assert len(lines(log)) == 1


async def test_a_port_in_use_is_a_clear_error(mesh: Mesh) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = EnrolmentServer(mesh.identity, host="127.0.0.1", port=taken.getsockname()[1], desk=mesh.desk)
        with pytest.raises(ConfigError) as caught:
            await server.run()
    assert "mesh.enrol_port" in caught.value.hint


async def test_a_failure_to_publish_the_new_node_lets_it_ask_again(
    mesh: Mesh, store: IdentityStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    published, works = mesh.desk._on_joined, False

    async def flaky(node: str, name: str, role: str, labels: dict[str, str]) -> None:
        if not works:
            raise EdgeError("the disk is full")
        await published(node, name, role, labels)

    monkeypatch.setattr(mesh.desk, "_on_joined", flaky)
    server = mesh.operator_server()
    async with serving(server):
        token = mesh.token(server)
        with pytest.raises(JoinRefused, match="disk is full"):
            await try_join(token, store)
        works = True
        assert (await try_join(token, store)).identity.name == "porch"


async def test_the_trust_that_a_joiner_builds_is_the_meshs(mesh: Mesh, store: IdentityStore) -> None:
    server = mesh.operator_server()
    async with serving(server):
        joined = await try_join(mesh.token(server), store)
    assert Trust(joined.identity.ca_der).peer(mesh.identity.cert_der).is_operator


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as s:
        return int(s.getsockname()[1])
