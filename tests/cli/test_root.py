"""Help, mistakes, exit codes, the configuration and the doctor."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from agent.cli import doctor_checks
from agent.cli.main import NOUNS, main
from agent.config import Config
from agent.platforms import detect
from tests.api.memory import MemoryAgent
from tests.cli.conftest import Shell


async def test_help_names_every_noun_without_importing_any(alone: Shell) -> None:
    shown = await alone("--help")
    assert shown.code == 0
    for noun in NOUNS:
        assert noun.name in shown.out
        assert noun.text.split(".")[0][:20] in shown.out
    code = (
        "import sys\nfrom agent.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'httpx', 'zenoh', 'docker', 'uvicorn', 'cryptography', 'ruamel', 'msgspec'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def test_every_noun_has_help_with_a_description(capsys: pytest.CaptureFixture[str]) -> None:
    for noun in NOUNS:
        with pytest.raises(SystemExit) as ended:
            main([noun.name, "--help"])
        shown = capsys.readouterr().out
        assert ended.value.code == 0
        assert f"Usage: edge-agent {noun.name}" in shown
        assert len(shown.splitlines()) > 5


def test_every_noun_has_a_module() -> None:
    assert [n.name for n in NOUNS if find_spec(n.path) is None] == []


async def test_a_mistyped_command_has_near_names(alone: Shell) -> None:
    result = await alone("stauts")
    assert result.code == 2
    assert "did you mean status" in result.err


async def test_wrong_use_ends_with_2(alone: Shell) -> None:
    assert (await alone("status", "--no-such-option")).code == 2
    assert (await alone("trace")).code == 2
    assert (await alone("node", "nonsense")).code == 2


async def test_without_an_agent_every_command_says_how_to_start_one(alone: Shell) -> None:
    for line in (["status"], ["nodes"], ["events", "-f"], ["blob", "add", "-"], ["pipeline", "list"]):
        result = await alone(*line)
        assert result.code == 4, line
        assert "edge-agent serve" in result.err
        assert "[agent.absent]" in result.err


async def test_errors_are_json_when_json_is_asked_for(alone: Shell) -> None:
    import json

    result = await alone("status", "--json")
    error = json.loads(result.err)["error"]
    assert set(error) >= {"code", "message", "hint"}


async def test_an_agent_that_hangs_up_is_an_error_and_no_traceback(alone: Shell, tmp_path: Path) -> None:
    import asyncio

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.close()

    async with await asyncio.start_unix_server(hang_up, tmp_path / "nobody.sock"):
        result = await alone("status")
    assert (result.code, "[agent.absent]" in result.err) == (4, True)


async def test_another_program_on_the_socket_is_an_error(alone: Shell, tmp_path: Path) -> None:
    import asyncio

    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"HTTP/1.1 500 Oh\r\ncontent-length: 3\r\n\r\n<p>")
        await writer.drain()
        writer.close()

    async with await asyncio.start_unix_server(babble, tmp_path / "nobody.sock"):
        result = await alone("status")
    assert (result.code, "answered 500" in result.err) == (1, True)


async def test_the_version_is_the_packages(alone: Shell) -> None:
    from agent import __version__

    assert (await alone("version", "--json")).json["version"] == __version__
    assert __version__ in (await alone("--version")).out


async def test_config_show_names_origins(alone: Shell, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("mesh:\n  port: 1234\n")
    shown = await alone("--config", "c.yaml", "config", "show", "--origin")
    assert "c.yaml:2" in shown.out
    assert "environment EDGE_AGENT_STATE" in shown.out
    rows = {r["key"]: r for r in (await alone("--config", "c.yaml", "config", "show", "--origin", "--json")).json}
    assert rows["mesh.port"] == {"key": "mesh.port", "value": 1234, "origin": "c.yaml:2"}
    assert rows["mesh.mdns"]["origin"] == "default"


async def test_config_check_shows_the_line_of_a_mistake(alone: Shell, tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text("name: porch\n")
    (tmp_path / "bad.yaml").write_text("name: porch\nmesh:\n  prot: 1\n")
    assert (await alone("config", "check", "good.yaml")).code == 0
    bad = await alone("config", "check", "bad.yaml")
    assert bad.code == 2
    assert "bad.yaml:3" in bad.err
    assert "did you mean mesh.port?" in bad.err


async def test_config_show_of_the_running_agent(edge: Shell, agent: MemoryAgent) -> None:
    assert (await edge("config", "show", "--running", "--json")).json["name"] == "gpu"


async def test_the_doctor_looks_without_an_agent(alone: Shell, tmp_path: Path) -> None:
    found = (await alone("doctor", "--json", EDGE_AGENT_MESH_PORT="0", EDGE_AGENT_MESH_ENROL_PORT="0")).json
    checks = {f["check"]: f["state"] for f in found["findings"]}
    assert checks["agent"] == "warn"
    assert set(checks) >= {
        "configuration",
        "state",
        "disk",
        "memory",
        "multicast",
        "docker",
        "cameras",
        "clock",
        "wasm",
    }
    assert all(f["remedy"] for f in found["findings"] if f["state"] != "ok")


async def test_the_doctor_fails_on_a_key_that_others_can_read(alone: Shell, tmp_path: Path) -> None:
    (tmp_path / "identity").mkdir()
    (tmp_path / "identity" / "node.key").write_text("secret")
    (tmp_path / "identity" / "node.key").chmod(0o644)
    result = await alone("doctor", "--json")
    failed = [f for f in result.json["findings"] if f["state"] == "fail"]
    assert (result.code, len(failed)) == (1, 1)
    assert "node.key can be read by others" in failed[0]["text"]
    assert failed[0]["remedy"] == f"chmod 0600 {tmp_path}/identity/node.key"


async def test_the_doctor_finds_a_port_that_another_program_has(alone: Shell) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        environ = {"EDGE_AGENT_MESH_LISTEN": "127.0.0.1", "EDGE_AGENT_MESH_PORT": port}
        result = await alone("doctor", "--json", **environ)
    found = next(f for f in result.json["findings"] if f["check"] == "mesh port")
    assert (result.code, found["state"]) == (1, "fail")


async def test_the_doctor_asks_the_running_agent(edge: Shell) -> None:
    found = (await edge("doctor", "--json")).json["findings"]
    assert {"camera.silent", "mesh"} <= {f["check"] for f in found}
    assert {f["state"] for f in found if f["check"] == "operator.one"} == {"info"}


def test_the_doctor_tells_a_missing_right_from_a_missing_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    import docker

    def refused(**_: object) -> None:
        raise docker.errors.DockerException("('Connection aborted.', PermissionError(13, 'Permission denied'))")

    monkeypatch.setattr(docker, "DockerClient", refused)
    monkeypatch.setattr(docker, "from_env", refused)
    (found,) = doctor_checks.docker(doctor_checks.Device(Config(), running=False, platform=detect()))
    assert ("may not use" in found.text, "group docker" in found.remedy) == (True, True)


async def test_the_doctor_reports_a_wrong_configuration_and_goes_on(alone: Shell, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("nmae: x\n")
    result = await alone("--config", "bad.yaml", "doctor", "--json")
    assert result.code == 1
    assert result.json["findings"][0]["state"] == "fail"
    assert len(result.json["findings"]) > 5


async def test_serve_refuses_a_wrong_configuration_before_it_starts(alone: Shell, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("mesh:\n  prot: 1\n")
    result = await alone("serve", "--config", "bad.yaml")
    assert (result.code, "did you mean mesh.port?" in result.err) == (2, True)


async def test_completion_offers_the_nouns(alone: Shell) -> None:
    shown = await alone(_EDGE_AGENT_COMPLETE="complete_bash", COMP_WORDS="edge-agent pip", COMP_CWORD="1")
    assert shown.out.split() == ["pipeline"]
