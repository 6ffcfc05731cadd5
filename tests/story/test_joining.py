"""Refused joins through the real agent: the joiner gets a clear error, the other node logs a line."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from agent.identity import Token
from demo.environment import write_private
from tests.story.building import Building, Node, Result, building

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def agents() -> Iterator[Building]:
    """Two meshes of one node each, side by side."""
    with building() as b:
        for name in ("hall", "foreign"):
            b.add(name).start("--new")
            b[name].wait()
        yield b


def token_of(node: Node, **wish: Any) -> str:
    body = {"ttl": 600.0, "uses": 1, "role": "member", "labels": {}, **wish}
    made: str = node.ask("post", "/v1/tokens", body)["token"]
    return made


def try_to_join(b: Building, name: str, token: str) -> Result:
    """A new device's `serve` with this token, to its end."""
    node = b.nodes.get(name) or Node(b, name)
    node.configure()
    file = b.folder / f"{name}.token"
    write_private(file, token + "\n")
    return node.cli("serve", "--config", str(node.folder / "config.yaml"), "--join", f"@{file}")


def refused(b: Building, name: str, token: str, code: str) -> Result:
    """It ends with the exit code of identity errors, one error with a hint, no traceback, no state of a member."""
    done = try_to_join(b, name, token)
    assert done.code == 3, done.err
    assert f"[{code}]" in done.err
    assert "Traceback" not in done.err
    assert token not in done.err + done.out
    assert not (b.folder / name / "state/identity/node.crt").exists()
    return done


def lines(node: Node, *words: str) -> list[str]:
    return [line for line in node.log.read_text().splitlines() if all(w in line for w in words)]


def test_a_wrong_secret_is_refused(agents: Building) -> None:
    token = Token.parse(token_of(agents["hall"]))
    refused(agents, "liar", msgspec.structs.replace(token, secret=bytes(16)).encode(), "join.wrong")
    assert len(lines(agents["hall"], "refused a joiner", "join.wrong")) == 1


def test_an_expired_token_is_refused(agents: Building) -> None:
    token = Token.parse(token_of(agents["hall"], ttl=1.0))
    agents.until("it has expired", lambda: _expired(agents["hall"], token.id))
    refused(agents, "late", token.encode(), "join.expired")
    # The date in the token is the joiner's to see; what counts is the issuer's book.
    forged = msgspec.structs.replace(token, expires=token.expires + 3600)
    refused(agents, "forger", forged.encode(), "join.expired")
    assert lines(agents["hall"], "refused a joiner", "join.expired")


def _expired(node: Node, ident: str) -> bool:
    import time

    return all(t["id"] != ident or time.time() > 1 + _seconds(t["expires"]) for t in node.ask("get", "/v1/tokens"))


def _seconds(when: Any) -> float:
    from datetime import datetime

    return float(when) if isinstance(when, int | float) else datetime.fromisoformat(when).timestamp()


def test_a_used_up_token_is_refused(agents: Building) -> None:
    token = token_of(agents["hall"])
    guest = agents.add("guest", docker=True)
    write_private(agents.folder / "t", token + "\n")
    guest.start("--join", f"@{agents.folder / 't'}")
    guest.wait()
    try:
        refused(agents, "second", token, "join.used")
        assert len(lines(agents["hall"], "refused a joiner", "join.used")) == 1
        agents.until("nothing waits for approval", lambda: _pending(agents["hall"]) == 0)
    finally:
        guest.stop()


def _pending(node: Node) -> int:
    status = node.status()
    return -1 if status is None else status["mesh"]["pending"]


def test_a_token_of_another_mesh_is_refused(agents: Building) -> None:
    here, there = Token.parse(token_of(agents["hall"])), Token.parse(token_of(agents["foreign"]))
    # As copied from another agents whose address this one has now.
    moved = msgspec.structs.replace(there, addresses=here.addresses)
    refused(agents, "stray", moved.encode(), "join.foreign")
    assert len(lines(agents["hall"], "refused a joiner", "join.foreign")) == 1


def test_a_token_that_was_cut_off_in_copying_says_so(agents: Building) -> None:
    done = try_to_join(agents, "cut", token_of(agents["hall"])[:-9])
    assert done.code == 3
    assert "[join.token]" in done.err


def test_a_node_of_another_mesh_is_never_linked(agents: Building) -> None:
    hall, foreign = agents["hall"], agents["foreign"]
    foreign.stop()
    mesh = {"listen": foreign.host, "port": foreign.ports[0], "enrol_port": foreign.ports[1], "mdns": False}
    foreign.configure(mesh={**mesh, "join": [f"{hall.host}:{hall.ports[0]}"]})
    foreign.start()
    foreign.wait()
    agents.until("the foreign node says why", lambda: lines(foreign, "is not linked: it is a node of another mesh"), 40)
    agents.until("the hall says so", lambda: lines(hall, "mesh: refused", "another mesh"), 40)
    for node in (hall, foreign):
        status = node.status()
        assert status is not None
        assert [n["name"] for n in status["nodes"] if n["name"] in ("hall", "foreign")] == [node.name]


def test_no_certificate_gets_nothing_from_the_mesh_port(agents: Building) -> None:
    hall = agents["hall"]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with pytest.raises((ssl.SSLError, ConnectionError)):
        _talk(hall.ports[0], context)
    agents.until("the hall says so", lambda: lines(hall, "mesh: refused", "without a certificate"), 20)
    assert hall.status() is not None


def test_plain_tcp_gets_nothing_from_either_port(agents: Building) -> None:
    hall = agents["hall"]
    for port in hall.ports:
        try:
            answer = _talk(port, None)
        except ConnectionError:
            answer = b""
        assert len(answer) <= 7  # a TLS alert at most (RFC 8446, 6)
    agents.until("the mesh port says so", lambda: lines(hall, "mesh: refused", "TLS"), 20)
    agents.until("the enrolment port says so", lambda: lines(hall, "refused a joiner", "join.plain"), 20)
    assert hall.status() is not None


def _talk(port: int, context: ssl.SSLContext | None) -> bytes:
    """Say something and hear the answer, to the end."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as raw:
        if context is None:
            raw.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return raw.recv(1000)
        with context.wrap_socket(raw) as wrapped:
            wrapped.sendall(b"hello")
            return wrapped.recv(1000)
