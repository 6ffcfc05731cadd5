"""`edge-agent filter …`: see what a filter makes of log lines, and test your own before a pipeline depends on it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from agent.cli.context import JsonFlag, epilog, new_app
from agent.cli.filter_module import module_file, opened
from agent.cli.filter_try import EXAMPLES, try_
from agent.cli.output import escape, print_json, say
from agent.errors import ConfigError

if TYPE_CHECKING:
    from agent.executors import FilterReport

app = new_app(
    "Try filters on log lines, and check your own filter.",
    examples=(
        *EXAMPLES[:2],
        "edge-agent filter check my-filter.wasm /var/log/messages",
        "edge-agent filter check my-filter.wasm messages.log --arg --strict --rounds 50",
    ),
)
app.command("try", epilog=epilog(*EXAMPLES))(try_)
MOST_INPUT = 256 << 20


@app.callback()
def group() -> None:
    """Try filters on log lines, and check your own filter."""


@app.command()
def check(
    module: Annotated[
        str,
        typer.Argument(
            metavar="MODULE", help="The filter, a WASI preview 1 command, or a name such as edge/wifi-join."
        ),
    ],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Log that the filter reads.")],
    *,
    arg: Annotated[list[str] | None, typer.Option("--arg", help="Argument for the filter; repeatable.")] = None,
    rounds: Annotated[int, typer.Option("--rounds", min=1, max=1000, help="Number of random cuts.")] = 8,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the random cuts.")] = 0,
    json: JsonFlag = False,
) -> None:
    """Feed a log to a filter whole, cut at random, and line by line: the events must be the same.

    Needs no running agent. Ends with 1 when the filter breaks the contract.
    """
    data = _read(file)
    program = module_file(module)
    report = asyncio.run(_check(program, data, arg or [], rounds, seed))
    if json:
        print_json(msgspec.to_builtins(report))
    else:
        _show(program, report)
    raise typer.Exit(0 if report.ok else 1)


async def _check(module: Path, data: bytes, arguments: list[str], rounds: int, seed: int) -> FilterReport:
    from agent.executors import check_filter

    async with opened(module) as open_filter:
        return await check_filter(open_filter(arguments), data, rounds=rounds, seed=seed)


def _read(file: Path) -> bytes:
    try:
        if file.stat().st_size > MOST_INPUT:
            raise ConfigError(f"{file} is larger than 256 MiB", hint="take a part: head -c 200M")
        return file.read_bytes()
    except OSError as e:
        raise ConfigError(f"{file} cannot be read: {e.strerror}", hint="check the path") from None


def _show(module: Path, r: FilterReport) -> None:
    types = ", ".join(f"{n} {escape(kind)}" for kind, n in r.types.items()) or "no events"
    say(f"[bold]{escape(module.name)}[/]: {r.lines} lines, {types}")
    say(f"[dim]{r.lines_per_second:,.0f} lines/s; cut {r.rounds} times, {r.single} lines alone[/]")
    for violation in r.violations:
        say(f"[red]✗[/] {escape(violation)}")
    if r.ok:
        say("[green]✓[/] the same events wherever the input is cut")
