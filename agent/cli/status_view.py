"""The status as it is drawn on a terminal of 80 to 120 columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding

from agent.cli.nodes import node_table
from agent.cli.output import ago, count, dot, escape, labels, since, size, table

_END_COLOURS = {"delivered": "green", "failed": "red", "expired": "yellow", "lost": "red"}
_SEVERITY = {"error": "[bold red]✗[/]", "warning": "[yellow]![/]", "info": "[blue]i[/]"}


def view(s: Mapping[str, Any]) -> RenderableType:
    """One status, drawn."""
    return Group(*_parts(s))


def _parts(s: Mapping[str, Any]) -> Iterator[RenderableType]:
    yield from _head(s)
    if s.get("nodes"):
        yield ""
        yield node_table(s["nodes"])
    if s.get("cameras"):
        yield _cameras(s["cameras"])
    for pipeline in s.get("pipelines", []):
        yield ""
        yield from _pipeline(pipeline)
    if not s.get("pipelines"):
        yield "\n[dim]no pipeline is applied; edge-agent pipeline apply FILE[/]"
    yield ""
    yield table(["", ""], [["[dim]" + name + "[/]", text] for name, text in _facts(s) if text])
    yield from _warnings(s.get("warnings", []))


def _head(s: Mapping[str, Any]) -> Iterator[str]:
    node, mesh, certificate = s.get("node", {}), s.get("mesh", {}), s.get("certificate") or {}
    words = [node.get("role", ""), labels(node.get("labels", {})), f"up {since(s.get('uptime_s', 0))}"]
    words += [s.get("version", ""), node.get("arch", ""), node.get("id", "")]
    yield f"[bold cyan]{escape(node.get('name', '?'))}[/]  " + " · ".join(w for w in words if w)
    if node.get("role") == "pending":
        yield f"waits to be let in: [bold]edge-agent node approve {escape(node.get('code', '?'))}[/] on an operator"
        return
    nodes = s.get("nodes", [])
    alive = sum(bool(n.get("alive")) for n in nodes)
    words = [f"{alive} of {count(len(nodes), 'node')} alive", count(mesh.get("operators", 0), "operator")]
    if waiting := mesh.get("pending", 0):
        words.append(f"[yellow]{waiting} waiting for approval[/]")
    if (days := certificate.get("days_left")) is not None:
        words.append(f"certificate {days:.0f} d" if days > 60 else f"[red]certificate {days:.0f} d[/]")
    yield f"[dim]mesh[/] {escape(mesh.get('id', '?'))}  " + " · ".join(words)


def _cameras(cameras: list[dict[str, Any]]) -> str:
    words = []
    for c in cameras:
        name = f"{escape(c.get('node', ''))}/{escape(c['name'])}"
        text = f"{dot(bool(c.get('ok')))} {name} [dim]{escape(c.get('kind', ''))}[/]"
        words.append(text + (f" [red]{escape(c['text'])}[/]" if c.get("text") and not c.get("ok") else ""))
    return "\n[dim]cameras[/]  " + "   ".join(words)


def view_pipeline(p: Mapping[str, Any]) -> RenderableType:
    """One pipeline with its steps, drawn."""
    return Group(*_pipeline(p))


def _pipeline(p: Mapping[str, Any]) -> Iterator[RenderableType]:
    paused = p.get("paused_s")
    state = "" if paused is None else f"  [yellow]paused{f' for {since(paused)}' if paused else ''}[/]"
    yield f"[bold]{escape(p['name'])}[/] [dim]{escape(p.get('version', '')[:8])}[/]{state}"
    columns = ["step", "kind", "on", "accepted", "open", "ends", "ms"]
    yield table(columns, [_step(s) for s in p.get("steps", [])], right=("accepted", "open", "ms"))
    for step in p.get("steps", []):
        if step.get("error"):
            yield Padding(f"[red]✗ {escape(step['step'])}[/] {escape(step['error'])}", (0, 0, 0, 2))


def _step(s: Mapping[str, Any]) -> list[str]:
    nodes = s.get("nodes", [])
    waiting = s.get("open", 0)
    mark = "" if s.get("here", True) else "[dim]"
    failed = f" [red]{s['failed_batches']} batches failed[/]" if s.get("failed_batches") else ""
    return [
        escape(s["step"]),
        f"[dim]{escape(s.get('kind', ''))}[/]",
        f"{mark}{escape(' '.join(nodes))}" if nodes else "[yellow]no node[/]",
        str(s.get("accepted", 0)),
        f"[yellow]{waiting}[/]" if waiting else "[dim]0[/]",
        ends(s.get("ends", {})) + failed + ("" if adds_up(s) else " [bold red]does not add up[/]"),
        f"{s['run_ms']:.1f}" if s.get("run_ms") is not None else "",
    ]


def ends(counts: Mapping[str, int]) -> str:
    """The ends that happened: `3 delivered 9 skipped`."""
    words = [(f"{n} {end}", _END_COLOURS.get(end, "dim")) for end, n in counts.items() if n]
    return " ".join(f"[{colour}]{text}[/]" for text, colour in words) or "[dim]-[/]"


def adds_up(counts: Mapping[str, Any]) -> bool:
    """The law of every step: accepted is the sum of all ends and what is open."""
    return bool(counts.get("accepted", 0) == sum(counts.get("ends", {}).values()) + counts.get("open", 0))


def _facts(s: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    j, b, e, m = (s.get(key) or {} for key in ("journal", "blobs", "engines", "mesh"))
    if j:
        law = "" if adds_up(j) else "  [bold red]does not add up[/]"
        ended = sum(j.get("ends", {}).values())
        text = f"{j.get('accepted', 0)} accepted = {ended} ended + {j.get('open', 0)} open"
        unread = f" · [yellow]{size(j['unread'])} of logs unread since the start[/]" if j.get("unread") else ""
        yield "journal", f"{text} [dim](room for {j.get('max_open', 0)})[/]{law}{unread}"
    for source in s.get("sources", []):
        bad = "" if source.get("ok", True) else f" [red]{escape(source.get('text') or 'cannot be read')}[/]"
        yield "source", f"{dot(bool(source.get('ok', True)))} {escape(source['name'])}{bad}"
    if b:
        yield "blobs", f"{b.get('count', 0)}, {size(b.get('bytes'))} of {size(b.get('quota'))}"
    version = str(e.get("docker") or "").removeprefix("yes")
    docker = f"docker {escape(version)}".strip() if e.get("docker") else "[dim]no docker[/]"
    words = [escape(e.get("wasm") or ""), docker, "gpu" if e.get("gpu") else "[dim]no gpu[/]"]
    yield "engines", " · ".join(w for w in [*words, "processes" if e.get("process") else ""] if w) if e else ""
    if last := s.get("last_event"):
        where = escape("/".join(filter(None, (last.get("pipeline"), last.get("step")))))
        yield (
            "last event",
            f"{escape(last['type'])} [dim]{since(last.get('age_s'))} ago[/] on {escape(last.get('node', ''))} {where}",
        )
    yield "uplink", uplink(s.get("uplink") or {})
    if m.get("listen"):
        yield "listens", f"{escape(m['listen'])} [dim]mesh[/] · {escape(m.get('enrol') or '')} [dim]new nodes[/]"


def uplink(u: Mapping[str, Any]) -> str:
    """The uplink in one line."""
    if not u.get("configured"):
        other = u.get("node")
        return f"through [bold]{escape(other)}[/]" if other else "[dim]no sink is connected[/]"
    words = [
        f"{dot(bool(u.get('connected')))} {escape(u.get('sink') or '')}",
        f"{u.get('delivered', 0)} delivered since the start",
    ]
    if waiting := u.get("waiting", 0):
        words.append(f"[yellow]{waiting} waiting[/]")
    if u.get("last"):
        words.append(f"last {ago(u['last'])}")
    words.append(f"{size(u.get('bytes_up', 0))} up in all")
    if u.get("error"):
        words.append(f"[red]{escape(u['error'])}[/]")
    return " · ".join(words)


def _warnings(warnings: list[dict[str, Any]]) -> Iterator[RenderableType]:
    if not warnings:
        yield "\n[green]✓[/] nothing is wrong"
        return
    yield ""
    for w in warnings:
        where = f" [dim]({escape(w['node'])})[/]" if w.get("node") else ""
        mark = _SEVERITY.get(w.get("severity", ""), "!")
        yield f"{mark} {escape(w['text'])}{where} [dim]{escape(w['code'])}[/]"
        yield Padding(f"[dim]→ {escape(w.get('remedy', ''))}[/]", (0, 0, 0, 2))
