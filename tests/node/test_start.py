"""The start of a node, and the secrets that it keeps out of its output."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import signal
import socket
from pathlib import Path

import pytest

from agent.api.requests import CreateToken
from agent.config import LogConfig
from agent.errors import CannotListen, ConfigError, EdgeError, JoinRefused
from agent.health.logs import setup_logging
from agent.identity import Token
from agent.mesh import Mesh
from agent.node import admission, run_agent
from agent.node.entry import locked
from agent.node.start import begin, wanted_labels
from tests.node.site import Site
from tests.support import eventually


async def test_a_node_without_state_and_mdns_makes_a_mesh(site: Site) -> None:
    said: list[str] = []
    config = site.config("first")
    begun = await begin(config, None, False, said.append)
    assert begun.made
    assert begun.identity.is_operator
    assert any("making one" in line for line in said)
    again = await begin(config, None, False, said.append)
    assert again.identity.node_id == begun.identity.node_id
    assert not again.made
    assert (
        await begin(config, None, True, said.append)
    ).identity.mesh_id == begun.identity.mesh_id  # --new changes nothing


async def test_a_token_lets_a_node_in_and_a_second_one_is_not_used(site: Site) -> None:
    hall = await site.start("hall")
    token = await hall.api.tokens.create(CreateToken(ttl=600, labels={"camera": "true"}))
    said: list[str] = []
    config = site.config("porch")
    begun = await begin(config, token.token, False, said.append)
    assert begun.identity.mesh_id == hall.admission.identity.mesh_id
    assert not begun.identity.is_operator
    assert begun.endpoints
    await eventually(lambda: hall.labels.signed(begun.identity.node_id) == {"camera": "true"})
    again = await begin(config, token.token, False, said.append)
    assert again.identity.node_id == begun.identity.node_id
    assert again.endpoints == begun.endpoints
    assert "the token is not used" in said[-1]
    assert (config.state / "join.json").stat().st_mode & 0o077 == 0
    with pytest.raises(JoinRefused) as caught:
        await begin(site.config("garage"), token.token, False, said.append)
    assert caught.value.code == "join.used"
    secret = Token.parse(token.token).encode()
    assert all(secret not in line for line in said)


async def test_a_token_in_the_state_folder_is_used_and_deleted(site: Site) -> None:
    hall = await site.start("hall")
    token = await hall.api.tokens.create(CreateToken(ttl=600))
    config, said = site.config("porch"), list[str]()
    config.state.mkdir(parents=True)
    file = config.state / "join-token"
    file.write_text(f"{token.token}\n")
    begun = await begin(config, None, False, said.append)
    assert begun.identity.mesh_id == hall.admission.identity.mesh_id
    assert not file.exists()
    file.write_text(token.token)
    again = await begin(config, None, False, said.append)
    assert again.identity.node_id == begun.identity.node_id
    assert not file.exists()


async def test_a_refused_token_stays_in_the_state_folder(site: Site) -> None:
    config = site.config("porch")
    config.state.mkdir(parents=True)
    (config.state / "join-token").write_text("edge1.AAAA")
    with pytest.raises(EdgeError):
        await begin(config, None, False, lambda line: None)
    assert (config.state / "join-token").exists()
    assert (config.state / "join-token").stat().st_mode & 0o077 == 0


async def test_the_word_new_in_the_state_folder_makes_a_mesh(site: Site) -> None:
    config = site.config("first")
    config.state.mkdir(parents=True)
    (config.state / "join-token").write_text("new\n")
    begun = await begin(config, None, False, lambda line: None)
    assert begun.made
    assert not (config.state / "join-token").exists()


async def test_a_port_in_use_is_named_before_anything_is_made(site: Site) -> None:
    config = site.config("first")
    with socket.create_server((config.mesh.listen, config.mesh.enrol_port)), pytest.raises(CannotListen) as caught:
        await begin(config, None, True, print)
    assert "mesh.enrol_port" in caught.value.message
    assert "mesh.enrol_port" in caught.value.hint
    assert not list((config.state / "identity").glob("*"))


@pytest.mark.parametrize("token", ["nonsense", "edge1.AAAA"])
async def test_a_bad_token_is_refused_and_leaves_no_identity(site: Site, token: str) -> None:
    config = site.config("porch")
    with pytest.raises(EdgeError) as caught:
        await begin(config, token, False, lambda line: None)
    assert caught.value.hint
    assert token not in caught.value.message
    assert not (config.state / "identity" / "certificate.pem").exists()


def test_labels_to_ask_for_are_checked(site: Site) -> None:
    found = wanted_labels(site.config("hall", labels={"role": "edge", "camera": "true"}))
    assert found["role"] == "edge"
    assert "docker" not in found
    assert not {"id", "node", "arch"} & set(found)
    with pytest.raises(ConfigError):
        wanted_labels(site.config("hall", labels={"ro le": "edge"}))


async def test_a_state_folder_has_one_agent(site: Site) -> None:
    config = site.config("hall")
    with locked(config), pytest.raises(ConfigError) as caught:
        await run_agent(config)
    assert caught.value.code == "state.locked"
    assert "--state" in caught.value.hint
    with locked(config):
        pass  # free again


@pytest.mark.usefixtures("restored_process")
async def test_run_agent_prints_the_join_line_and_ends_on_a_signal(site: Site, tmp_path: Path) -> None:
    said: list[str] = []
    stream = io.StringIO()
    before = logging.getLogger().handlers[:]
    setup_logging(LogConfig(level="debug"), stream=stream, environ={})
    try:
        config = site.config("first")
        life = asyncio.create_task(run_agent(config, new=True, out=said.append))
        await eventually(lambda: any("--join" in line for line in said) or life.done(), 20)
        await eventually(lambda: "is in mesh" in stream.getvalue() or life.done(), 20)
        os.kill(os.getpid(), signal.SIGTERM)
        assert await asyncio.wait_for(life, 30) == 0
    finally:
        for handler in [h for h in logging.getLogger().handlers if h not in before]:
            logging.getLogger().removeHandler(handler)
    line = next(line for line in said if "--join" in line)
    token = line.split()[-1]
    Token.parse(token)
    assert token not in stream.getvalue()
    everything = b"".join(p.read_bytes() for p in config.state.rglob("*") if p.is_file() and p.name != "tokens.json")
    assert token.encode() not in everything
    loose = [p for p in config.state.rglob("*") if p.stat().st_mode & 0o077 and not p.is_symlink()]
    assert not loose, loose


@pytest.mark.usefixtures("restored_process")
async def test_a_mesh_is_made_on_a_device_without_a_network(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "local_addresses", lambda *_: [])
    said: list[str] = []
    life = asyncio.create_task(run_agent(site.config("first"), new=True, out=said.append))
    await eventually(lambda: any("no address that others reach" in line for line in said) or life.done(), 20)
    assert not life.done()
    os.kill(os.getpid(), signal.SIGTERM)
    assert await asyncio.wait_for(life, 30) == 0


@pytest.mark.usefixtures("restored_process")
async def test_an_error_that_ends_the_agent_is_logged_with_its_place(
    site: Site, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def faulty(mesh: Mesh) -> None:
        raise TypeError("a mistake of ours")

    monkeypatch.setattr(Mesh, "run", faulty)
    with pytest.raises(TypeError):
        await run_agent(site.config("first"), new=True, out=lambda line: None)
    assert "in faulty" in caplog.text
    assert "a mistake of ours" in caplog.text


def test_a_token_that_is_logged_by_mistake_is_redacted(site: Site) -> None:
    stream = io.StringIO()
    before = logging.getLogger().handlers[:]
    setup_logging(LogConfig(level="info"), stream=stream, environ={})
    try:
        logging.getLogger("agent.test").warning("the line is edge-agent serve --join %s", "edge1." + "A" * 60)
    finally:
        for handler in [h for h in logging.getLogger().handlers if h not in before]:
            logging.getLogger().removeHandler(handler)
    assert "AAAA" not in stream.getvalue()
    assert "--join" in stream.getvalue()
