"""Reading the configuration again while a node runs."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.config import Config, load_config
from agent.node import Node, run_agent
from agent.node.reload import Reload
from agent.service_manager import ServiceManager
from tests.node.site import Site
from tests.support import eventually


@pytest.fixture(autouse=True)
def level_restored() -> Iterator[None]:
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    root.setLevel(level)
    root.handlers[:] = handlers


INVALID, RESTART = "config.invalid", "config.restart"


class Reloaded:
    """A node that runs, the file of its configuration, and its reloads."""

    def __init__(self, node: Node, file: Path, config: Config, manager: ServiceManager) -> None:
        self.node, self.file, self.start = node, file, config
        self.reload = Reload(node, self.read, manager)

    def read(self) -> Config:
        options = {"state": str(self.start.state), "run": str(self.start.run), "name": self.start.name}
        return load_config(self.file, {}, options)

    async def now(self, text: str) -> bool:
        """Reload with another text in the file."""
        self.file.write_text(self.base() + text)
        return await self.reload.now()

    def base(self) -> str:
        mesh = self.start.mesh
        return (
            f"mesh: {{listen: 127.0.0.1, port: {mesh.port}, enrol_port: {mesh.enrol_port}, mdns: false, join: [%JOIN%]}}\n"
            "docker: {host: tcp://127.0.0.1:1}\nuplink: {status: false}\n"
        ).replace("%JOIN%", ", ".join(mesh.join))

    def codes(self) -> set[str]:
        return {w.code for w in self.node.health.list()}


@pytest.fixture
async def hall(site: Site, tmp_path: Path) -> Reloaded:
    node = await site.start("hall")
    return Reloaded(node, tmp_path / "config.yaml", node.config, ServiceManager())


async def test_level_labels_and_sources_change_at_once(hall: Reloaded) -> None:
    assert await hall.now("log: {level: debug}\nlabels: {room: attic}\nsources: {tail: [/var/log/other]}\n")
    assert logging.getLogger().level == logging.DEBUG
    assert hall.node.delivery.engine.steps.parts.logs.auto == ["/var/log/other"]
    assert hall.node.wanted["room"] == "attic"
    shown = {row.key: row.value for row in await hall.node.api.config.all()}
    assert (shown["log.level"], shown["sources.tail"]) == ("debug", ["/var/log/other"])
    assert not {INVALID, RESTART} & hall.codes()
    assert await hall.now("")
    assert "room" not in hall.node.wanted
    assert logging.getLogger().level == logging.INFO


async def test_a_key_that_needs_a_restart_is_named_and_not_changed(
    hall: Reloaded, caplog: pytest.LogCaptureFixture
) -> None:
    assert await hall.now("journal: {max_open: 5}\npolicy: {process: true}\n")
    assert "restart to apply policy.process, journal.max_open" in caplog.text
    (warning,) = [w for w in hall.node.health.list() if w.code == RESTART]
    assert "policy.process, journal.max_open" in warning.text
    shown = {row.key: row.value for row in await hall.node.api.config.all()}
    assert shown["journal.max_open"] == 10000
    assert await hall.now("")
    assert RESTART not in hall.codes()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("log: {level: loud}\nlabels: {room: attic}\n", "log.level"),
        ("labels: {room: attic}\nlgo: {}\n", "unknown key lgo"),
        ("labels: [\n", "config.yaml:"),
        ("labels: {'ro om': x}\n", "ro om"),
    ],
)
async def test_a_faulty_configuration_changes_nothing_and_is_a_warning(hall: Reloaded, text: str, said: str) -> None:
    before = hall.node.api.config.values
    assert not await hall.now(text)
    (warning,) = [w for w in hall.node.health.list() if w.code == INVALID]
    assert said in warning.text
    assert warning.severity == "error"
    assert "reload" in warning.remedy
    assert hall.node.api.config.values is before
    assert "room" not in hall.node.wanted
    assert await hall.now("")
    assert INVALID not in hall.codes()


async def test_a_file_that_is_gone_keeps_the_configuration(hall: Reloaded) -> None:
    assert not await hall.reload.now()
    assert INVALID in hall.codes()


async def test_an_address_in_mesh_join_is_dialled_at_once(hall: Reloaded) -> None:
    text = hall.base().replace("join: []", "join: ['127.0.0.1:9']")
    hall.file.write_text(text)
    assert await hall.reload.now()
    assert any(e.address == "127.0.0.1:9" for e in hall.node.mesh.endpoints())
    hall.file.write_text(text.replace("127.0.0.1:9", "no port:x"))
    assert not await hall.reload.now()


async def test_the_service_manager_hears_of_a_reload_even_of_a_bad_one(hall: Reloaded, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as told:
        told.bind(str(tmp_path / "notify"))
        hall.file.write_text("lgo: 1\n")
        asked = asyncio.Event()
        reload = Reload(hall.node, hall.read, ServiceManager(str(tmp_path / "notify")))
        task = asyncio.create_task(reload.run(asked))
        try:
            asked.set()
            await eventually(lambda: INVALID in hall.codes())
            loop = asyncio.get_running_loop()
            assert (await asyncio.wait_for(loop.sock_recv(told, 1000), 10)).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
            assert await asyncio.wait_for(loop.sock_recv(told, 1000), 10) == b"READY=1"
        finally:
            task.cancel()
            await asyncio.wait({task})


@pytest.mark.usefixtures("restored_process")
async def test_sighup_reloads_an_agent_that_can_read_again(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    config = site.config("first")
    life = asyncio.create_task(run_agent(config, new=True, out=lambda _: None, reread=lambda: config))
    with caplog.at_level(logging.INFO):
        await eventually(lambda: "is in mesh" in caplog.text or life.done(), 20)
        os.kill(os.getpid(), signal.SIGHUP)
        await eventually(lambda: "was read again; changed: nothing" in caplog.text or life.done(), 20)
    assert not life.done()
    os.kill(os.getpid(), signal.SIGTERM)
    assert await asyncio.wait_for(life, 30) == 0


@pytest.mark.usefixtures("restored_process")
async def test_sighup_ends_an_agent_without_a_way_to_read_again(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    life = asyncio.create_task(run_agent(site.config("first"), new=True, out=lambda _: None))
    with caplog.at_level(logging.INFO):
        await eventually(lambda: "is in mesh" in caplog.text or life.done(), 20)
    os.kill(os.getpid(), signal.SIGHUP)
    assert await asyncio.wait_for(life, 30) == 0
