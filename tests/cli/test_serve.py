"""`serve` as a process: it starts, answers, joins, refuses, and leaves nothing when it is stopped."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

from tests.cli.conftest import Shell
from tests.support import eventually


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def shell(folder: Path) -> Shell:
    """A shell whose agent would live in this folder, on loopback, without mDNS."""
    folder.mkdir()
    made = Shell(folder / "a.sock", folder / "state")
    made.folder = folder
    made.environ |= {
        "EDGE_AGENT_MESH_LISTEN": "127.0.0.1",
        "EDGE_AGENT_MESH_ADVERTISE": "127.0.0.1",
        "EDGE_AGENT_MESH_PORT": str(free_port()),
        "EDGE_AGENT_MESH_ENROL_PORT": str(free_port()),
        "EDGE_AGENT_MESH_MDNS": "false",
        "EDGE_AGENT_POLICY_DOCKER": "false",
        "EDGE_AGENT_SOURCES_TAIL": str(folder / "messages"),
    }
    return made


@contextlib.asynccontextmanager
async def serve(edge: Shell, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await edge.start("serve", *arguments)
    try:
        await eventually(lambda: (edge.folder / "a.sock").exists() or process.returncode is not None, 30)
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.communicate(), 30)


async def test_a_mesh_of_two_and_a_third_that_is_refused(tmp_path: Path) -> None:
    first, second, third = (shell(tmp_path / name) for name in ("first", "second", "third"))
    async with serve(first, "--new", "--name", "first"):
        assert (await first("status", "--json")).json["node"]["name"] == "first"
        token = (await first("token", "create", "--json")).json["token"]
        (second.folder / "token").write_text(token)
        async with serve(second, "--join", "@token", "--name", "second"):
            async with asyncio.timeout(30):
                while {n["name"] for n in (await second("nodes", "--json")).json} != {"first", "second"}:
                    pass
            assert (await second("config", "show", "--running", "--json")).json["name"] == "second"
        refused = await third("serve", "--join", "-", input=token + "\n")
        assert (refused.code, "[join.used]" in refused.err) == (3, True)


async def test_piped_output_has_no_token(tmp_path: Path) -> None:
    edge = shell(tmp_path / "first")
    async with serve(edge, "--new") as process:
        assert process.stdout is not None
        lines = [await process.stdout.readline() for _ in range(2)]
    assert b"edge-agent serve --join" in lines[1]
    assert b"edge1.\xe2\x80\xa6" in lines[1]


async def test_stopping_it_leaves_no_socket_and_ends_with_0(tmp_path: Path) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        edge = shell(tmp_path / number.name)
        async with serve(edge, "--new") as process:
            process.send_signal(number)
            _, err = await asyncio.wait_for(process.communicate(), 30)
        assert (process.returncode, b"Traceback" in err) == (0, False)
        assert not (edge.folder / "a.sock").exists()


async def test_a_second_agent_on_the_same_state_is_refused(tmp_path: Path) -> None:
    edge = shell(tmp_path / "first")
    async with serve(edge, "--new"):
        second = await edge("serve")
        assert (second.code, "[state.locked]" in second.err) == (2, True)
        assert (await edge("status")).code == 0
