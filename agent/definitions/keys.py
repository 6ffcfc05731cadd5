"""Every key of a pipeline file: type, unit, default. Loading, `pipeline schema` and the table in the docs use this one list."""

from __future__ import annotations

from typing import Any, Literal

import msgspec


class Key(msgspec.Struct, frozen=True):
    """One key; `type` is what the docs say, `struct` what msgspec checks."""

    key: str
    type: str
    struct: Any
    default: Any
    text: str
    example: str = "…"
    required: bool = False
    field: str = ""
    least: float = 0.0
    most: float = 2.0**53
    """Bounds of a number, a duration in seconds or a size in bytes. The highest is what JSON carries exactly."""

    @property
    def name(self) -> str:
        """The struct's field that the value goes to."""
        return self.field or self.key


EXECUTORS = ("tail", "wasm", "docker", "process", "camera", "presence", "sink")
Pick = Literal["", "all", "one", "here"]
LONGEST = 400 * 86400.0
"""Longest duration in seconds; no node keeps a decision for longer (limits.py)."""
_TIB = 1 << 40


def _keys(*keys: Key) -> dict[str, Key]:
    return {k.key: k for k in keys}


PIPELINE_KEYS = _keys(
    Key("version", "a number", int, None, "version of this format: 1", "1", required=True),
    Key("name", "a name", str, None, "the pipeline's name, unique in the mesh", "person-at-the-door", required=True),
    Key("steps", "a mapping", dict[str, Any], None, "the steps by name", "{wifi: …}", required=True),
    Key("keep", "a mapping", dict[str, Any], None, "how long photos stay on the nodes", "{matched: 7d, unmatched: 0}"),
)

STEP_KEYS = _keys(
    Key("after", "a step or a list of steps", str | list[str], "", "whose events this step takes", "wifi"),
    Key(
        "when",
        "a JMESPath expression",
        str,
        "",
        "events for which it is false, null or empty are skipped",
        '"!data.device.known"',
    ),
    Key("where", "a selector", str, "", "nodes that may run it; empty: all", "camera=true"),
    Key("pick", "all, one or here", Pick, "", "which of the matching nodes: default by kind", "one"),
    Key("prefer", "a selector", str, "", "matching nodes that come first under `pick: one`", "gpu=true"),
    Key("dedupe", "a mapping", dict[str, Any], None, "drop events whose key was seen", "{key: [data.mac], for: 10s}"),
    Key(
        "cooldown",
        "a mapping",
        dict[str, Any],
        None,
        "suppress events whose key passed lately",
        "{key: [root], for: 5m}",
    ),
    Key("emit", "a list of event types", list[str], [], "types that go on; empty: all", "[wifi.client.joined]"),
    Key(
        "deadline",
        "duration",
        float,
        3600.0,
        "age of the root event above which events expire (sink: 7d)",
        "15s",
        most=LONGEST,
    ),
    Key("attempts", "a number", int, 3, "runs before an event has failed", "3", least=1, most=10),
    Key(
        "tail",
        "a path, auto, journald, logread or {syslog: …}",
        Any,
        None,
        "follow a log (with `wasm` as its filter)",
        "auto",
    ),
    Key("wasm", "a mapping", Any, None, "run a WASM module", "{module: filters/rescale.wasm}"),
    Key("docker", "a mapping", Any, None, "run a warm container", "{image: edge/detector:1}"),
    Key(
        "process",
        "a mapping",
        Any,
        None,
        "run a local executable, where the node's owner allows it",
        "{command: [/usr/bin/prog]}",
    ),
    Key("camera", "a mapping", Any, None, "take photos with every camera of the node", "{shots: 2, every: 2s}"),
    Key("presence", "a mapping", Any, None, "turn joins into arrivals", "{away: 30m}"),
    Key("sink", "a mapping", Any, None, "send an alert to the sink", "{photo: labelled}"),
)

TASK_KEYS: dict[str, dict[str, Key]] = {
    "wasm": _keys(
        Key(
            "module",
            "a path",
            str,
            None,
            "the module, relative to the file; a CID once applied",
            "filters/rescale.wasm",
            required=True,
        ),
        Key("args", "a list of strings", list[str], [], "arguments", '[--max, "640"]'),
    ),
    "docker": _keys(
        Key("image", "an image", str, None, "the image; an image id once applied", "edge/detector:1", required=True),
        Key("args", "a list of strings", list[str], [], "arguments", "[--threshold, '0.4']"),
        Key("env", "a mapping of strings", dict[str, str], {}, "environment", "{LANG: C.UTF-8}"),
        Key("gpus", "a number", int, 0, "GPUs asked for", "1", most=64),
    ),
    "process": _keys(
        Key("command", "a list of strings", list[str], None, "program and arguments", "[/usr/bin/prog]", required=True),
        Key("env", "a mapping of strings", dict[str, str], {}, "environment", "{LANG: C.UTF-8}"),
    ),
    "camera": _keys(
        Key("shots", "a number", int, 1, "photos a camera takes for an event", "2", least=1, most=100),
        Key("every", "duration", float, 2.0, "time between them", "2s", most=3600),
        Key(
            "cameras",
            "a list of names",
            list[str],
            [],
            "only these cameras; empty: every camera of the node",
            "[porch]",
        ),
    ),
    "presence": _keys(
        Key("away", "duration", float, 1800.0, "silence after which a join is an arrival", "30m", most=LONGEST),
        Key("settle", "duration", float, 180.0, "time after a restart in which joins only refresh", "3m", most=LONGEST),
    ),
    "sink": _keys(
        Key("photo", "labelled or none", Literal["labelled", "none"], "labelled", "which photo leaves", "labelled")
    ),
    "window": _keys(
        Key(
            "key",
            "a JMESPath expression or a list of them",
            str | list[str],
            None,
            "what makes events the same",
            "[root]",
            required=True,
        ),
        Key("for", "duration", float, None, "for how long", "5m", required=True, most=LONGEST),
    ),
    "keep": _keys(
        Key("matched", "duration", float, 604800.0, "photos that led to an alert", "7d", most=LONGEST),
        Key("unmatched", "duration", float, 0.0, "photos that led to nothing", "0", most=LONGEST),
    ),
}

LIMITS = _keys(
    Key(
        "memory",
        "size",
        int,
        None,
        "memory limit (wasm 64MiB, docker and process 1GiB)",
        "64MiB",
        least=1 << 16,
        most=_TIB,
    ),
    Key(
        "timeout",
        "duration",
        float,
        None,
        "time for one event (wasm 10s, docker and process 30s)",
        "10s",
        least=0.001,
        most=86400,
    ),
    Key("outputs", "size", int, None, "bytes of all files written for one event", "16MiB", most=_TIB),
    Key("files", "a number", int, 32, "files written for one event", "32", most=10_000),
    Key("cpus", "a number", float, None, "CPU cores (docker)", "2", least=0.01, most=1024),
    Key("pids", "a number", int, 64, "processes (docker)", "64", least=1, most=1 << 20),
)
