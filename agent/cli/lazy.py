"""A command group that imports a noun's module only when the noun is used, so that `--help` starts
quickly."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, ClassVar

import typer
from typer._click import Command, Context, HelpFormatter
from typer.core import TyperCommand, TyperGroup

from agent.errors import ConfigError, NotFound


class Noun:
    """One entry: its name, one line of help, the panel it is listed in, and where its typer is."""

    def __init__(self, name: str, text: str, panel: str, module: str = "", attribute: str = "app") -> None:
        self.name = name
        self.text = text
        self.panel = panel
        self.module = "agent.cli." + (module or name)
        self.attribute = attribute

    def load(self) -> Command:
        """Import the noun's module and make its command."""
        try:
            module = importlib.import_module(self.module)
        except ModuleNotFoundError as e:
            if e.name and e.name.startswith("agent"):
                raise NotFound(f"this installation has no {self.name}", hint="install the whole package") from e
            raise NotFound(f"{self.name} needs {e.name}", hint=f"pip install {e.name}", code="not-installed") from e
        command: Command = typer.main.get_command(getattr(module, self.attribute))
        command.name = self.name
        return command

    def stub(self) -> Command:
        """What help and completion need of it, without importing it."""
        return TyperCommand(self.name, help=self.text, rich_help_panel=self.panel)


class LazyGroup(TyperGroup):
    """A group over `nouns`."""

    nouns: ClassVar[Sequence[Noun]] = ()
    _listing = False

    def list_commands(self, ctx: Context) -> list[str]:
        """The nouns in their order."""
        return [n.name for n in self.nouns]

    def get_command(self, ctx: Context, cmd_name: str) -> Command | None:
        """The noun's command, imported now; a stub while only listing."""
        noun = next((n for n in self.nouns if n.name == cmd_name), None)
        if noun is None:
            return None
        return noun.stub() if self._listing else noun.load()

    def resolve_command(self, ctx: Context, args: list[str]) -> tuple[str | None, Command | None, list[str]]:
        """An unknown noun is an error with near names."""
        if args and args[0] not in self.list_commands(ctx) and not args[0].startswith("-"):
            near = get_close_matches(args[0], self.list_commands(ctx), 3)
            hint = f"did you mean {' or '.join(near)}?" if near else "edge-agent --help lists the commands"
            raise ConfigError(f"there is no command {args[0]}", hint=hint, code="cli.command")
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: Context, formatter: HelpFormatter) -> None:
        """Help lists the nouns without importing them."""
        self._listing = True
        try:
            super().format_help(ctx, formatter)
        finally:
            self._listing = False

    def shell_complete(self, ctx: Context, incomplete: str) -> list[Any]:
        """So does completion."""
        self._listing = True
        try:
            return super().shell_complete(ctx, incomplete)
        finally:
            self._listing = False
