"""A command group that imports a noun's module only when the noun is used, so that `--help` starts
quickly."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from difflib import get_close_matches
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import typer
from typer._click import Command, Context, HelpFormatter
from typer.core import TyperCommand, TyperGroup

from agent.errors import ConfigError, NotFound
from agent.terminal import extra_of, flow_help, missing

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

COMMANDS = "edge_agent.commands"
"""Entry-point group in which an installed package registers its commands."""


class Noun(NamedTuple):
    """One entry: its name, one line of help, the panel it is listed in, and where its typer is.

    `distribution` is the installed package that registers it, where known; empty for the agent's commands.
    """

    name: str
    text: str
    panel: str
    module: str = ""
    attribute: str = "app"
    package: str = "agent.cli."
    distribution: str = ""

    @property
    def path(self) -> str:
        """The dotted name of its module."""
        return self.package + (self.module or self.name)

    def load(self) -> Command:
        """Import the noun's module and make its command; raises NotFound where that fails."""
        try:
            module = importlib.import_module(self.path)
            command: Command = flow_help(typer.main.get_command(getattr(module, self.attribute)))
        except ModuleNotFoundError as e:
            if e.name and e.name.startswith("agent"):
                raise NotFound(f"this installation has no {self.name}", hint="install the whole package") from e
            if extra := extra_of(e.name or ""):
                raise missing(self.name, e.name or "", extra) from e
            raise NotFound(f"{self.name} needs {e.name}", hint=self._remedy(e.name or ""), code="not-installed") from e
        except Exception as e:
            if not self.distribution:
                raise
            text = f"{self.name} cannot be used: {type(e).__name__}: {e}"
            hint = f"the package {self.distribution} registers it: update or remove that package"
            raise NotFound(text, hint=hint, code="not-usable") from e
        command.name = self.name
        return command

    def _remedy(self, missing: str) -> str:
        if not self.distribution:
            return f"pip install {missing}"
        if missing and f"{self.path}.".startswith(f"{missing}."):
            return f"pip install --force-reinstall {self.distribution}"
        return f"pip install {self.distribution}, which installs the packages that it requires"

    def stub(self) -> Command:
        """A command for help and completion; its module is not imported."""
        return TyperCommand(self.name, help=self.text, rich_help_panel=self.panel)


def registered() -> list[Noun]:
    """The nouns that installed packages register in the entry-point group COMMANDS.

    An entry point names a module and its typer (`demo.command:app`); the first line of its top package's docstring is its help.
    """
    from importlib.metadata import entry_points  # half a megabyte that a running agent does not need

    return [_registered(point) for point in sorted(entry_points(group=COMMANDS), key=lambda p: p.name)]


def registered_as(name: str) -> Noun | None:
    """The noun of this name that an installed package registers; no other package is imported."""
    from importlib.metadata import entry_points

    return next((_registered(point) for point in entry_points(group=COMMANDS, name=name)), None)


def _registered(point: EntryPoint) -> Noun:
    try:
        text = (importlib.import_module(point.module.partition(".")[0]).__doc__ or "").partition("\n")[0]
    except ModuleNotFoundError:
        text = f"Not usable: {point.module} is not installed."
    except Exception as e:  # noqa: BLE001  another package's fault must not take the help of all commands away
        text = f"Not usable: {type(e).__name__}: {e}"
    return Noun(
        point.name, text, "Develop", point.module, point.attr or "app", "", point.dist.name if point.dist else ""
    )


class LazyGroup(TyperGroup):
    """A group over `nouns` and the nouns that other packages register."""

    nouns: ClassVar[Sequence[Noun]] = ()
    _listing = False

    @cached_property
    def _registered(self) -> list[Noun]:
        own = {n.name for n in self.nouns}
        return [n for n in registered() if n.name not in own]

    def _find(self, name: str) -> Noun | None:
        """The noun of this name; the installed packages are only searched for a name that is not in `nouns`."""
        own = next((n for n in self.nouns if n.name == name), None)
        return own or registered_as(name)

    def list_commands(self, ctx: Context) -> list[str]:
        """The nouns in their order, then the registered nouns by name."""
        return [n.name for n in (*self.nouns, *self._registered)]

    def get_command(self, ctx: Context, cmd_name: str) -> Command | None:
        """The noun's command, imported now; a stub while only listing."""
        noun = self._find(cmd_name)
        if noun is None:
            return None
        return noun.stub() if self._listing else noun.load()

    def resolve_command(self, ctx: Context, args: list[str]) -> tuple[str | None, Command | None, list[str]]:
        """An unknown noun is an error with near names."""
        if args and not args[0].startswith("-") and self._find(args[0]) is None:
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
        """Completion lists the nouns without importing them."""
        self._listing = True
        try:
            return super().shell_complete(ctx, incomplete)
        finally:
            self._listing = False
