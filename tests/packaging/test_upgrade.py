"""A mesh of frozen agents under real systemds is upgraded node by node, while devices join; a broken release goes back."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.release import Manifest, SigningKey, sign_dist, write_manifest
from hil.standins import Network, SystemdMachine
from hil.standins.machine import Done
from hil.standins.systemd import missing
from tests.packaging.conftest import ROOT, freeze
from tests.packaging.install.releases import _package, maker

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(900)]
KEY = SigningKey.generate()
PIPELINE = """\
version: 1
name: joins
steps:
  wifi: {tail: /var/log/ap.log, where: node=porch, wasm: {module: edge/wifi-join}}
  arrived: {after: wifi, presence: {away: 30m, learn: 0}}
"""
BROKEN = '#!/bin/sh\n[ "$1" != serve ] || { echo "this version is broken" >&2; exit 1; }\n'


def make_release(folder: Path, version: str, tree: Path) -> Path:
    """A signed release of one package."""
    folder.mkdir()
    package = _package(folder, version, "edge-agent", tree, {})
    keys = {"release_pub": "@RELEASE_PUB@", "usign_pub": "@RELEASE_USIGN_PUB@"}
    (folder / "install.sh").write_text(maker().make_installer(version, "stable", [package], **keys))
    fields: dict[str, Any] = {"version": version, "protocol": 1, "released": "2026-11-28T00:00:00Z"}
    digest = hashlib.sha256((folder / "install.sh").read_bytes()).hexdigest()
    manifest = msgspec.convert({**fields, "installer": digest, "packages": [package]}, Manifest)
    (folder / "manifest.json").write_bytes(write_manifest(manifest))
    sign_dist(folder, KEY)
    return folder


@pytest.fixture(scope="module")
def releases(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """0.1.0 of this checkout, the same code as 0.2.0, and 0.3.0, which does not serve."""
    folder = tmp_path_factory.mktemp("releases")
    source = folder / "source"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".git", ".venv", ".cache", "dist", "out", "*.pyc"))
    version = source / "agent/__init__.py"
    text = version.read_text()
    assert '__version__ = "0.1.0"' in text
    version.write_text(text.replace('"0.1.0"', '"0.2.0"'))
    newer = freeze(folder / "newer", source=source)
    broken = folder / "broken/edge-agent"
    shutil.copytree(newer, broken, symlinks=True)
    launcher = broken / "edge-agent"
    launcher.write_text(launcher.read_text().replace("#!/bin/sh\n", BROKEN, 1))
    trees = {"0.1.0": tree, "0.2.0": newer, "0.3.0": broken}
    return [make_release(folder / version, version, tree) for version, tree in trees.items()]


@pytest.fixture
def machines() -> Iterator[tuple[SystemdMachine, SystemdMachine]]:
    if why := missing():
        pytest.skip(why)
    network = Network()
    try:
        with SystemdMachine("hub", network=network) as hub, SystemdMachine("porch", network=network) as porch:
            yield hub, porch
    finally:
        network.close()


def run(machine: SystemdMachine, command: str, stdin: bytes = b"", code: int = 0) -> str:
    done: Done = machine.run(["sh", "-c", command], stdin, timeout=300)
    assert done.code == code, f"{command}\n{done.stdout}\n{done.stderr}"
    return str(done.stdout)


def versions(machine: SystemdMachine) -> dict[str, str]:
    return {n["name"]: n["version"] for n in json.loads(run(machine, "edge-agent nodes --json")) if n["alive"]}


def wait_for(machine: SystemdMachine, condition: str) -> None:
    run(machine, f"for i in $(seq 60); do {condition} && exit 0; sleep 1; done; exit 1")


def join_phones(machine: SystemdMachine, first: int, count: int) -> None:
    """Lines of phones that join, as hostapd writes them."""
    lines = "".join(
        f"Nov 28 10:00:{n % 60:02d} ap hostapd: wlan0: AP-STA-CONNECTED a4:83:e7:00:00:{n:02x}\n"
        for n in range(first, first + count)
    )
    run(machine, "cat >>/var/log/ap.log && chmod 644 /var/log/ap.log", lines.encode())


def test_mesh_is_upgraded_and_a_broken_release_goes_back(
    releases: list[Path], machines: tuple[SystemdMachine, SystemdMachine]
) -> None:
    hub, porch = machines
    for number, release in enumerate(releases, 1):
        hub.put(release, f"/mnt/{number}")
    run(hub, "sh /mnt/1/install.sh --from /mnt/1 --new --name hub")
    line = json.loads(run(hub, "edge-agent token create --json"))["install"]["curl"]
    run(porch, "sh -s", f"{line}\n".encode())
    join_phones(porch, 0, 0)
    run(hub, "cat >/root/joins.yaml && edge-agent pipeline apply /root/joins.yaml", PIPELINE.encode())
    wait_for(hub, "edge-agent status --node porch --json | grep -q ap.log")
    join_phones(porch, 0, 10)
    before = run(porch, 'edge-agent status --json | grep -o \'"id":"[a-z2-7]*"\' | head -n 1')

    run(hub, "edge-agent release import /mnt/2")
    join_phones(porch, 10, 10)
    upgraded = run(hub, "edge-agent upgrade --all --yes --json")
    rows = [json.loads(row) for row in upgraded.splitlines()]
    assert [r["node"] for r in rows if r["state"] == "done"] == ["porch", "hub"], "the operator comes last"
    assert versions(hub) == {"hub": "0.2.0", "porch": "0.2.0"}
    join_phones(porch, 20, 10)

    run(hub, "edge-agent release import /mnt/3")
    broken = run(hub, "edge-agent upgrade porch --yes", code=1)
    assert "version 0.2.0 runs again" in broken
    assert versions(hub) == {"hub": "0.2.0", "porch": "0.2.0"}
    assert run(porch, 'edge-agent status --json | grep -o \'"id":"[a-z2-7]*"\' | head -n 1') == before

    wait_for(hub, "[ $(edge-agent device list --json | grep -o 'a4:83:e7:00:00:' | wc -l) -ge 30 ]")
    seen = run(hub, "edge-agent device list --json")
    assert {d["id"] for d in json.loads(seen)} == {f"a4:83:e7:00:00:{n:02x}" for n in range(30)}
    run(porch, "edge-agent-uninstall")
    left = run(
        porch, "find / -xdev -name '*edge-agent*' -not -path '/proc/*' -not -path '/var/log/*' -not -path '/tmp/*'"
    )
    assert left == ""
