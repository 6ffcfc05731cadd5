"""The table of figures: on the terminal, in the documentation, and as JSON."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from bench.figure import Figure, Result

BEGIN, END = "<!-- figures: begin (make bench ARGS=--write) -->", "<!-- figures: end -->"


class Report(msgspec.Struct):
    """The content of `latest.json`."""

    machine: dict[str, Any]
    time: str
    results: list[Result]


def machine() -> dict[str, Any]:
    """The machine of the measurement."""
    model = next(
        (
            x.split(":", 1)[1].strip()
            for x in Path("/proc/cpuinfo").read_text().splitlines()
            if x.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def write(path: Path, results: list[Result]) -> None:
    """Write the report; each figure has its ratio and verdict."""
    raw = msgspec.to_builtins(Report(machine(), time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), results))
    for result, plain in zip(results, raw["results"], strict=True):
        for figure, row in zip(result.figures, plain["figures"], strict=True):
            row |= {"ratio": round(figure.ratio, 3) if figure.figure else None, "reached": figure.reached}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(raw), indent=2) + b"\n")


def read(path: Path) -> list[Result]:
    """The results of earlier runs; empty if there is no file or it has another format."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Report).results
    except (FileNotFoundError, msgspec.MsgspecError):
        return []


def number(value: float) -> str:
    """A figure for people, with three significant digits."""
    if value >= 1e6:
        return f"{value / 1e6:.2f} M"
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def goal(figure: Figure) -> str:
    """The goal with its sign."""
    return f"{'≥' if figure.sense == 'at least' else '≤'} {number(figure.goal)}"


def table(results: Sequence[Result]) -> str:
    """The table for a terminal."""
    rows = [("", "figure", "goal", "ratio", "")]
    for figure in (f for r in results for f in r.figures):
        verdict = "reached" if figure.reached else "MISSED"
        rows.append(
            (
                figure.what,
                f"{number(figure.figure)} {figure.unit}".strip(),
                goal(figure),
                f"{figure.ratio:.2f}",
                verdict,
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    lines = []
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join([row[0].ljust(widths[0]), *cells]))
    lines += [f"{m.name}: not measured: {m.why}" for r in results for m in r.missing]
    return "\n".join(line.rstrip() for line in lines)


def markdown(results: Sequence[Result]) -> str:
    """The text for the documentation: the table, then the bottleneck of each figure."""
    where = machine()
    lines = [
        f"Measured on {time.strftime('%Y-%m-%d', time.gmtime())} on a shared virtual machine with {where['cores']} cores"
        f" ({where['cpu']}), Linux {where['kernel']}, Python {where['python']}.",
        "",
        "| what | figure | goal | ratio | |",
        "|---|---:|---:|---:|---|",
    ]
    for figure in (f for r in results for f in r.figures):
        verdict = "reached" if figure.reached else "**missed**"
        shown = f"{number(figure.figure)} {figure.unit}".strip()
        lines.append(f"| {figure.what} | {shown} | {goal(figure)} | {figure.ratio:.2f} | {verdict} |")
    lines += [f"| {m.name} | not measured: {m.why} | | | |" for r in results for m in r.missing]
    lines += ["", "The bottleneck of each figure:", ""]
    lines += [f"- **{f.what}**: {f.bound_by}" for r in results for f in r.figures if f.bound_by]
    return "\n".join(lines)


def publish(page: Path, results: Sequence[Result]) -> None:
    """Replace the text between the marks in the page; raises ValueError if the page has no marks."""
    text = page.read_text()
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no place for the figures")
    page.write_text(f"{head}{BEGIN}\n{markdown(results)}\n{END}{tail}")
