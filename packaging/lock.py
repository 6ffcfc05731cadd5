"""The lock files: every library of a tree by version and hash, one file for each architecture and variant."""

from __future__ import annotations

import json
import shutil
import sys
import tomllib
from pathlib import Path
from typing import Any

from roots import CACHE, Arch, place, say

PYINSTALLER = "pyinstaller==6.22.3"
BUILD = ("pip", "setuptools>=80,<81", "wheel", "hatchling", "setuptools-scm")
"""The tools that the libraries' own builds ask for; they run without isolation, so that their versions are locked too."""


def lock_file(root: Path, arch: Arch, program: str, variant: str) -> Path:
    """Where the lock of a tree is."""
    extra = variant or ("sink" if program == "edge-sink" else "")
    return root / "packaging/lock" / ("-".join(filter(None, (arch.name, extra))) + ".txt")


def write_lock(root: Path, arch: Arch, program: str, variant: str) -> None:
    """Ask the package index for what pyproject.toml asks for, and write the answer with hashes; raises CannotFreeze.

    A variant and the sink keep the versions of the architecture's base lock.
    """
    lock = lock_file(root, arch, program, variant)
    base = lock_file(root, arch, "edge-agent", "")
    work = CACHE / "freeze" / f"{arch.name}-lock"
    work.mkdir(parents=True, exist_ok=True)
    where = place(arch, work, root / "build" / f"lock-{lock.stem}.log", root)
    python, pip = where.inside(work / "venv/bin/python"), ("-m", "pip", "--disable-pip-version-check")
    if not (work / "venv").exists():
        where.run(where.python(), "-m", "venv", where.inside(work / "venv"))
    build = lock.with_name("build.txt")
    if not build.exists():
        _resolve(where, [python, *pip], build, list(BUILD), [])
    where.run(python, *pip, "install", "-r", _copied(where, build))
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    extras = ("sink", "postgres") if program == "edge-sink" else (variant,)
    wanted = [
        PYINSTALLER,
        *project["dependencies"],
        *(library for extra in extras for library in project["optional-dependencies"].get(extra, [])),
    ]
    pinned = [build] if lock == base or not base.exists() else [build, base]
    _resolve(where, [python, *pip], lock, wanted, pinned)


def _copied(where: Any, file: Path) -> Path:
    shutil.copyfile(file, where.work / file.name)
    return Path(where.inside(where.work / file.name))


def _resolve(where: Any, pip: list[Any], lock: Path, wanted: list[str], pinned: list[Path]) -> None:
    """Write to `lock` what pip would install for `wanted`, but for what the first of `pinned` has."""
    say(f"resolving {lock.name}")
    locked = dict(pair for file in pinned for pair in _versions(file))
    asked, constraints, report = (where.work / n for n in ("wanted.txt", "constraints.txt", "report.json"))
    asked.write_text("\n".join(wanted) + "\n")
    constraints.write_text("".join(f"{name}=={version}\n" for name, version in locked.items()))
    where.run(
        *pip, "install", "--dry-run", "--ignore-installed", "--no-build-isolation", "--quiet", "--report", where.inside(report),
        "-r", where.inside(asked), "-c", where.inside(constraints),
    )  # fmt: skip
    ours = {name for name, _ in _versions(pinned[0])} if pinned else set()
    lines = []
    for item in json.loads(report.read_text())["install"]:
        name, version = item["metadata"]["name"].lower().replace("_", "-"), item["metadata"]["version"]
        if name not in ours:
            lines.append(
                f"{name}=={version} --hash=sha256:{item['download_info']['archive_info']['hashes']['sha256']}\n"
            )
    head = f"# Written by packaging/freeze.py --lock for Python {sys.version_info[0]}.{sys.version_info[1]}; not by hand.\n"
    lock.write_text(head + "".join(sorted(lines)))


def _versions(lock: Path) -> list[tuple[str, str]]:
    lines = [line.split()[0] for line in lock.read_text().splitlines() if line and not line.startswith("#")]
    return [(name, version) for name, _, version in (line.partition("==") for line in lines)]
