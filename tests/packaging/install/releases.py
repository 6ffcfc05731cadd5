"""Releases for tests: a folder as `make packages` leaves it, around a program that is a few lines of shell.

The stand-in program answers `version`, `selftest`, `serve` and `status` like the agent; it joins with any token but `edge1.used`.
Tests that need the real agent take a frozen tree instead.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import tarfile
from pathlib import Path
from types import ModuleType
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ROOT = Path(__file__).resolve().parents[3]
TREE = ROOT / "build/dist/x86_64/edge-agent"
"""The frozen tree that `make dist` leaves."""
TOKEN = "edge1.good-secret-of-the-test"
PROGRAM = """#!/bin/sh
# A stand-in of edge-agent.
here=$(dirname "$(readlink -f "$0")")
state=$(sed -n 's/^state: //p' /etc/edge-agent/config.yaml 2>/dev/null)
state=${state:-/var/lib/edge-agent} up=/run/edge-agent/up
case $1 in
    --version | version) echo "edge-agent @VERSION@" ;;
    selftest) echo "selftest: @SELFTEST@" && [ "@SELFTEST@" = good ] ;;
    status)
        read -r pid runs 2>/dev/null <$up && kill -0 "$pid" 2>/dev/null || { echo 'no agent' >&2 && exit 4; }
        if [ "$2" = --json ]; then
            printf '{"version": "'$runs'", "nodes": [{"linked": true}, {"linked": @LINKED@}]}\\n'
        else
            echo "node box in the mesh, version $runs"
        fi ;;
    serve)
        if [ ! -e "$state/identity/member.pem" ]; then
            case $(cat "$state/join-token" 2>/dev/null) in
                edge1.used | '') echo 'the token was used already' >&2 && exit 1 ;;
                *) ;;
            esac
            mkdir -p "$state/identity" && echo "id $$" >"$state/identity/member.pem" && rm "$state/join-token"
        fi
        echo "serving @VERSION@"
        [ "@SERVE@" = good ] || { echo 'it cannot run' >&2 && exit 1; }
        echo $$ @VERSION@ >$up
        [ -z "$NOTIFY_SOCKET" ] || exec perl -MSocket -e '
            socket(my $s, AF_UNIX, SOCK_DGRAM, 0); my $to = pack_sockaddr_un($ENV{NOTIFY_SOCKET});
            send($s, "READY=1", 0, $to); while (1) { sleep 15; send($s, "WATCHDOG=1", 0, $to) }'
        trap 'rm -f $up; kill $!; exit 0' TERM
        while :; do sleep 3600 & wait $!; done ;;
esac
"""
SINK = """#!/bin/sh
# A stand-in of edge-sink.
case $1 in
    --version) echo "edge-sink @VERSION@" ;;
    serve)
        echo 'In the building, run: edge-agent sink connect https://192.0.2.1:8443#sha256=ab'
        echo https://192.0.2.1:8443 >/var/lib/edge-sink/address
        trap 'kill $!; exit 0' TERM
        while :; do sleep 3600 & wait $!; done ;;
esac
"""


def maker() -> ModuleType:
    """packaging/make_installer.py; the folder is no Python package, since its name would hide the library `packaging`."""
    spec = importlib.util.spec_from_file_location("make_installer", ROOT / "packaging/make_installer.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Keys:
    """A release key of a test."""

    def __init__(self) -> None:
        self.private = ec.generate_private_key(ec.SECP256R1())
        self.public = self.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def sign(self, data: bytes) -> bytes:
        """A signature that `openssl dgst -sha256 -verify` accepts."""
        return self.private.sign(data, ec.ECDSA(hashes.SHA256()))


def release(folder: Path, keys: Keys, version: str = "1.0.0", *, tree: Path | None = None, **facts: str) -> Path:
    """Make a release in `folder`. `tree` is a frozen tree to pack instead of the stand-in.

    `facts` of the stand-in are `selftest`, `serve` (good or bad) and `linked` (true or false).
    """
    folder.mkdir(parents=True)
    packages = [_package(folder, version, "edge-agent", tree, facts), _package(folder, version, "edge-sink", None, {})]
    manifest: dict[str, Any] = {
        "schema": 1, "version": version, "protocol": 1, "channel": "stable", "released": "2026-11-28T00:00:00Z",
        "installer": "", "packages": packages, "next_key": None,
    }  # fmt: skip
    keyed = {"release_pub": keys.public, "usign_pub": "untrusted comment: none\nnone"}
    script = maker().make_installer(version, "stable", packages, **keyed)
    (folder / "install.sh").write_text(script)
    manifest["installer"] = hashlib.sha256(script.encode()).hexdigest()
    (folder / "release.pub").write_text(keys.public)
    write_manifest(folder, manifest, keys)
    return folder


def write_manifest(folder: Path, manifest: dict[str, Any], keys: Keys) -> None:
    """Write and sign the manifest."""
    data = json.dumps(manifest, indent=1).encode()
    (folder / "manifest.json").write_bytes(data)
    (folder / "manifest.json.sig").write_bytes(keys.sign(data))


def _package(folder: Path, version: str, program: str, tree: Path | None, facts: dict[str, str]) -> dict[str, Any]:
    file = folder / f"{program}-{version}-x86_64.tar.xz"
    with tarfile.open(file, "w:xz", preset=1) as archive:
        if tree is not None:
            archive.add(tree.resolve(), program)
            unpacked = sum(f.lstat().st_size for f in tree.rglob("*") if f.is_file())
        else:
            text = (PROGRAM if program == "edge-agent" else SINK).replace("@VERSION@", version)
            for fact, value in {"selftest": "good", "serve": "good", "linked": "true", **facts}.items():
                text = text.replace(f"@{fact.upper()}@", value)
            entry = tarfile.TarInfo(f"{program}/{program}")
            entry.size, entry.mode = len(text), 0o755
            archive.addfile(entry, io.BytesIO(text.encode()))
            unpacked = len(text)
    data = file.read_bytes()
    return {
        "file": file.name, "kind": "tar.xz", "program": program, "arch": "x86_64", "variant": "", "size": len(data),
        "unpacked": unpacked, "sha256": hashlib.sha256(data).hexdigest(),
    }  # fmt: skip
