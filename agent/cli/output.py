"""Tables, times and sizes on a terminal, and the same as JSON."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

from rich import markup
from rich.console import Console, RenderableType
from rich.table import Table

from agent.terminal import plain

PIPE_WIDTH = 160
"""Columns of a table that goes into a pipe."""


def escape(text: str) -> str:
    """The text escaped as rich markup."""
    return markup.escape(plain(text))


@cache
def console() -> Console:
    """The console on stdout; wide and without colour where stdout is not a terminal."""
    tty = sys.stdout.isatty()
    width = None if tty or os.environ.get("COLUMNS") else PIPE_WIDTH
    return Console(width=width, highlight=False, soft_wrap=False)


def print_json(value: Any, *, line: bool = False) -> None:
    """One JSON document, indented on a terminal; with `line` always one line, as the rows of a stream are."""
    indent = 2 if sys.stdout.isatty() and not line else None
    unicode = sys.stdout.encoding.lower().startswith("utf")
    sys.stdout.write(json.dumps(value, indent=indent, ensure_ascii=not unicode, default=str) + "\n")
    sys.stdout.flush()


def say(*parts: RenderableType) -> None:
    """Print these parts one below the other; text is rich markup."""
    for part in parts:
        console().print(part)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Iterable[str] = (), pad: int = 2) -> Table:
    """A plain table without lines; cells are rich markup; columns named in `right` are right-aligned."""
    grid = Table(
        box=None, padding=(0, pad, 0, 0), header_style="dim", pad_edge=False, show_edge=False, show_header=any(columns)
    )
    for column in columns:
        whole = column in ("id", "code", "token", "cid", "state")
        grid.add_column(column, justify="right" if column in set(right) else "left", overflow="fold", no_wrap=whole)
    for row in rows:
        grid.add_row(*row)
    return grid


def listing(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str, right: Iterable[str] = ()
) -> Table | str:
    """The rows as a table, or the text `empty` where there are none."""
    return table(columns, rows, right=right) if rows else f"[dim]{empty}[/]"


def dot(ok: bool | None) -> str:
    """Green, red or grey."""
    return {True: "[green]●[/]", False: "[red]○[/]", None: "[dim]○[/]"}[ok]


def labels(values: Mapping[str, str], *, hide: Iterable[str] = ("node", "id", "arch")) -> str:
    """Labels in short: `key` where the value is true, else `key=value`; reserved labels are hidden."""
    words = [k if v == "true" else f"{k}={v}" for k, v in sorted(values.items()) if k not in set(hide)]
    return escape(" ".join(words))


def size(count: float | None) -> str:
    """Bytes for people: `60.0 KiB`."""
    if count is None:
        return ""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def since(seconds: float | None) -> str:
    """A span in its two largest units: `1d 2h`, `5m 12s`, `2.9s`."""
    if seconds is None:
        return ""
    if seconds < 10:
        return f"{seconds:.1f}s"
    parts, rest = [], int(seconds)
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        amount, rest = divmod(rest, length)
        if amount:
            parts.append(f"{amount}{unit}")
    return " ".join(parts[:2])


def ago(time: str | None) -> str:
    """How long ago an RFC 3339 time was; in the future: `in 59m`. Any other text is returned escaped."""
    if not time:
        return ""
    try:
        seconds = (datetime.now(UTC) - datetime.fromisoformat(time)).total_seconds()
    except (ValueError, TypeError):
        return escape(time)
    return f"{since(seconds)} ago" if seconds >= 0 else f"in {since(-seconds)}"


def count(number: int, noun: str, plural: str = "") -> str:
    """`1 node`, `2 nodes`."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"
