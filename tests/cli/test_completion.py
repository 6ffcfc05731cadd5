"""Names that the shell completes: the running agent is asked."""

from __future__ import annotations

import pytest

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
