"""Builds the Python package with the WASM programs, the examples and the man pages inside: `make wheel`.

python packaging/make_wheel.py [FOLDER]     exit code 0 when the wheel is in FOLDER (build/wheel by default); prints its path

The programs must be built (scripts/build_filters.py). Installed by pip, pipx or uv, the package needs no checkout.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("agent", "cloud_sink", "detector", "demo")
PROGRAMS = ("wifi-join", "rescale")
"""The built-in programs (`edge/NAME`)."""
EPOCH = "315532800"
"""The time of all files, unless SOURCE_DATE_EPOCH says another: the first that a wheel can have, 1980-01-01."""


def source(folder: Path) -> None:
    """Copy what the package consists of into a new folder; raises FileNotFoundError for a program that is not built."""
    folder.mkdir()
    leave = shutil.ignore_patterns("__pycache__", "share")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=leave)
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, folder)
    programs = folder / "agent/share/programs"
    programs.mkdir(parents=True)
    for name in PROGRAMS:
        shutil.copy(ROOT / f"build/filters/{name}.wasm", programs)
    shutil.copytree(ROOT / "examples", folder / "agent/share/examples")
    subprocess.run([sys.executable, ROOT / "scripts/man_pages.py", folder / "man"], check=True)


def build(target: Path) -> Path:
    """Build the wheel into `target`; raises CalledProcessError."""
    target.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("SOURCE_DATE_EPOCH", EPOCH)
    with tempfile.TemporaryDirectory(prefix="edge-agent-wheel-") as scratch:
        here, out = Path(scratch) / "source", Path(scratch) / "out"
        source(here)
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--disable-pip-version-check"]
        subprocess.run([*command, "--wheel-dir", out, here], check=True)
        (made,) = out.glob("*.whl")
        return Path(shutil.copy(made, target))


def main() -> int:
    """Build it."""
    try:
        print(build(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build/wheel"))
    except FileNotFoundError as e:
        print(f"wheel: {e.filename} is missing; python scripts/build_filters.py builds the programs", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as e:
        print(f"wheel: the build ended with {e.returncode}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
