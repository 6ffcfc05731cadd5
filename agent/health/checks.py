"""The checks: functions that yield the faults they find, and the severity and remedy of each code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from agent import PROTOCOL
from agent.config import format_size
from agent.health.facts import Facts, SourceFact
from agent.model.health import Warning

RULES = {
    "disk.full": ("warning", "free some space, or lower blobs.quota in the configuration"),
    "operator.one": ("info", "let another device join as an operator: edge-agent token create --role operator"),
    "operator.no-backup": ("info", "copy the identity folder to a safe place"),
    "node.pending": ("warning", "see edge-agent node pending, then edge-agent node approve CODE"),
    "certificate.expiring": ("warning", "connect this node to an operator: the node then renews it"),
    "sink.missing": ("error", "run edge-agent sink connect URL on the node that may reach it"),
    "sink.disconnected": ("warning", "alerts wait in the spool; see edge-agent sink status"),
    "clock.unsynchronised": ("info", "start a time service (systemd-timesyncd, chrony, ntpd)"),
    "camera.silent": ("warning", "run edge-agent camera test {subject}"),
    "camera.gone": ("error", "check its power and network, then edge-agent camera test {subject}"),
    "mesh.protocol": ("error", "upgrade the older of the two: run the installer's line on it"),
    "node.gone": ("error", "check its power and network; edge-agent netcheck shows the way to it"),
    "source.gone": ("error", "check sources.tail and the file's owner and mode"),
    "step.failing": ("error", "see edge-agent logs {subject}"),
    "step.not-started": ("error", "see edge-agent logs {subject}"),
    "step.no-node": (
        "warning",
        "edge-agent nodes shows the labels; edge-agent node label NODE KEY=VALUE adds one, or change the step's `where`",
    ),
    "gpu.unused": ("warning", "install the GPU's container toolkit, or remove gpus from the step"),
    "docker.missing": ("error", "start Docker, or set docker.host in the configuration"),
    "image.coming": ("info", "nothing to do: the step starts when it is here"),
    "queue.full": ("warning", "edge-agent status shows which step or node is behind"),
    "blobs.full": ("info", "raise blobs.quota, or keep photos for a shorter time"),
    "source.unreadable": ("error", "check sources.tail and the file's owner and mode"),
    "source.unread": ("warning", "edge-agent status shows which step is behind; or rotate the log later"),
    "source.missing": (
        "warning",
        "check the path in sources.tail or in the pipeline; the log is read as soon as it is there",
    ),
    "source.nothing-recognised": (
        "warning",
        "edge-agent filter try FILE shows how its lines are read, and proposes a form",
    ),
    "source.dropped": ("warning", "edge-agent source list shows the senders; raise the receiver's rate or connections"),
    "source.not-allowed": ("warning", "edge-agent source list shows the senders; edge-agent source allow ADDRESS"),
    "presence.learning": ("info", "nothing to do; to have alerts at once: edge-agent device learn --stop {subject}"),
    "mesh.unlinked": ("info", "let one of the two reach the other's mesh port, or set mesh.join"),
}
"""Severity and remedy by code; `{subject}` stands for the fault's subject."""
CODES = frozenset(RULES)
"""All codes of `run_checks`; `HealthRegistry.update` replaces their warnings."""
LEAST_FREE, SHARE_FREE = 200 << 20, 0.03
ALMOST_NOTHING = 20 << 20
WARN_DAYS = 60
GONE_AFTER = 600.0
"""Seconds after which an absence is a fault."""
STREAK = 3
NEVER_LINES, NEVER_LONG = 2000, (100, 6 * 3600.0)
"""Lines without any event since the start from which the log has no known form; fewer lines where they came for so many seconds."""
SINCE_LINES, SINCE_SECONDS = 20_000, 3 * 86400.0
"""The same after events, both together: nobody may be at home, but then an access point says little."""
DROPPED_FOR = 3600.0
"""Seconds for which dropped lines are a fault."""
QUEUE_SHARE, BLOBS_SHARE = 0.9, 0.98


class Fault(NamedTuple):
    """A fault that a check finds; `severity` and `remedy` override those of the code's rule."""

    code: str
    subject: str
    text: str
    severity: str = ""
    remedy: str = ""


