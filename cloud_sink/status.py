"""The state of a sink, read from its database: `edge-sink status`."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine

from cloud_sink.clock import now_ms
from cloud_sink.incidents import health_of
from cloud_sink.notify.queue import Notices
from cloud_sink.store import Alerts, Remembered

NOTICES = "notices"
"""The name under which a sink that starts stores its setting `--notices`."""


def status_of(engine: Engine) -> dict[str, Any]:
    """Alerts, notices and buildings. `notices` is the setting of the sink's last start."""
    alerts, now = Alerts(engine), now_ms()
    number, size = alerts.count()
    setting = Remembered(engine).get(NOTICES) or {"codes": [], "channels": []}
    buildings = [health_of(b, now) for b in alerts.buildings()]
    return {
        "alerts": number,
        "bytes": size,
        "notices": {"on": bool(setting["codes"]), **setting, "waiting": Notices(engine).waiting()},
        "buildings": [
            {key: b[key] for key in ("name", "mesh", "level", "alive", "total", "heard")}
            | {"warnings": [w.get("code", "") for w in b["warnings"]]}
            for b in buildings
        ],
    }


def lines_of(status: dict[str, Any]) -> list[str]:
    """The same for people."""
    notices, n = status["notices"], status["alerts"]
    off = "of alerts only; `edge-sink serve --notices on` adds warnings"
    lines = [
        f"alerts    {n} stored, {notices['waiting']} notices wait",
        f"services  {', '.join(notices['channels']) or 'none'}",
        f"notices   of alerts and warnings: {', '.join(notices['codes'])}" if notices["on"] else f"notices   {off}",
    ]
    for b in status["buildings"]:
        warnings = f", {', '.join(dict.fromkeys(b['warnings']))}" if b["warnings"] else ""
        lines.append(
            f"building  {b['name']}: {b['level']}, {b['alive']} of {b['total']} nodes alive, heard {b['heard']}{warnings}"
        )
    return lines
