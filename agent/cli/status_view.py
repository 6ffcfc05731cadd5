"""The status as it is drawn on a terminal of 80 to 120 columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import msgspec
from rich.console import Group, RenderableType
from rich.padding import Padding

from agent.api import results
from agent.cli.nodes import view_nodes
from agent.cli.output import ago, count, dot, escape, labels, since, size, table
from agent.model.health import Warning

_END_COLOURS = {"delivered": "green", "failed": "red", "expired": "yellow", "lost": "red"}
_STATES = {"not-started": "is not started"} | dict.fromkeys(("idle", "starting", "ready", "failing"), "fails")
SENDERS = 5
"""Senders of a source that are shown; `edge-agent source list` shows all."""
_SEVERITY = {"error": "[bold red]✗[/]", "warning": "[yellow]![/]", "info": "[blue]i[/]"}


def view(s: results.Status) -> RenderableType:
    """One status, drawn."""
    return Group(*_parts(s))


def _parts(s: results.Status) -> Iterator[RenderableType]:
    yield from _head(s)
    yield ""
    yield view_nodes(s.nodes)
    if s.cameras:
        yield from _cameras(s.cameras)
    for pipeline in s.pipelines:
        yield ""
        yield from _pipeline(pipeline)
    if not s.pipelines:
        yield "\n[dim]no pipeline is applied; edge-agent pipeline apply FILE[/]"
    yield ""
    yield table(["", ""], [["[dim]" + name + "[/]", text] for name, text in _facts(s) if text])
    yield from _warnings(s.warnings)


def _head(s: results.Status) -> Iterator[str]:
    node, mesh, days = s.node, s.mesh, s.certificate.days_left
    words = [
        escape(node.role),
        labels(node.labels),
        f"up {since(s.uptime_s)}",
        *map(escape, (s.version, node.arch, node.id)),
    ]
    yield f"[bold cyan]{escape(node.name)}[/]  " + " · ".join(w for w in words if w)
    alive = sum(n.alive for n in s.nodes)
    words = [f"{alive} of {count(len(s.nodes), 'node')} alive", count(mesh.operators, "operator")]
    if mesh.pending:
        words.append(f"[yellow]{mesh.pending} waiting for approval[/]")
    words.append(f"certificate {days} d" if days > 60 else f"[red]certificate {days} d[/]")
    yield f"[dim]mesh[/] {escape(mesh.id)}  " + " · ".join(words)


def _cameras(cameras: Sequence[results.CameraState]) -> Iterator[RenderableType]:
    """Those without a fault in one text, then a line for each of the others."""
    words, faults = [], []
    for c in cameras:
        text = (
            f"{dot(None if c.ok and not c.worked else c.ok)} {escape(c.node)}/{escape(c.name)} [dim]{escape(c.kind)}[/]"
        )
        if c.ok:
            words.append(text + ("" if c.worked else " [dim]not used yet[/]"))
        else:
            faults.append(f"{text} [red]{escape(camera_fault(c.name, c.text))}[/]")
    yield ""
    lines = ["   ".join(words), *faults] if words else faults
    yield table(["", ""], [["" if n else "[dim]cameras[/]", line] for n, line in enumerate(lines)])


def camera_fault(name: str, text: str) -> str:
    """The error of a camera beside its name, which the error has at its start."""
    return text.removeprefix(f"camera {name}: ")


def view_pipeline(p: results.PipelineState) -> RenderableType:
    """One pipeline with its steps, drawn."""
    return Group(*_pipeline(p))


def _pipeline(p: results.PipelineState) -> Iterator[RenderableType]:
    paused = p.paused_s
    state = "" if paused is None else f"  [yellow]paused{f' for {since(paused)}' if paused else ''}[/]"
    yield f"[bold]{escape(p.name)}[/] [dim]{escape(p.version[:8])}[/]{state}"
    if p.learning_s:
        yield (
            f"  [yellow]learns for another {since(p.learning_s)}[/]: devices that it meets cause no alert; "
            "edge-agent device learn --stop"
        )
    columns = ["step", "kind", "on", "accepted", "open", "ends", "ms"]
    yield table(columns, [_step(s) for s in p.steps], right=("accepted", "open", "ms"))
    for step in p.steps:
        if step.error:
            waits = f" [dim]({count(step.queued, 'event')} waiting)[/]" if step.queued else ""
            yield Padding(
                f"[red]✗ {escape(step.step)} {_STATES.get(step.state, 'fails')}[/]: {escape(step.error)}{waits}",
                (0, 0, 0, 2),
                expand=False,
            )
            if step.hint:
                yield Padding(f"[dim]→ {escape(step.hint)}[/]", (0, 0, 0, 4), expand=False)
        for fault in step.elsewhere:
            what = f"{escape(step.step)} {_STATES.get(fault.state, 'fails')} on {escape(fault.node)}"
            yield Padding(f"[red]✗ {what}[/]: {escape(fault.error)}", (0, 0, 0, 2), expand=False)
            if fault.hint:
                yield Padding(f"[dim]→ {escape(fault.hint)}[/]", (0, 0, 0, 4), expand=False)


LAG = 1.0
"""Seconds from which the lag of a queue is shown."""


def _step(s: results.StepState) -> list[str]:
    mark = "" if s.here else "[dim]"
    failed = f" [red]{s.failed_batches} batches failed[/]" if s.failed_batches else ""
    return [
        escape(s.step),
        f"[dim]{escape(s.kind)}[/]",
        f"{mark}{escape(' '.join(s.nodes))}" if s.nodes else "[yellow]no node[/]",
        str(s.accepted),
        (f"[yellow]{s.open}[/]" if s.open else "[dim]0[/]")
        + (f" [dim]lag[/] {since(s.lag_s)}" if s.lag_s >= LAG else ""),
        ends(s.ends) + failed + ("" if adds_up(s) else " [bold red]does not add up[/]"),
        f"{s.run_ms:.1f}" if s.run_ms is not None else "",
    ]


class Counts(Protocol):
    """The counts of a step, or of all steps."""

    @property
    def accepted(self) -> int: ...
    @property
    def open(self) -> int: ...
    @property
    def ends(self) -> results.Ends: ...


def ends(counts: results.Ends) -> str:
    """The ends that happened: `3 delivered 9 skipped`."""
    words = [(f"{n} {end}", _END_COLOURS.get(end, "dim")) for end, n in msgspec.structs.asdict(counts).items() if n]
    return " ".join(f"[{colour}]{text}[/]" for text, colour in words) or "[dim]-[/]"


def adds_up(counts: Counts) -> bool:
    """Whether accepted is the sum of all ends and of what is open, as it must be."""
    return counts.accepted == ended(counts.ends) + counts.open


def ended(counts: results.Ends) -> int:
    """The sum of all ends."""
    return sum(msgspec.structs.astuple(counts))


def device(d: results.DeviceFacts) -> str:
    """The hardware and system of a node in one line."""
    neon = {True: " with NEON", False: " [red]without NEON[/]", None: ""}[d.neon]
    words = [
        escape(d.model),
        escape(d.name or d.system),
        f"{escape(d.arch)}{neon}, {count(d.cores, 'core')}",
        f"{size(d.memory)} of memory" if d.memory else "",
        f"{size(d.flash)} of disk" if d.flash else "",
        escape(", ".join(w for w in (d.init, d.libc) if w)),
        f"radios {escape(' '.join(d.radios))}" if d.radios else "",
        count(d.gpus, "GPU") if d.gpus else "",
    ]
    return " · ".join(w for w in words if w)


def _facts(s: results.Status) -> Iterator[tuple[str, str]]:
    j, e = s.journal, s.engines
    law = "" if adds_up(j) else "  [bold red]does not add up[/]"
    unread = f" · [yellow]{size(j.unread)} of logs unread since the start[/]" if j.unread else ""
    text = f"{j.accepted} accepted = {ended(j.ends)} ended + {j.open} open"
    if len(s.counted) > 1:
        yield "counts", f"of {escape(', '.join(s.counted))} [dim]together; --node NAME shows one of them[/]"
    if s.device is not None:
        yield "device", device(s.device)
    memory = "" if j.durable else " · [yellow]not durable[/]: in memory, a power cut loses its open events"
    yield "journal", f"{text} [dim](room for {j.max_open})[/]{law}{memory}{unread}"
    for source in s.sources:
        yield "source", _source(source)
        for sender in source.senders[:SENDERS]:
            yield "", f"  {escape(sender.address)}  {_sender(sender)}"
        if len(source.senders) > SENDERS:
            yield "", f"  [dim]{len(source.senders) - SENDERS} more: edge-agent source list[/]"
    yield "blobs", f"{s.blobs.count}, {size(s.blobs.bytes)} of {size(s.blobs.quota)}"
    if s.logs is not None:
        lost = f" · [yellow]{count(s.logs.lost, 'line')} lost[/]" if s.logs.lost else ""
        yield "logs", f"{size(s.logs.bytes)}{lost}"
    docker = f"docker {escape(e.docker)}" if e.docker else "[dim]no docker[/]"
    words = [escape(e.wasm), docker, "gpu" if e.gpu else "[dim]no gpu[/]", "processes" if e.process else ""]
    yield "engines", " · ".join(w for w in words if w)
    if last := s.last_event:
        where = escape("/".join(filter(None, (last.pipeline, last.step))))
        yield "last event", f"{escape(last.type)} [dim]{since(last.age_s)} ago[/] on {escape(last.node)} {where}"
    yield "uplink", uplink(s.uplink)
    yield "listens", f"{escape(s.mesh.listen)} [dim]mesh[/] · {escape(s.mesh.enrol)} [dim]new nodes[/]"


def _source(s: results.SourceState) -> str:
    """One log: what was read, found and lost."""
    good = s.ok and not s.missing
    words = [f"{dot(good)} {escape(s.name)}"]
    if not good:
        words.append(f"[red]{escape(s.text or 'is not there')}[/]")
    words += [count(s.lines, "line"), count(s.events, "event")]
    if s.last:
        words.append(f"[dim]last line {ago(s.last)}[/]")
    words += _losses(s.dropped)
    if s.unread:
        words.append(f"[yellow]{size(s.unread)} rotated away unread[/]")
    elif s.gaps:
        words.append("[yellow]an unknown part rotated away unread[/]")
    return " · ".join(words)


def _sender(s: results.Sender) -> str:
    words = [] if s.allowed else ["[yellow]not allowed[/]"]
    words += [count(s.lines, "line"), count(s.events, "event"), f"[dim]last {ago(s.last)}[/]", *_losses(s.dropped)]
    return " · ".join(words)


def _losses(dropped: Mapping[str, int]) -> list[str]:
    return [f"[yellow]{n} dropped ({escape(reason)})[/]" for reason, n in sorted(dropped.items())]


def uplink(u: results.UplinkState) -> str:
    """The uplink in one line."""
    if not u.sink:
        return f"through [bold]{escape(u.node)}[/]" if u.node else "[dim]no sink is connected[/]"
    words = [f"{dot(u.connected)} {escape(u.sink)}", f"{u.delivered} delivered since the start"]
    if u.waiting:
        words.append(f"[yellow]{u.waiting} waiting[/]")
    if u.last:
        words.append(f"last {ago(u.last)}")
    words.append(f"{size(u.bytes_up)} up in all")
    if u.error:
        words.append(f"[red]{escape(u.error)}[/]")
    return " · ".join(words)


def _warnings(warnings: Sequence[Warning]) -> Iterator[RenderableType]:
    if not warnings:
        yield "\n[green]✓[/] nothing is wrong"
        return
    yield ""
    same: dict[Warning, list[str]] = {}  # many are about the mesh or the pipelines: each node reports them
    for w in warnings:
        same.setdefault(msgspec.structs.replace(w, node="", subject=""), []).append(w.node)
    for w, nodes in same.items():
        others = _names(sorted(n for n in nodes if n))
        where = f"[bold]{escape(others)}[/]: " if others and "" not in nodes else ""
        also = f" [dim](also {escape(others)})[/]" if others and not where else ""
        yield f"{_SEVERITY.get(w.severity, '!')} {where}{escape(w.text)}{also} [dim]{escape(w.code)}[/]"
        yield Padding(f"[dim]→ {escape(w.remedy)}[/]", (0, 0, 0, 2), expand=False)


NAMED = 5
"""Most nodes that are named beside a warning that several report."""


def _names(nodes: Sequence[str]) -> str:
    more = len(nodes) - NAMED
    return ", ".join(nodes[:NAMED]) + (f" and {more} more" if more > 0 else "")
