"""A small stand-in for frozen trees, and the modules of packaging/ by their names."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
if str(ROOT / "packaging") not in sys.path:
    sys.path.insert(0, str(ROOT / "packaging"))


def make_tree(
    folder: Path, *, program: str = "edge-agent", version: str = "0.1.0", arch: str = "x86_64", variant: str = ""
) -> Path:
    """`folder/ARCH[-VARIANT]/PROGRAM` with a launcher that says its version, libraries, an empty file and a link."""
    base = folder / "-".join(filter(None, (arch, variant))) / program
    inner = base / "_internal"
    inner.mkdir(parents=True)
    launcher = base / program
    launcher.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo {program} {version} && exit 0\nexit 1\n')
    launcher.chmod(0o755)
    facts = {"program": program, "version": version, "protocol": 1, "arch": arch, "variant": variant}
    (inner / "tree.json").write_text(json.dumps(facts))
    (inner / "libpython3.11.so.1.0").write_bytes(bytes(range(256)) * 400)
    (inner / "libpython3.11.so").symlink_to("libpython3.11.so.1.0")
    (inner / "empty").write_bytes(b"")
    (inner / "certifi").mkdir()
    (inner / "certifi/cacert.pem").write_text("one\n" * 1000)
    os.utime(launcher, (1, 1))
    return base
