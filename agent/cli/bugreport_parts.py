"""Facts of this host for a bug report: system, versions, and the agent's log where a service keeps it."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from agent.errors import in_words

LIBRARIES = (
    "eclipse-zenoh", "zeroconf", "cryptography", "msgspec", "wasmtime", "pywasm3", "docker", "opencv-python-headless", "starlette",
    "uvicorn", "httpx", "typer", "rich",
)  # fmt: skip
LINES = 5000
SECONDS = 10.0
_LOGS = (
    ("journalctl", ("-u", "edge-agent", "-n", str(LINES), "--no-pager", "-o", "short-iso")),
    ("logread", ("-e", "edge-agent", "-l", str(LINES))),
)


class Missing(NamedTuple):
    """A part that is not there, and why."""

    why: str


def host_facts() -> dict[str, Any]:
    """System, hardware and the versions of the libraries in use."""
    import psutil

    u = platform.uname()
    return {
        "system": f"{u.system} {u.release} {u.machine}",
        "distribution": _distribution(Path("/etc/os-release")) or _distribution(Path("/etc/openwrt_release")),
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "memory": psutil.virtual_memory().total,
        "load": list(os.getloadavg()),
        "boot": psutil.boot_time(),
        "interfaces": {n: s.mtu for n, s in psutil.net_if_stats().items() if s.isup},
        "libraries": {n: v for n in LIBRARIES if (v := _version(n))},
    }


def _distribution(file: Path) -> str:
    try:
        lines = file.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    wanted = ("PRETTY_NAME=", "DISTRIB_DESCRIPTION=")
    return next((line.partition("=")[2].strip("\"'") for line in lines if line.startswith(wanted)), "")


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def agent_log() -> str | Missing:
    """The newest lines of the agent's log, from the first log service here that has any."""
    why = "no log service (journald, logread) is on this device; add the agent's output to your report"
    for program, arguments in _LOGS:
        path = shutil.which(program)
        if path is None:
            continue
        try:
            done = subprocess.run([path, *arguments], capture_output=True, timeout=SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired) as e:
            why = f"{program} failed: {in_words(e)}"
            continue
        text = done.stdout.decode(errors="replace")
        if done.returncode == 0 and text.strip() and "-- No entries --" not in text:
            return text
        why = f"{program} has no line of edge-agent; add the agent's output to your report"
    return Missing(why)
