"""`edge-agent egress`: the ledger of the data that left the building."""

from __future__ import annotations

from typing import Annotated

import typer

from agent.api import results
from agent.cli.context import JsonFlag, ask, single
from agent.cli.output import count, escape, listing, say, size


def egress(
    since: Annotated[str, typer.Option("--since", help="How far back; 0 for everything.")] = "24h",
    limit: Annotated[int, typer.Option("--limit", "-n", help="Most rows to show; the total counts all.")] = 50,
    json: JsonFlag = False,
) -> None:
    """Show every byte that left the building: one row per request, in bytes on the wire."""
    from agent.config import parse_duration

    ledger = ask(lambda c: c.get("/v1/egress", since=parse_duration(since), limit=limit), results.Egress, json)
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
    say(listing(columns, rows, empty="nothing left the building", right=("up", "down")))
    requests, alerts = count(total.requests, "request"), count(total.alerts, "alert")
    say(f"[bold]{size(total.up)} up[/], {size(total.down)} down in {requests}, {alerts}")


app = single(egress, examples=("edge-agent egress", "edge-agent egress --since 7d --json"))
