"""`edge-agent egress`: the ledger of what left the building."""

from __future__ import annotations

from typing import Annotated

import typer

from agent.cli.context import JsonFlag, connect, single
from agent.cli.output import console, count, escape, listing, print_json, size


def egress(
    since: Annotated[str, typer.Option("--since", help="How far back; 0 for everything.")] = "24h",
    limit: Annotated[int, typer.Option("--limit", "-n", help="Most rows to show; the total counts all.")] = 50,
    json: JsonFlag = False,
) -> None:
    """Show every byte that left the building: one row a request, in bytes on the wire."""
    from agent.config import parse_duration

    with connect() as client:
        found = client.get("/v1/egress", since=parse_duration(since), limit=limit)
    if json:
        print_json(found)
        return
    total = found.get("total", {})
    rows = [
        [
            escape(r.get("time", "")[:19].replace("T", " ")),
            escape(r.get("kind", "")),
            size(r.get("up", 0)),
            size(r.get("down", 0)),
            escape(r.get("event", "")),
            f"[dim]{escape(r.get('sink', ''))}[/]",
        ]
        for r in found.get("rows", [])
    ]
    columns = ["time", "what", "up", "down", "event", "to"]
    console().print(listing(columns, rows, empty="nothing left the building", right=("up", "down")))
    requests, alerts = count(total.get("requests", 0), "request"), count(total.get("alerts", 0), "alert")
    console().print(
        f"[bold]{size(total.get('up', 0))} up[/], {size(total.get('down', 0))} down in {requests}, {alerts}"
    )


app = single(egress, examples=("edge-agent egress", "edge-agent egress --since 7d --json"))
