"""The report of a run: what was measured on which device, against the goals, as Markdown and as JSON.

python -m hil.report build/hil/report.json docs/hil.md     puts a report into a page, between its two marks
"""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Literal

import msgspec

Mark = Literal["real", "emulated", "form only"]
BEGIN, END = "<!-- report: begin -->", "<!-- report: end -->"


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """A device of the run. `slower` is how many times longer than on this machine a fixed loop takes on it."""

    name: str
    mark: Mark
    arch: str
    what: str
    slower: float | None = None


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One figure, or one thing that was seen (`value` is None). `goal` is the largest value that is good."""

    device: str
    what: str
    value: float | None = None
    unit: str = ""
    goal: float | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without a figure or a goal."""
        return None if self.goal is None or self.value is None else self.value <= self.goal


class Report(msgspec.Struct, kw_only=True):
    """All rows of a run. `made` is the UTC time of its start (ISO 8601), `machine` the machine that made it."""

    made: str
    version: str = ""
    machine: str = ""
    devices: list[Subject] = []
    rows: list[Row] = []

    def device(self, tested: Subject) -> None:
        """Add a device, or replace what is known of it."""
        self.devices = [*(d for d in self.devices if d.name != tested.name), tested]

    def add(
        self,
        device: str,
        what: str,
        value: float | None = None,
        unit: str = "",
        goal: float | None = None,
        note: str = "",
    ) -> Row:
        """Add a row."""
        row = Row(device=device, what=what, value=value, unit=unit, goal=goal, note=note)
        self.rows.append(row)
        return row

    def write(self, folder: Path) -> None:
        """Write report.json and report.md."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "report.json").write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=1))
        (folder / "report.md").write_text(markdown(self))


def this_machine() -> str:
    """The processor of this machine, its cores, and its load average of the last minute (above the cores: times are longer)."""
    return f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.0f}"


def number(value: float) -> str:
    """A figure with three digits that count."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _slower(tested: Subject) -> str:
    return "–" if tested.slower is None else f"{number(tested.slower)} ×"


def _verdict(row: Row) -> str:
    if row.goal is None:
        return ""
    met = row.met
    words = {True: "met", False: "**missed**", None: "not measured"}
    return f"≤ {number(row.goal)} {row.unit}: {words[met]}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def markdown(report: Report) -> str:
    """The report as two tables."""
    head = f"Run of {report.made}, version {report.version or 'unknown'}, on a machine with {report.machine}."
    lines = [
        head,
        "",
        "| device | kind | processor | what it is | a fixed loop, against this machine |",
        "|---|---|---|---|---|",
    ]
    for d in report.devices:
        lines.append(f"| {d.name} | {d.mark} | {d.arch} | {_cell(d.what)} | {_slower(d)} |")
    lines += ["", "| device | kind | what | seen | goal | note |", "|---|---|---|---|---|---|"]
    marks = {d.name: d.mark for d in report.devices}
    for r in report.rows:
        seen = "yes" if r.value is None else f"{number(r.value)} {r.unit}".strip()
        if marks.get(r.device) == "form only" and r.value is None:
            seen = "–"
        mark = marks.get(r.device, "")
        lines.append(f"| {r.device} | {mark} | {_cell(r.what)} | {seen} | {_verdict(r)} | {_cell(r.note)} |")
    return "\n".join(lines) + "\n"


def put(report: Report, page: Path) -> None:
    """Put a report between the marks of a page; raises ValueError where the page has no marks."""
    text = page.read_text()
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"{page} does not have the marks {BEGIN} and {END} once each")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n{markdown(report)}{END}{after}")


def main(arguments: list[str]) -> int:
    """The command line."""
    if len(arguments) != 2:
        print((__doc__ or "").strip(), file=sys.stderr)
        return 2
    report, page = map(Path, arguments)
    try:
        put(msgspec.json.decode(report.read_bytes(), type=Report), page)
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        print(f"hil.report: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
