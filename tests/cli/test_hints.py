"""Every command that a message, a hint or a page names exists, with its options."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from agent.cli.main import app
from cloud_sink import cli as sink_cli
from tests.cli.conftest import ROOT

PROSE = {
    "a", "agent", "and", "as", "can", "cannot", "compiles", "does", "for", "has", "in", "is", "of", "on", "printed", "runs",
    "starts", "tries", "was",
    "camera-worker", "process-child", "wasm-child", "mesh", "presence", "reply", "request", "log",
}  # fmt: skip
"""Words that may follow the program's name: those of sentences, names of child processes, and names in certificates and
signatures."""
COMMAND = re.compile(r"\b(edge-agent|edge-sink)((?: +(?:\[?--?[a-z][a-z-]*|[A-Za-z0-9@|=.…{}'\"-]+))*)")
QUOTED = re.compile(r"`([a-z]+(?: [a-z-]+)+[^`]*)`")
STOP = re.compile(r"[;,:|#)]|\.( |$)| → |\s{2,}")


def texts() -> Iterator[tuple[str, str]]:
    """(place, text) of every string in the source and of every line of the pages."""
    for package in ("agent", "cloud_sink", "demo"):
        for file in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.JoinedStr):
                    parts = [v.value if isinstance(v, ast.Constant) else "X" for v in node.values]
                    yield f"{file.relative_to(ROOT)}:{node.lineno}", "".join(map(str, parts))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield f"{file.relative_to(ROOT)}:{node.lineno}", node.value
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for number, line in enumerate(page.read_text().splitlines(), 1):
            yield f"{page.relative_to(ROOT)}:{number}", line


def command_of(program: str) -> Any:
    return typer.main.get_command(app) if program == "edge-agent" else typer.main.get_command(sink_cli.app)


def missing(program: str, rest: str) -> str:
    """The part of a command that does not exist, as written after its program; empty where all of it does."""
    words = (STOP.split(rest, maxsplit=1)[0] or "").split()
    command = command_of(program)
    options: dict[str, Any] = {}
    value = False
    for word in words:
        if value:
            value = False
            continue
        options |= {o: p for p in command.params for o in (*p.opts, *p.secondary_opts)}
        bare = word.strip("[]'\"")
        if bare == "--help":
            return ""
        if bare.startswith("--"):
            option = options.get(bare)
            if option is not None:
                value = not option.is_flag
            else:
                return f"{bare} of {program} {rest.strip()}"
        elif hasattr(command, "get_command") and re.fullmatch(r"[a-z][a-z-]*", bare):
            found = command.get_command(None, bare)
            if found is None:
                return f"{bare} of {program} {rest.strip()}"
            command = found
    return ""


def wrong() -> dict[str, str]:
    found = {}
    for place, text in texts():
        for program, rest in COMMAND.findall(text):
            first = rest.split()[:1]
            if first and first[0] not in PROSE and (fault := missing(program, rest)):
                found[place] = fault
        for quoted in QUOTED.findall(text):
            group = command_of("edge-agent").get_command(None, quoted.split()[0])
            if hasattr(group, "get_command") and (fault := missing("edge-agent", f" {quoted}")):
                found[place] = fault
    return found


def test_every_named_command_exists() -> None:
    assert wrong() == {}


@pytest.mark.parametrize("text", ["node promote X", "promote X", "token create --master", "sink connect URL --key"])
def test_a_command_that_does_not_exist_is_found(text: str) -> None:
    assert missing("edge-agent", f" {text}")


def test_many_commands_are_looked_at() -> None:
    assert sum(len(COMMAND.findall(text)) for _, text in texts()) > 100
    assert Path(sink_cli.__file__).is_file()
