from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent import children
from agent.config import Config, load_config
from agent.errors import StepFailed
from agent.identity import IdentityStore
from agent.selftest import PARTS, Part, Seen, parts, run_parts, software


@pytest.fixture
def config(tmp_path: Path) -> Config:
    state = tmp_path / "state"
    state.mkdir()
    return load_config(os.devnull, environ={}, overrides={"state": str(state), "mesh.mdns": False})


async def seen(config: Config, *names: str) -> dict[str, Seen]:
    chosen = [p for p in PARTS if p.name in names] if names else list(PARTS)
    return {s.check: s async for s in run_parts(config, chosen)}


async def test_every_part_works_here_and_leaves_nothing(config: Config) -> None:
    found = await seen(config)
    states = {name: s.state for name, s in found.items()}
    assert states == {p.name: "info" if p.name == "mdns" else "ok" for p in PARTS}, found
    assert list(config.state.iterdir()) == []


async def test_the_identity_of_this_node_is_checked(config: Config) -> None:
    mine = IdentityStore(config.state / "identity").create_mesh("porch")
    found = await seen(config, "identity")
    assert found["identity"].text == f"porch ({mine.node_id}) in mesh {mine.mesh_id}"


async def test_a_damaged_identity_fails(config: Config) -> None:
    IdentityStore(config.state / "identity").create_mesh("porch")
    for file in (config.state / "identity").iterdir():
        file.write_bytes(b"damaged")
    found = await seen(config, "identity")
    assert (found["identity"].state, bool(found["identity"].text)) == ("fail", True)


async def test_a_module_that_cannot_be_imported_is_named(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(software, "LAZY", ("uvicorn.no_such_part",))
    found = await seen(config, "modules")
    assert found["modules"].state == "fail"
    assert "uvicorn.no_such_part" in found["modules"].text


async def test_a_worker_that_does_not_start_is_named(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    def command(module: str, subcommand: str, *arguments: str) -> list[str]:
        return ["sh", "-c", "echo no library >&2; exit 3"] if subcommand == "process-child" else ["true"]

    monkeypatch.setattr(children, "worker_command", command)
    found = await seen(config, "workers")
    assert found["workers"].state == "fail"
    assert found["workers"].text == "the process-child does not start: it ended with 3: no library"


async def test_a_part_that_fails_ends_no_other(config: Config) -> None:
    async def refuses(config: Config, scratch: Path) -> str:
        raise StepFailed("it does not work", hint="repair it")

    async def breaks(config: Config, scratch: Path) -> str:
        raise RuntimeError("broken")

    async def nothing(config: Config, scratch: Path) -> str | None:
        return None

    chosen = [Part("a", refuses), Part("b", breaks), Part("c", refuses, optional=True), Part("d", nothing)]
    found = [(s.check, s.state, s.text) async for s in run_parts(config, chosen)]
    assert found == [
        ("a", "fail", "it does not work"),
        ("b", "fail", "RuntimeError: broken"),
        ("c", "warn", "it does not work"),
        ("d", "info", "not checked here"),
    ]


async def test_nodes_that_do_not_meet_fail_the_mesh(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "MEET", 0.0)
    found = await seen(config, "mesh")
    assert (found["mesh"].state, "do not meet" in found["mesh"].text) == ("fail", True)


async def test_a_state_folder_that_is_not_there_is_no_failure(config: Config, tmp_path: Path) -> None:
    config = load_config(os.devnull, environ={}, overrides={"state": str(tmp_path / "none")})
    assert (await seen(config, "disk", "identity")).keys() == {"disk", "identity"}
    assert not (tmp_path / "none").exists()
