"""`edge-agent egress`: the ledger of what left the building."""

from __future__ import annotations

from typing import Annotated

import typer

from agent.api import read, results
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
    ledger = read(found, results.Egress)
    total = ledger.total
    rows = [
        [
            escape(r.time[:19].replace("T", " ")),
            escape(r.kind),
            size(r.up),
            size(r.down),
            escape(r.event),
            f"[dim]{escape(r.sink)}[/]",
        ]
        for r in ledger.rows
    ]
    columns = ["time", "what", "up", "down", "event", "to"]
    console().print(listing(columns, rows, empty="nothing left the building", right=("up", "down")))
    requests, alerts = count(total.requests, "request"), count(total.alerts, "alert")
    console().print(f"[bold]{size(total.up)} up[/], {size(total.down)} down in {requests}, {alerts}")


app = single(egress, examples=("edge-agent egress", "edge-agent egress --since 7d --json"))
