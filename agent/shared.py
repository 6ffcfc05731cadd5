"""The files that come with the agent: its WASM programs and its examples.

They are in a frozen tree, in an installed package, or in a checkout, where `scripts/build_filters.py` builds the programs.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from agent.errors import NotFound

HERE = Path(__file__).resolve().parent
BUILTIN = re.compile(r"edge/([a-z0-9][a-z0-9-]{0,63})\Z")
"""The name of a program that comes with the agent, such as `edge/wifi-join`; a file of that name is `./edge/wifi-join`."""


def _folders(kind: str, checkout: str) -> list[Path]:
    frozen: str | None = getattr(sys, "_MEIPASS", None)
    places = [Path(frozen) / "share" / kind] if frozen else []
    return [*places, HERE / "share" / kind, HERE.parent / checkout]


def builtin_program(name: str) -> Path | None:
    """The module of a name such as `edge/wifi-join`; None for any other word. Raises NotFound where it is not here."""
    match = BUILTIN.match(name)
    if match is None:
        return None
    folders = _folders("programs", "build/filters")
    for folder in folders:
        if (file := folder / f"{match[1]}.wasm").is_file():
            return file
    there = sorted({f"edge/{file.stem}" for folder in folders for file in folder.glob("*.wasm")})
    raise NotFound(
        f"no program {name} comes with this agent",
        hint=f"there are {', '.join(there)}" if there else "in a checkout, python3 scripts/setup.py demo builds them",
    )


def examples() -> dict[str, Path]:
    """The example pipelines by name."""
    for folder in _folders("examples", "examples"):
        if found := sorted(folder.glob("*.yaml")):
            return {file.stem: file for file in found}
    return {}
