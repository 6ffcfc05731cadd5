"""`edge-agent netcheck`: ports, mDNS, clocks, MTU and links."""

from __future__ import annotations

import typer

from agent.api import results
from agent.cli.context import JsonFlag, ask, single
from agent.cli.doctor import MARKS
from agent.cli.output import escape, say, table


def netcheck(json: JsonFlag = False) -> None:
    """Check the network between this node and all others, and say what to change.

    For each node: the link (direct, or relayed by other nodes), connections in both directions, the round trip, the
    difference of the clocks, the MTU of the way, and whether 16 KiB pass. For this node: its addresses and mDNS. A
    remedy names the firewall rule and the node to add it on. Changes nothing. Takes some seconds. Ends with 1 when
    something fails; warnings end with 0.
    """
    found = ask(lambda c: c.get("/v1/netcheck"), results.NetCheck, json, timeout=120.0, code=_code)
    say(f"[bold]{escape(found.node)}[/] listens on {escape(found.listen)}; others dial {_addresses(found)}")
    say(f"mDNS: {_mdns(found.mdns)}")
    columns = ["node", "link", "round trip", "clock", "MTU", "to it", "from it"]
    say(table(columns, [_row(n) for n in found.nodes]) if found.nodes else "[dim]no other node is known[/]")
    for f in found.findings:
        remedy = f"\n  [dim]→ {escape(f.remedy)}[/]" if f.remedy else ""
        say(f"{MARKS[f.state]} {escape(f.text)}{remedy}")
    raise typer.Exit(_code(found))


def _code(found: results.NetCheck) -> int:
    return 1 if any(f.state == "fail" for f in found.findings) else 0


def _addresses(found: results.NetCheck) -> str:
    return escape(", ".join(found.addresses)) or "[yellow]no address[/]"


def _mdns(m: results.MdnsState) -> str:
    if not m.on:
        return "[dim]off[/]"
    if m.error:
        return f"[yellow]{escape(m.error)}[/]"
    heard = f"heard {', '.join(map(escape, m.heard))}" if m.heard else "heard no node of this mesh"
    return heard + (f"; [yellow]not heard: {', '.join(map(escape, m.missed))}[/]" if m.missed else "")


def _row(n: results.NodeNetwork) -> list[str]:
    way = {"direct": "direct", "relayed": "[yellow]relayed[/]", "none": "[red]gone[/]", "self": ""}[n.way]
    return [
        f"[bold]{escape(n.node)}[/]",
        way,
        "" if n.ms is None else f"{n.ms:.2f} ms",
        "" if n.offset_s is None else f"{n.offset_s:+.1f} s",
        "" if n.mtu is None else f"{n.mtu}" + ("" if n.large in (True, None) else " [red]16 KiB lost[/]"),
        _connections(n.there),
        _connections(n.back),
    ]


def _connections(tried: list[results.Connection] | None) -> str:
    if tried is None:
        return ""
    if not tried:
        return "[dim]no address[/]"
    good = [c for c in tried if not c.error]
    return "[green]open[/]" if good else f"[yellow]{escape(tried[0].address)}: {escape(tried[0].error)}[/]"


app = single(netcheck, examples=("edge-agent netcheck", "edge-agent netcheck --json | jq .findings"))