def disk(facts: Facts) -> Iterator[Fault]:
    """Less than 3 % and less than 200 MiB free is a warning, less than 20 MiB an error."""
    free, total = facts.disk_free, facts.disk_total
    if free is None or not total or free >= LEAST_FREE or free >= max(SHARE_FREE * total, ALMOST_NOTHING):
        return
    text = f"only {format_size(free)} are free on the disk of {facts.state or 'the state folder'}"
    yield Fault("disk.full", facts.state or facts.node, text, "error" if free < ALMOST_NOTHING else "")


def membership(facts: Facts) -> Iterator[Fault]:
    """One operator in a mesh of several nodes, no backup of it, or nodes and labels that wait for approval."""
    if facts.operators == 1 and facts.nodes > 1:
        yield Fault("operator.one", "mesh", "only one operator can admit nodes and sign pipelines")
    if facts.backup is False:
        yield Fault("operator.no-backup", facts.node, "this operator's key has no backup")
    if facts.pending:
        yield Fault(
            "node.pending",
            "mesh",
            "1 node or label waits for approval"
            if facts.pending == 1
            else f"{facts.pending} nodes or labels wait for approval",
        )


def certificate(facts: Facts) -> Iterator[Fault]:
    """60 days left is a warning (renewal starts at 200), expired an error."""
    days = facts.certificate_days
    if days is not None and days <= 0:
        yield Fault("certificate.expiring", facts.node, "the certificate has expired", "error")
    elif days is not None and days <= WARN_DAYS:
        yield Fault("certificate.expiring", facts.node, f"the certificate ends in {days:.0f} days")


def sink(facts: Facts) -> Iterator[Fault]:
    """A pipeline ends in a sink, but no node of the mesh has one (`sink_connected` is None), or it does not answer."""
    if facts.sink_wanted and facts.sink_connected is None:
        yield Fault("sink.missing", "mesh", "a pipeline has a sink step, but no node has a sink")
    elif facts.sink_connected is False:
        yield Fault("sink.disconnected", facts.node, "the sink does not answer" + _because(facts.sink_error))


def clock(facts: Facts) -> Iterator[Fault]:
    """Without a time service only displayed times are wrong: no rule of the mesh compares two clocks."""
    if facts.clock_synchronised is False:
        yield Fault("clock.unsynchronised", facts.node, "the clock is not synchronised; event times may be wrong")


def cameras(facts: Facts) -> Iterator[Fault]:
    """One fault per camera whose last use failed."""
    for camera in facts.cameras:
        if not camera.ok:
            yield Fault("camera.silent", camera.name, f"camera {camera.name} ({camera.kind}) gives no pictures")


def gone(facts: Facts) -> Iterator[Fault]:
    """A node, camera or source that is gone for ten minutes; a shorter absence is often a restart."""
    for code, what, found in (
        ("node.gone", "node", facts.gone),
        ("camera.gone", "camera", facts.lost_cameras),
        ("source.gone", "source", facts.lost_sources),
    ):
        for one in found:
            if one.seconds >= GONE_AFTER:
                yield Fault(code, one.name, f"the {what} {one.name} has been gone for ten minutes or more")


def steps(facts: Facts) -> Iterator[Fault]:
    """Three failed events or starts in a row, or a step whose selector matches no live node."""
    for failing in facts.failing:
        if failing.streak < STREAK:
            continue
        name = f"{failing.pipeline}/{failing.step}"
        if not failing.started:
            events = "1 event waits" if failing.waiting == 1 else f"{failing.waiting} events wait"
            waiting = f", {events} for it" if failing.waiting else ""
            text = f"{name} cannot start on {facts.node}: {failing.error}{waiting}"
            yield Fault("step.not-started", name, text, remedy=failing.hint)
        else:
            yield Fault("step.failing", name, f"{name} failed {failing.streak} times in a row: {failing.error}")
    for name in facts.steps_without_node:
        yield Fault("step.no-node", name, name)


def engines(facts: Facts) -> Iterator[Fault]:
    """A step asks for a GPU and runs without one, or needs a container engine and none answers."""
    if facts.gpu_wanted and facts.gpu_used is False:
        yield Fault("gpu.unused", facts.node, "a step asks for a GPU and runs without one")
    if facts.docker_wanted and facts.docker_available is False:
        yield Fault("docker.missing", facts.node, "a step needs a container engine and none answers")


def images(facts: Facts) -> Iterator[Fault]:
    """An image is on its way: its step does not run here yet."""
    for image, text in facts.images.items():
        yield Fault("image.coming", image[:19], text)


