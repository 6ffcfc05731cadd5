"""`edge-agent filter try --suggest`: a proposed form, tried on its line and on the others."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

import msgspec

from agent.cli.filter_module import WIFI_JOIN
from agent.cli.form_proposal import Proposal, choose_mac, macs_of, propose
from agent.cli.output import console, count, escape
from agent.errors import ConfigError, NotFound, StepFailed

if TYPE_CHECKING:
    from agent.executors import ExplainedLine, Explanation, OpenFilter

EVENTS = ("joined", "left", "roamed", "active")


class Suggestion(msgspec.Struct, kw_only=True):
    """A form for one line, and what the filter finds with it: in that line, and in lines that had no event before."""

    line: int
    mac: str
    event: str
    form: str
    verified: bool
    sure: bool
    """Whether a word of the line, or the user, says the event."""
    reason: str = ""
    """Why the filter does not find the event with it."""
    others: int = 0


async def suggest(
    open_filter: OpenFilter, arguments: list[str], result: Explanation, mac: str, event: str
) -> Suggestion:
    """The first proposal that the filter verifies, else the closest.

    Raises ConfigError or NotFound where nothing can be proposed.
    """
    if event and event not in EVENTS:
        raise ConfigError(
            f"{event} is not an event of a form", hint=f"--event {', '.join(EVENTS[:-1])} or {EVENTS[-1]}"
        )
    if not result.explained:
        raise ConfigError(
            "this filter has no --explain, so no form can be proposed", hint="leave --module out: wifi-join has it"
        )
    line = _line(result, mac)
    parts = _parts(line)
    device = choose_mac(parts.get("message", ""), mac)
    first: Suggestion | None = None
    for proposal in propose(parts, device, event):
        tried = await _tried(open_filter, arguments, result, line, proposal)
        if tried.verified:
            return tried
        first = first or tried
    assert first is not None
    return first


def _parts(line: ExplainedLine) -> dict[str, str]:
    """The line's parts; a MAC in the place of the host or program begins the message."""
    split = line.split
    for part in ("host", "program"):
        if part in split and macs_of(split[part]) and not macs_of(split.get("message", "")):
            return {"message": line.text[line.text.rindex(split[part]) :].rstrip("\r\0")}
    return split


def _line(result: Explanation, mac: str) -> ExplainedLine:
    """The line to propose a form for: the first without an event that names a MAC."""
    if not result.lines:
        raise ConfigError("there is no line", hint="give the line that has no event")
    without = [line for line in result.lines if line.event is None]
    if not without:
        raise ConfigError("every line has an event already: no form is needed", hint="give the line that has none")
    wanted = [line for line in without if macs_of(_parts(line).get("message", ""))]
    if mac:
        named = [
            line for line in wanted if macs_of(mac)[:1] == [m for m in macs_of(line.text) if m in macs_of(mac)][:1]
        ]
        wanted = named or wanted
    if not wanted:
        raise NotFound("no line without an event names a MAC", hint="a form needs the MAC of the device in the line")
    return wanted[0]


async def _tried(
    open_filter: OpenFilter, arguments: list[str], result: Explanation, line: ExplainedLine,
    proposal: Proposal,
) -> Suggestion:  # fmt: skip
    from agent.executors import explain_lines

    made = Suggestion(
        line=line.line, mac=proposal.mac, event=proposal.event, form=proposal.form, verified=False, sure=proposal.sure
    )
    lines = [other for other in result.lines if other.event is None]
    data = "".join(f"{other.text}\n" for other in lines).encode()
    try:
        found = await explain_lines(open_filter, [*arguments, "--form", proposal.form], data)
    except StepFailed as e:
        made.reason = " ".join([e.message, *map(str, e.fields.get("stderr", []))])
        return made
    if not found.explained or len(found.lines) != len(lines):
        made.reason = "the filter does not take it"
        return made
    for before, now in zip(lines, found.lines, strict=True):
        if before is not line:
            made.others += now.event is not None
        elif now.event is None:
            made.reason = now.reason or "it does not match"
        elif now.event.data.get("mac") != proposal.mac or not now.event.type.endswith(f".{proposal.event}"):
            made.reason = f"it finds {now.event.type} of {now.event.data.get('mac')}"
        else:
            made.verified = True
    return made


def show_suggestion(s: Suggestion, module: str) -> None:
    """Print the form, its use in a pipeline with this module, and what the filter finds with it."""
    option = f" --module {shlex.quote(module)}" if module != WIFI_JOIN else ""
    _say(f"[bold]line {s.line}, {s.event} {s.mac}[/]")
    _say(f"   try it  edge-agent filter try --form {escape(shlex.quote(s.form))}{option} FILE")
    _say(
        f"   use it  wasm: {{module: {escape(module)}, args: [--form, {escape(json.dumps(s.form, ensure_ascii=False))}]}}"
    )
    if not s.sure:
        _say(
            "[yellow]![/] no word of the line says what happened: joined is assumed; --event left, roamed or active says otherwise"
        )
    if not s.verified:
        _say(f"[red]✗[/] the filter does not find the event with it: {escape(s.reason)}")
        return
    _say(f"[green]✓[/] with it the line gives wifi.client.{s.event} of {s.mac}")
    if s.others:
        _say(f"[dim]it also gives an event for {count(s.others, 'other line')}: look whether they mean the same[/]")


def _say(text: str) -> None:
    console().print(text, soft_wrap=True)
