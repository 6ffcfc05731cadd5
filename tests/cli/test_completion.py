"""Names that the shell completes: the running agent is asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import typer

from agent.cli.main import app
from tests.api.memory import MAC
from tests.cli.conftest import Shell


async def complete(shell: Shell, line: str) -> list[str]:
    """The words that bash offers for the last word of the line, which may be empty."""
    words = line.split(" ")
    shown = await shell(_EDGE_AGENT_COMPLETE="complete_bash", COMP_WORDS=line, COMP_CWORD=str(len(words) - 1))
    assert shown.err == ""
    return shown.out.split()


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("edge-agent node describe g", ["garage", "gpu"]),
        ("edge-agent logs --node po", ["porch"]),
        ("edge-agent pipeline pause per", ["person-at-the-door"]),
        ("edge-agent events -p ", ["person-at-the-door"]),
        ("edge-agent pipeline trigger person-at-the-door --step l", ["labels"]),
        ("edge-agent logs person-at-the-door/la", ["person-at-the-door/labels"]),
        ("edge-agent camera test d", ["door"]),
        ("edge-agent device know ", [MAC]),
    ],
)
async def test_names_of_the_running_agent_are_completed(edge: Shell, line: str, names: list[str]) -> None:
    assert await complete(edge, line) == names


def commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    yield path, command
    inner = getattr(command, "commands", None) or {n.name: n.load() for n in getattr(command, "nouns", ())}
    for name, one in inner.items():
        yield from commands(one, f"{path} {name}")


def test_each_argument_that_names_a_thing_is_completed() -> None:
    names = {"NODE", "PIPELINE", "DEVICE", "PIPELINE[/STEP]", "OTHER"}
    without = [
        f"{path} {parameter.name}"
        for path, command in commands(typer.main.get_command(app), "edge-agent")
        for parameter in command.params
        if (parameter.metavar in names or parameter.name in ("node", "pipeline", "device"))
        and getattr(parameter, "_custom_shell_complete", None) is None
    ]
    assert without == []


async def test_steps_of_a_file_are_completed_without_an_agent(alone: Shell) -> None:
    (alone.folder / "p.yaml").write_text(
        "version: 1\nname: p\nsteps:\n  wifi:\n    tail: auto\n  warm: {after: wifi}\nkeep: {}\n"
    )
    assert await complete(alone, "edge-agent pipeline test p.yaml w") == ["wifi", "warm"]
    assert await complete(alone, "edge-agent pipeline test nowhere.yaml w") == []


async def test_the_socket_of_the_command_is_asked(edge: Shell) -> None:
    assert await complete(edge, "edge-agent --socket /nowhere node describe g") == []


async def test_completion_is_silent_where_no_agent_answers(alone: Shell) -> None:
    assert await complete(alone, "edge-agent node describe g") == []
    assert await complete(alone, "edge-agent --config /nowhere device know a") == []


async def test_completion_is_silent_where_another_program_answers(alone: Shell) -> None:
    import asyncio

    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n<p>")
        await writer.drain()
        writer.close()

    async with await asyncio.start_unix_server(babble, alone.folder / "nobody.sock"):
        assert await complete(alone, "edge-agent pipeline pause p") == []