def queue(facts: Facts) -> Iterator[Fault]:
    """The journal is nine tenths full (an error when full, because senders are refused), or the blob store nearly."""
    if facts.queue_max and facts.queue_open >= QUEUE_SHARE * facts.queue_max:
        text = f"{facts.queue_open} of {facts.queue_max} places for open events are taken"
        yield Fault("queue.full", facts.node, text, "error" if facts.queue_open >= facts.queue_max else "")
    if facts.blobs_quota and facts.blobs_bytes >= BLOBS_SHARE * facts.blobs_quota:
        text = f"blobs fill {format_size(facts.blobs_bytes)} of {format_size(facts.blobs_quota)}"
        yield Fault("blobs.full", facts.node, text)


def sources(facts: Facts) -> Iterator[Fault]:
    """A log that is not there, cannot be read, was rotated away unread, loses lines, or comes from an address that is not allowed."""
    for source in facts.sources:
        if source.missing:
            yield Fault("source.missing", source.name, f"{source.name} is not there")
        elif not source.ok:
            text = f"{source.name} cannot be read" + _because(source.text)
            yield Fault("source.unreadable", source.name, text, remedy=source.hint)
        if source.unread:
            text = f"{format_size(source.unread)} of {source.name} were rotated away unread"
            yield Fault("source.unread", source.name, text)
        elif source.gaps:
            text = f"{source.name} was rotated away or emptied before its end was read; how much is lost is not known"
            yield Fault("source.unread", source.name, text)
        if source.dropped and source.dropped_s < DROPPED_FOR:
            reasons = ", ".join(f"{n} {reason}" for reason, n in sorted(source.dropped.items()))
            yield Fault("source.dropped", source.name, f"{source.name} dropped lines: {reasons}")
        yield from _unrecognised(source)
        if source.strangers:
            first, more = source.strangers[0], len(source.strangers) - 1
            senders = f"{first} and {more} more send" if more else f"{first} sends"
            text = f"{senders} to {source.name} without being allowed: such lines are ignored"
            remedy = f"edge-agent source list shows its last line; edge-agent source allow {first} reads it, deny {first} ignores it"
            yield Fault("source.not-allowed", source.name, text, remedy=remedy)


def _unrecognised(source: SourceFact) -> Iterator[Fault]:
    lines, seconds = source.unrecognised, source.unrecognised_s
    if source.events:
        silent = lines >= SINCE_LINES and seconds >= SINCE_SECONDS
    else:
        silent = lines >= NEVER_LINES or (lines >= NEVER_LONG[0] and seconds >= NEVER_LONG[1])
    if silent:
        since = "since the last event" if source.events else "since the start"
        text = f"no event was found in {lines} lines of {source.name} {since}"
        yield Fault("source.nothing-recognised", source.name, text)
    for sender in source.unheard:
        text = f"no event was found in the lines that {sender} sends to {source.name}"
        yield Fault("source.nothing-recognised", f"{source.name} {sender}", text, "info")


def learning(facts: Facts) -> Iterator[Fault]:
    """Devices are met without an alert while a presence step learns; the sink's page shows it."""
    for p in facts.learning:
        left = f"{p.left / 3600:.0f} h" if p.left > 5400 else f"{max(1.0, p.left / 60):.0f} min"
        text = f"{p.pipeline} learns for another {left} and has met {p.met} devices; unknown devices cause no alert yet"
        yield Fault("presence.learning", p.pipeline, text)


def links(facts: Facts) -> Iterator[Fault]:
    """Nodes that are alive without a direct link to this one: traffic goes through other nodes, which is slower."""
    for name in facts.strangers:
        yield Fault(
            "mesh.protocol",
            name.partition(" ")[0],
            f"{name}, and this node protocol {PROTOCOL}: they refuse each other",
        )
    for name in facts.unlinked:
        yield Fault("mesh.unlinked", name, f"no direct link to {name}; others relay")


CHECKS = (
    disk,
    membership,
    certificate,
    sink,
    clock,
    cameras,
    gone,
    steps,
    engines,
    images,
    queue,
    sources,
    learning,
    links,
)


def run_checks(facts: Facts) -> list[Warning]:
    """All faults in these facts, as warnings."""
    return [_warning(fault) for check in CHECKS for fault in check(facts)]


def _warning(fault: Fault) -> Warning:
    severity, remedy = RULES[fault.code]
    remedy = fault.remedy or remedy.format(subject=fault.subject)
    return Warning(fault.code, fault.subject, fault.text, remedy, fault.severity or severity)


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""
