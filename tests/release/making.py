"""A small release for tests: two packages of a few bytes."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import msgspec

from agent.release import Manifest, Package, SigningKey, write_manifest
from agent.release.adb import block
from agent.release.dist import MARKERS

RELEASED = "2026-11-28T12:00:00Z"


def package(data: bytes = b"a tree", *, file: str = "edge-agent-0.1.0-x86_64.tar.xz", arch: str = "x86_64") -> Package:
    found = {
        "file": file, "kind": "tar.xz", "program": "edge-agent",
        "arch": arch, "size": len(data), "unpacked": len(data), "sha256": hashlib.sha256(data).hexdigest(),
    }  # fmt: skip
    return msgspec.convert(found, Package)


def manifest(version: str = "0.1.0", **more: object) -> Manifest:
    fields = {"version": version, "protocol": 1, "released": RELEASED, "packages": (package(),)}
    return Manifest(**(fields | more))  # type: ignore[arg-type]


def signed(key: SigningKey, version: str = "0.1.0", **more: object) -> tuple[bytes, bytes]:
    """A manifest's bytes and its signature."""
    raw = write_manifest(manifest(version, **more))
    return raw, key.sign(raw)


def fill(folder: Path, version: str = "0.1.0") -> None:
    """Fill a folder as `make packages` does, in small: packages, installer, indexes and an unsigned manifest."""
    names = {"x86_64": f"edge-agent-{version}-x86_64.tar.xz", "armv7": f"edge-agent-{version}-armv7.tar.xz"}
    packages = []
    for arch, name in names.items():
        data = f"{arch} {version}".encode()
        (folder / name).write_bytes(data)
        packages.append(package(data, file=name, arch=arch))
    (folder / "manifest.json").write_bytes(write_manifest(manifest(version, packages=tuple(packages))))
    (folder / "install.sh").write_bytes(b"#!/bin/sh\nkey() { cat <<'END'\n%s\n%s\nEND\n}\n" % MARKERS)
    (folder / "packages-x86_64.adb").write_bytes(b"ADB.indx" + block(0, b"\0" * 16))
    (folder / "Packages").write_bytes(b"Package: edge-agent\n")
    (folder / "Packages.gz").write_bytes(gzip.compress(b"Package: edge-agent\n", mtime=0))
