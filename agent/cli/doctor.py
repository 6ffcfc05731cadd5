"""`edge-agent doctor`: find problems of this device."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import typer

from agent.cli import context
from agent.cli.context import JsonFlag, single
from agent.cli.doctor_checks import Finding, look
from agent.cli.output import count, escape, print_json, say, table

MARKS = {"ok": "[green]✓[/]", "info": "[blue]i[/]", "warn": "[yellow]![/]", "fail": "[bold red]✗[/]"}


def doctor(json: JsonFlag = False) -> None:
    """Check everything that an agent needs on this device, whether an agent runs or not.

    Configuration, socket, state and its permissions, disk, memory, ports, multicast, WASM and container
    engines, cameras, clock, and the warnings of the running agent. Ends with 1 when something fails;
    warnings end with 0.
    """
    named = context.chosen.socket or os.environ.get("EDGE_AGENT_SOCKET")
    findings = list(look(context.chosen.config, Path(named) if named else None))
    failed = [f for f in findings if f.state == "fail"]
    if json:
        print_json({"ok": not failed, "findings": [msgspec.to_builtins(f) for f in findings]})
    else:
        say(table(["", "", ""], [_row(f) for f in findings]))
        warned = sum(f.state == "warn" for f in findings)
        say(
            f"[bold red]{len(failed)} failed[/], {count(warned, 'warning')}"
            if failed
            else f"[green]nothing failed[/], {count(warned, 'warning')}"
        )
    raise typer.Exit(1 if failed else 0)


def _row(f: Finding) -> list[str]:
    remedy = f"\n[dim]→ {escape(f.remedy)}[/]" if f.remedy and f.state != "ok" else ""
    return [MARKS[f.state], escape(f.check), escape(f.text) + remedy]


app = single(doctor, examples=("edge-agent doctor", "sudo edge-agent doctor --json"))
