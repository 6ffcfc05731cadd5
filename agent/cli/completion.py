"""Completion of names in the shell: the running agent is asked, and where none answers at once there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import typer

from agent.cli import context

PATIENCE = 1.0
"""Seconds that the agent may take: somebody waits for the Tab key."""


def nodes(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of nodes."""
    return _names(ctx, incomplete, "/v1/nodes", lambda rows: (r["name"] for r in rows))


def pipelines(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of pipelines."""
    return _names(ctx, incomplete, "/v1/pipelines", lambda rows: (r["name"] for r in rows))


def steps(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of the steps of the pipeline that stands before in the command."""
    # While the option has no value yet, its command's words are not read: they are in `args`.
    words = [ctx.params.get("name"), *(a for a in ctx.args if not a.startswith("-"))]
    name = next((w for w in words if w), "")
    return _names(
        ctx,
        incomplete,
        "/v1/status",
        lambda s: (i["step"] for p in s["pipelines"] if p["name"] == name for i in p["steps"]),
    )


def logs(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of pipelines, and after a slash PIPELINE/STEP."""
    if "/" not in incomplete:
        return pipelines(ctx, incomplete)
    return _names(
        ctx,
        incomplete,
        "/v1/status",
        lambda s: (f"{p['name']}/{i['step']}" for p in s["pipelines"] for i in p["steps"]),
    )


def cameras(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of this node's cameras."""
    return _names(ctx, incomplete, "/v1/cameras", lambda rows: (r["name"] for r in rows))


def devices(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of devices, and the ids of devices without a name."""
    return _names(ctx, incomplete, "/v1/devices", lambda rows: (r.get("name") or r["id"] for r in rows))


def _names(ctx: typer.Context, incomplete: str, path: str, pick: Callable[[Any], Iterable[str]]) -> list[str]:
    options = ctx.find_root().params
    context.chosen.socket = options.get("socket") or context.chosen.socket
    context.chosen.config = options.get("config") or context.chosen.config
    try:
        if not context.socket_path().is_socket():
            return []
        with context.connect(timeout=PATIENCE) as client:
            return sorted(n for n in set(pick(client.get(path))) if n.startswith(incomplete))
    except Exception:  # noqa: BLE001  a message in the middle of a command line helps nobody
        return []
