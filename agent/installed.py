"""The kind of installation: a Python package, or a frozen tree, which has its own description in `tree.json`."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import msgspec

from agent import PROTOCOL, __version__

MOST = 1 << 16
"""Most bytes that are read of `tree.json`."""


class Installed(msgspec.Struct, kw_only=True):
    """The running program. `variant` is `camera`, `detector` or empty; `arch` is a label's value, such as `armv7`."""

    version: str = __version__
    protocol: int = PROTOCOL
    arch: str = ""
    variant: str = ""
    frozen: bool = False


def installed() -> Installed:
    """The running installation; a frozen tree without a readable description is one of this machine's architecture."""
    folder: str | None = getattr(sys, "_MEIPASS", None)
    if folder is None:
        return Installed(arch=_arch())
    try:
        with (Path(folder) / "tree.json").open("rb") as file:
            found = msgspec.json.decode(file.read(MOST), type=Installed)
    except (OSError, msgspec.MsgspecError):
        found = Installed(arch=_arch())
    found.version, found.protocol, found.frozen = __version__, PROTOCOL, True
    return found


def _arch() -> str:
    machine = platform.machine().lower()
    return "armv7" if machine in ("armv7l", "armv8l") else machine
