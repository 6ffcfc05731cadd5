"""Writes the man pages edge-agent(1) and edge-sink(1) from the command lines themselves.

python scripts/man_pages.py FOLDER     exit code 0 when the pages are in FOLDER, as edge-agent.1 and edge-sink.1

The macros are those of man(7). SOURCE_DATE_EPOCH sets the date, so that two builds are equal.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import typer  # noqa: E402

from agent import __version__  # noqa: E402
from agent.config import DEFAULT_FILE, DEFAULT_SOCKET, DEFAULT_STATE  # noqa: E402

_MARKUP = re.compile(r"\[/?(?:bold|dim|italic|cyan|green|red|yellow)?\]")


class Page(NamedTuple):
    """One program: its name, a line about it, its root command, and the parts that no command line has."""

    name: str
    about: str
    command: Any
    environment: dict[str, str]
    files: dict[str, str]
    also: str


def pages() -> list[Page]:
    """The pages of both programs."""
    from agent.cli.main import NOUNS, app
    from cloud_sink.cli import DATA
    from cloud_sink.cli import app as sink_app

    agent = typer.main.get_command(app)
    agent.list_commands = lambda ctx: [noun.name for noun in NOUNS]  # type: ignore[method-assign]  # no other package's
    return [
        Page(
            "edge-agent",
            "run and manage the agent of a device in a private mesh",
            agent,
            {
                "EDGE_AGENT_CONFIG": "Configuration file.",
                "EDGE_AGENT_SOCKET": "Unix socket of the agent that commands ask.",
                "EDGE_AGENT_STATE": "Folder of the agent's state; every key of the configuration has such a variable.",
                "EDGE_AGENT_DEBUG": "With 1, an internal error shows where it happened.",
                "NO_COLOR": "Print without colours.",
            },
            {
                str(DEFAULT_FILE): "Configuration.",
                str(DEFAULT_STATE): "State: identity, journal, blobs, cameras, logs of steps.",
                str(DEFAULT_SOCKET): "Unix socket of the local API.",
            },
            "edge-sink(1)",
        ),
        Page(
            "edge-sink",
            "store the alerts of buildings, show them on a page, and post them",
            typer.main.get_command(sink_app),
            {
                "EDGE_SINK_DATA": "Folder of certificate, photos and the SQLite file.",
                "EDGE_SINK_DB": "Database URL; may hold a password.",
                "EDGE_SINK_SLACK_TOKEN": "Token of the Slack app.",
                "EDGE_SINK_SLACK_CHANNEL": "Channel that the sink posts to.",
            },
            {str(DATA): "Certificate, photos and the SQLite file."},
            "edge-agent(1)",
        ),
    ]


def page(p: Page) -> str:
    """The page as man(7) macros."""
    day = time.strftime("%Y-%m-%d", time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))))
    lines = [
        f'.TH {p.name.upper()} 1 {day} "{p.name} {__version__}" "User Commands"',
        ".SH NAME",
        f"{_text(p.name)} \\- {_text(p.about)}",
        ".SH SYNOPSIS",
        f".B {_text(p.name)}",
        "[\\fIOPTION\\fR]... \\fICOMMAND\\fR [\\fIARGUMENT\\fR]...",
        ".SH DESCRIPTION",
        *_paragraphs(p.command.help),
        ".SH OPTIONS",
        *_options(p.command),
        ".SH COMMANDS",
    ]
    for words, command in _walk(p.command, (p.name,)):
        lines += _command(words, command)
    lines += [".SH EXIT STATUS", *_exit_status(p.command.epilog or "")]
    lines += [".SH ENVIRONMENT", *_terms(p.environment), ".SH FILES", *_terms(p.files)]
    return "\n".join([*lines, ".SH SEE ALSO", _text(p.also)]) + "\n"


def _walk(group: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command below the group with its words, in the order of its help."""
    context = group.make_context(words[-1], [], resilient_parsing=True)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None or command.hidden:
            continue
        if hasattr(command, "list_commands"):
            yield from _walk(command, (*words, name))
        else:
            yield (*words, name), command


def _command(words: tuple[str, ...], command: Any) -> list[str]:
    context = command.make_context(words[-1], [], resilient_parsing=True)
    usage = " ".join(piece for piece in command.collect_usage_pieces(context) if piece)
    lines = [f".SS {_text(' '.join(words[1:]))}", f"\\fB{_text(' '.join(words))}\\fR {_text(usage)}"]
    lines += [".P", *_paragraphs(command.help), *_options(command)]
    examples = [line.strip() for line in _plain(command.epilog or "").splitlines()[1:] if line.strip()]
    if examples:
        lines += [".P", "Examples:", ".P", ".nf", ".RS", *map(_text, examples), ".RE", ".fi"]
    return lines


def _options(command: Any) -> list[str]:
    """Arguments and options as tagged paragraphs."""
    lines: list[str] = []
    for parameter in command.params:
        if getattr(parameter, "hidden", False) or not (parameter.help or "").strip():
            continue
        if parameter.param_type_name == "argument":
            tag = f"\\fI{_text(parameter.metavar or parameter.name.upper())}\\fR"
        else:
            names = ", ".join(f"\\fB{_text(o)}\\fR" for o in (*parameter.opts, *parameter.secondary_opts))
            value = "" if parameter.is_flag else f" \\fI{_text(parameter.metavar or parameter.type.name.upper())}\\fR"
            tag = names + value
        default = parameter.default
        shown = f" Default: {default}." if isinstance(default, str | int | float) and default not in (False, "") else ""
        lines += [".TP", tag, _text(_plain(parameter.help) + shown)]
    return lines


def _exit_status(epilog: str) -> list[str]:
    found = re.findall(r"(\d+) ([^·,.]+)", _plain(epilog).rpartition("Exit codes")[2])
    return _terms({number: meaning.strip().capitalize() + "." for number, meaning in found})


def _terms(terms: dict[str, str]) -> list[str]:
    return [line for term, text in terms.items() for line in (".TP", f"\\fB{_text(term)}\\fR", _text(text))]


def _paragraphs(text: str | None) -> list[str]:
    """The paragraphs, with a break between them."""
    parts = [_text(" ".join(part.split())) for part in _plain(text or "").split("\n\n")]
    return "\n.P\n".join(parts).split("\n")


def _plain(text: str) -> str:
    """Text without rich's markup and Markdown's code marks."""
    return _MARKUP.sub("", text).replace("\\[", "[").replace("`", "")


def _text(text: str) -> str:
    """Text for roff: backslashes, hyphens and characters that begin a request are escaped."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text.startswith((".", "'")) else text


def main() -> int:
    """Write the pages."""
    if len(sys.argv) != 2:
        print((__doc__ or "").strip(), file=sys.stderr)
        return 2
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for p in pages():
        (folder / f"{p.name}.1").write_text(page(p))
    return 0


if __name__ == "__main__":
    sys.exit(main())
