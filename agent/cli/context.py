"""The choices of the root options, for all commands."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from agent.errors import ConfigError, in_words

if TYPE_CHECKING:
    from agent.api import Client

T = TypeVar("T")
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON.")]
YesFlag = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
LOOK: dict[str, Any] = {
    "add_completion": False,
    "rich_markup_mode": "rich",
    "context_settings": {"help_option_names": ["-h", "--help"]},
}
"""Settings that every noun's typer has."""


class Chosen:
    """The root command's options."""

    socket: str | None = None
    config: str | None = None


chosen = Chosen()


def socket_path() -> Path:
    """The agent's socket: --socket, EDGE_AGENT_SOCKET, or the configuration's `run`."""
    named = chosen.socket or os.environ.get("EDGE_AGENT_SOCKET")
    if named:
        return Path(named)
    from agent.config import DEFAULT_SOCKET, load_config

    try:
        return load_config(chosen.config).run
    except ConfigError as e:
        # An agent that runs keeps its old configuration, and its status says what is wrong with the new one.
        if chosen.config or not DEFAULT_SOCKET.is_socket():
            raise
        print(f"warning: {e.message}; asking the agent at {DEFAULT_SOCKET}", file=sys.stderr)
        return DEFAULT_SOCKET


def connect(*, timeout: float = 60.0) -> Client:
    """A client of the chosen agent; use it as a context manager."""
    from agent.api import Client

    return Client(socket_path(), timeout=timeout)


def ask(
    question: Callable[[Client], Any], kind: type[T], json: bool, *, timeout: float = 60.0,
    code: Callable[[T], int] = lambda _: 0,
) -> T:  # fmt: skip
    """The agent's answer as its struct. With `json` the answer is printed unchanged, and the command ends with `code`."""
    from agent.api import read

    with connect(timeout=timeout) as client:
        found = question(client)
    if json:
        from agent.cli.output import print_json

        print_json(found)
        raise typer.Exit(code(read(found, kind)))
    return read(found, kind)


def new_app(help_text: str, *, examples: tuple[str, ...] = ()) -> typer.Typer:
    """A noun's typer with the common settings."""
    return typer.Typer(help=help_text, no_args_is_help=True, epilog=epilog(*examples), **LOOK)


def single(function: Any, *, examples: tuple[str, ...] = ()) -> typer.Typer:
    """A typer of one command."""
    app = typer.Typer(**LOOK)
    app.command(epilog=epilog(*examples))(function)
    return app


def epilog(*examples: str) -> str | None:
    """Examples below a help text, one per line; None without examples."""
    return "\n".join(("[bold]Examples[/bold]", *(f"  {e}" for e in examples))) if examples else None


def parse_labels(pairs: list[str]) -> dict[str, str]:
    """`key=value` words as a dict; raises ConfigError."""
    from agent.model.labels import check_label

    out = {}
    for pair in pairs:
        key, found, value = pair.partition("=")
        if not found:
            raise ConfigError(f"{pair!r} is not a label", hint="write it like camera=true")
        check_label(key, value)
        out[key] = value
    return out


def read_secret(where: str, prompt: str) -> str:
    """A secret from stdin (`-`; asked for on a terminal) or from a file (`@FILE` or a path); raises
    ConfigError."""
    if where == "-":
        if sys.stdin.isatty():
            import getpass

            text = getpass.getpass(f"{prompt}: ")
        else:
            text = sys.stdin.readline(65536)
    else:
        file = Path(where.removeprefix("@"))
        try:
            text = file.read_text("utf-8")[:65536]
        except (OSError, UnicodeDecodeError) as e:
            raise ConfigError(
                f"{file} cannot be read: {in_words(e)}", hint="give a file with nothing else in it"
            ) from None
    if not text.strip():
        raise ConfigError(f"no {prompt.lower()} was given", hint="write it on one line")
    return text.strip()
