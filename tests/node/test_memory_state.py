"""A state folder that takes no writes: the agent goes on in memory, and goes back to the disk when it can."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.api import Client, serve_api
from agent.config import Config, changed_keys
from agent.errors import ConfigError, EdgeError
from agent.health import HealthRegistry
from agent.identity import IdentityStore
from agent.node import memory_state, run_agent
from agent.node.entry import locked
from agent.node.memory_state import copy_of, fault, read_only_file_system
from tests.node.site import Site
from tests.support import eventually

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it mounts file systems")]


class Disk:
    """A file system of 24 MB, big enough to be used again when it is empty."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        _run("mount", "-t", "tmpfs", "-o", "size=24m", "edge-test", str(path))

    def fill(self) -> None:
        """Write until nothing fits."""
        with (self.path / "ballast").open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
            while file.write(bytes(4096)):
                pass

    def empty(self) -> None:
        (self.path / "ballast").unlink()

    def remount(self, how: str) -> None:
        """`ro` or `rw`."""
        _run("mount", "-o", f"remount,{how}", str(self.path))


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    made = Disk(tmp_path / "disk")
    yield made
    _run("umount", "--lazy", str(made.path))


@pytest.fixture
def config(site: Site, disk: Disk, tmp_path: Path) -> Config:
    """The configuration of a node that has run on the disk: it has an identity and a journal with an event and a device."""
    config = site.config("box", state=str(disk.path / "state"), run=str(tmp_path / "run/agent.sock"))
    copy_of(config).parent.mkdir()
    IdentityStore(config.state / "identity").create_mesh("box")
    (config.state / "blobs").mkdir()
    (config.state / "blobs/photo").write_bytes(bytes(1000))
    with sqlite3.connect(config.state / "journal.db") as db:
        for table in ("row", "event", "kept", "decision"):
            db.execute(f"CREATE TABLE {table} (id TEXT)")
            db.execute(f"INSERT INTO {table} VALUES ('x')")
    db.close()
    return config


def stop_writes(disk: Disk, how: str) -> None:
    if how == "full":
        disk.fill()
    else:
        disk.remount("ro")


def allow_writes(disk: Disk, how: str) -> None:
    if how == "full":
        disk.empty()
    else:
        disk.remount("rw")


def ask_status(socket: Path) -> dict[str, Any]:
    with Client(socket) as client:
        found: dict[str, Any] = client.get("/v1/status")
        return found


@pytest.mark.parametrize("how", ["full", "read-only"])
def test_the_copy_is_the_same_node_without_its_events(disk: Disk, config: Config, how: str) -> None:
    before = IdentityStore(config.state / "identity").load()
    stop_writes(disk, how)
    with locked(config) as memory:
        assert memory is not None
        assert (memory.cause, memory.folder) == (how, config.state)
        after = IdentityStore(memory.config.state / "identity").load()
        assert before is not None
        assert after is not None
        assert after.node_id == before.node_id
        with sqlite3.connect(memory.config.state / "journal.db") as db:
            held = {t: db.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in ("row", "event", "decision")}
        db.close()
        assert held == {"row": 0, "event": 0, "decision": 1}
        assert not (memory.config.state / "blobs").exists()
        assert memory.config.state.stat().st_mode & 0o077 == 0
        assert changed_keys(memory.config, memory.moved(config)) == []
        health = HealthRegistry()
        memory.warn(health)
        (warning,) = health.list()
        assert (warning.code, warning.severity) == ("state.memory", "error")
        assert how in warning.text
        with pytest.raises(ConfigError) as caught, locked(config):
            pass
        assert caught.value.code == "state.locked"


@pytest.mark.parametrize(
    ("options", "whole"), [("ro,relatime - ext4 /dev/x rw", False), ("ro - ext4 /dev/x ro,errors=continue", True)]
)
def test_a_read_only_view_is_told_from_a_read_only_file_system(tmp_path: Path, options: str, whole: bool) -> None:
    folder = tmp_path / "å folder"
    folder.mkdir()
    info = tmp_path / "mountinfo"
    place = str(folder).replace(" ", "\\040")
    info.write_text(
        f"1 0 0:1 / / rw - ext4 /dev/r rw\n2 1 0:2 / {place} {options}\n3 1 0:3 / {place}/below rw - tmpfs t ro\n"
    )
    assert read_only_file_system(folder, info) is whole


def test_a_disk_that_takes_writes_is_used(disk: Disk, config: Config) -> None:
    with locked(config) as memory:
        assert memory is None
    assert fault(config.state, 1000) == ""
    assert not list(config.state.glob(".probe*"))


def test_a_node_without_identity_does_not_begin_in_memory(disk: Disk, site: Site, tmp_path: Path) -> None:
    config = site.config("box", state=str(disk.path / "new"), run=str(tmp_path / "agent.sock"))
    disk.remount("ro")
    with pytest.raises(ConfigError) as caught, locked(config):
        pass
    assert caught.value.code == "state.folder"
    assert "read-only" in caught.value.message


def test_a_journal_that_is_too_large_stays_on_the_disk(
    disk: Disk, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_state, "MAX_JOURNAL", 100)
    disk.remount("ro")
    with locked(config) as memory:
        assert memory is not None
        assert not (memory.config.state / "journal.db").exists()


@pytest.mark.usefixtures("restored_process")
@pytest.mark.parametrize("how", ["full", "read-only"])
async def test_an_agent_works_in_memory_until_the_disk_takes_writes(
    disk: Disk, config: Config, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_state, "LOOK", 0.1)
    (config.state / "journal.db").unlink()
    identity = IdentityStore(config.state / "identity").load()
    assert identity is not None
    stop_writes(disk, how)
    life = asyncio.create_task(run_agent(config, out=lambda _: None, api=serve_api))
    await eventually(lambda: config.run.exists() or life.done(), 30)
    status = await asyncio.to_thread(ask_status, config.run)
    assert status["node"]["id"] == identity.node_id
    assert "state.memory" in {w["code"] for w in status["warnings"]}
    allow_writes(disk, how)
    with pytest.raises(EdgeError) as caught:
        await asyncio.wait_for(life, 60)
    assert caught.value.code == "state.back"
    with locked(config) as memory:
        assert memory is None
