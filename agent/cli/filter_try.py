"""`edge-agent filter try`: what a filter makes of each line, and a form for a line that it does not know."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from agent.cli.context import JsonFlag
from agent.cli.filter_module import WIFI_JOIN, module_file, opened
from agent.cli.filter_suggest import Suggestion, show_suggestion, suggest
from agent.cli.output import console, count, escape, print_json
from agent.errors import ConfigError, StepFailed

if TYPE_CHECKING:
    from agent.executors import ExplainedLine, Explanation

EXAMPLES = (
    "edge-agent filter try 'hostapd: wlan0: AP-STA-CONNECTED 02:00:00:00:00:01 auth_alg=sae'",
    "edge-agent filter try messages.log",
    "logread | edge-agent filter try -",
    "edge-agent filter try --suggest 'gate wlctl: station 02:00:00:00:00:01 came online on wl0 rssi -61'",
    "edge-agent filter try --form 'joined:wlctl: station {mac} came online{rest}' messages.log",
)
MOST_INPUT = 8 << 20
STDOUT = 64 << 20
"""Bytes that the filter may write for one batch: an explanation is longer than its line."""
MANY = 10
"""From so many lines on the forms and the reasons are counted below them."""
SHOWN = 400
"""Characters of a line that are shown."""


def try_(
    lines: Annotated[
        list[str], typer.Argument(metavar="LINE|FILE|-...", help="A log line, a file of lines, or - for stdin.")
    ],
    *,
    module: Annotated[str, typer.Option("--module", metavar="FILE", help="The filter, a file or a name.")] = WIFI_JOIN,
    arg: Annotated[list[str] | None, typer.Option("--arg", help="Argument for the filter; repeatable.")] = None,
    form: Annotated[
        list[str] | None,
        typer.Option("--form", metavar="FORM", help="Short for --arg --form --arg FORM; repeatable."),
    ] = None,
    dhcp: Annotated[bool, typer.Option("--dhcp", help="Short for --arg --dhcp: count dnsmasq's lines.")] = False,
    logger: Annotated[
        bool, typer.Option("--logger", help="Short for --arg --logger: count hostapd's own lines.")
    ] = False,
    suggest_form: Annotated[
        bool, typer.Option("--suggest", help="Propose a form for the first line that has a MAC and no event.")
    ] = False,
    mac: Annotated[
        str, typer.Option("--mac", metavar="MAC", help="The device's MAC in that line, if it has several.")
    ] = "",
    event: Annotated[
        str,
        typer.Option("--event", help="What that line says: joined, left, roamed or active; default: its words decide."),
    ] = "",
    json: JsonFlag = False,
) -> None:
    """Show what a filter makes of log lines: how it splits each line, which form matches, the event, or why there is none.

    Words that name a file are read as a file; others are log lines. A line that begins with a dash comes after `--`. Needs no
    running agent. With --suggest it proposes a form for a line that the filter does not know, runs the filter with it and says
    whether the line then has the event; docs/access-points.md explains forms. Ends with 1 where no line has an event.
    """
    chosen = module_file(module)
    switches = [name for name, on in (("--dhcp", dhcp), ("--logger", logger)) if on]
    arguments = [*(arg or []), *switches, *(word for text in form or [] for word in ("--form", text))]
    data = b"".join(map(_lines, lines))
    result, proposed = asyncio.run(
        _run(chosen, arguments, data, (mac, event) if suggest_form or mac or event else None)
    )
    found = sum(line.event is not None for line in result.lines)
    if json:
        print_json(_facts(chosen, arguments, result, proposed))
    else:
        _show(result, found, brief=proposed is not None)
        if proposed is not None:
            show_suggestion(proposed, module)
    ok = proposed.verified if proposed is not None else found > 0
    raise typer.Exit(0 if ok else 1)


async def _run(
    module: Path, arguments: list[str], data: bytes, wanted: tuple[str, str] | None
) -> tuple[Explanation, Suggestion | None]:
    try:
        return await _explained(module, arguments, data, wanted)
    except StepFailed as e:
        said = "; ".join(e.fields.get("stderr", [])[-3:])
        if not said:
            raise
        raise StepFailed(f"{module.name}: {said}", hint="check --arg and --form", code=e.code) from None


async def _explained(
    module: Path, arguments: list[str], data: bytes, wanted: tuple[str, str] | None
) -> tuple[Explanation, Suggestion | None]:
    from agent.executors import explain_lines

    async with opened(module, stdout=STDOUT) as open_filter:
        result = await explain_lines(open_filter, arguments, data)
        if wanted is None:
            return result, None
        return result, await suggest(open_filter, arguments, result, *wanted)


def _lines(word: str) -> bytes:
    """The lines that a word of the command names, each with its newline."""
    if not word.strip():
        raise ConfigError("an empty word is no log line", hint="put the line in quotes; - reads stdin")
    if word == "-":
        data = sys.stdin.buffer.read(MOST_INPUT + 1)
    elif _is_file(word):
        data = _read(Path(word))
    elif not any(c.isspace() for c in word):
        raise ConfigError(f"there is no file {word}", hint="a log line has blanks: put it in quotes; - reads stdin")
    else:
        data = os.fsencode(word)
    if len(data) > MOST_INPUT:
        raise ConfigError("more than 8 MiB of lines", hint="take a part: tail -n 10000 FILE | edge-agent filter try -")
    return data if data.endswith(b"\n") or not data else data + b"\n"


def _is_file(word: str) -> bool:
    try:
        return Path(word).exists()
    except (OSError, ValueError):  # a line is longer than a name may be
        return False


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as opened_file:
            return opened_file.read(MOST_INPUT + 1)
    except OSError as e:
        raise ConfigError(f"{file} cannot be read: {e.strerror}", hint="check the path") from None


def _facts(module: Path, arguments: list[str], result: Explanation, proposed: Suggestion | None) -> dict[str, Any]:
    facts = {"module": str(module), "arguments": arguments, **msgspec.to_builtins(result)}
    return facts if proposed is None else facts | {"suggestion": msgspec.to_builtins(proposed)}


def _show(result: Explanation, found: int, *, brief: bool) -> None:
    if not result.explained:
        _say(
            "[yellow]![/] this filter has no --explain: only its events are known, not how it splits lines and why it finds none"
        )
    if not brief or len(result.lines) == 1:
        for line in result.lines:
            _say("\n".join(_shown(line, explained=result.explained)))
    if len(result.lines) > MANY:
        ways = Counter(line.form or line.reason for line in result.lines)
        _say("\n".join(f"[dim]{n:>7}[/] {escape(way)}" for way, n in ways.most_common(MANY) if way))
    _say(f"[dim]{count(len(result.lines), 'line')}, {found} with an event[/]")


def _shown(line: ExplainedLine, *, explained: bool) -> Iterator[str]:
    yield f"[dim]{line.line}[/] {escape(_cut(line.text))}"
    parts = [f"[dim]{escape(name)}[/] {escape(_cut(text))}" for name, text in line.split.items() if name != "message"]
    if parts:
        yield f"   [dim]split[/]    {' · '.join(parts)}"
    if "message" in line.split:
        yield f"   [dim]message[/]  {escape(_cut(line.split['message']))}"
    if line.form:
        yield f"   [dim]form[/]     {escape(line.form)}"
    if line.event is None:
        yield "   [yellow]✗[/] no event" + (
            f": {escape(line.reason)}" if line.reason else "" if explained else " known"
        )
        return
    facts = {**line.event.data, "access point": line.event.access_point}
    words = [f"[dim]{escape(k)}[/] {escape(str(v))}" for k, v in facts.items() if v != ""]
    yield f"   [green]✓[/] [bold]{escape(line.event.type)}[/]  {' · '.join(words)}"


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"


def _say(text: str) -> None:
    """One line, however wide the terminal is: forms and lines are copied from it."""
    console().print(text, soft_wrap=True)
