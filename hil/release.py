"""The release under test: where its files are, and how a device gets and runs its installer."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import msgspec

from hil.device import Device
from hil.standins import DeviceError, Done, Lan
from hil.standins.process import Process

PORT = 8480
"""The port of the desk's file server in the stand-ins' network."""
ON_DEVICE = "/tmp/edge-hil-release"
WAIT = 120
"""Seconds that the installer may wait until the node is in the mesh; an emulated processor is slow."""
TIMEOUT = 900.0
"""Seconds that an installation may take in all."""


class Release:
    """The files of `make packages`. With a Lan they are served at the desk; else each device gets a copy."""

    def __init__(self, folder: Path, lan: Lan | None, log: Path) -> None:
        if not (folder / "manifest.json").is_file() or not (folder / "install.sh").is_file():
            raise DeviceError(f"{folder} has no release: make packages makes one")
        self.folder = folder
        self.manifest: dict[str, Any] = msgspec.json.decode((folder / "manifest.json").read_bytes())
        self._lan = lan
        self._server: Process | None = None
        if lan is not None:
            command = [
                *lan.inside,
                sys.executable,
                "-m",
                "http.server",
                str(PORT),
                "--bind",
                lan.desk,
                "-d",
                str(folder),
            ]
            self._server = Process(command, log)

    @property
    def version(self) -> str:
        """Its version."""
        return str(self.manifest["version"])

    def package(self, arch: str, variant: str = "") -> dict[str, Any] | None:
        """The smallest package of the agent for an architecture; None where the release has none."""
        found = [
            p
            for p in self.manifest["packages"]
            if p["program"] == "edge-agent" and p["arch"] == arch and p["variant"] == variant
        ]
        return min(found, key=lambda p: p["size"], default=None)

    def source(self, device: Device) -> str:
        """What the installer on this device gets as --from."""
        if self._lan is not None:
            return f"http://{self._lan.desk}:{PORT}"
        wanted = [p["file"] for p in self.manifest["packages"] if p["arch"] == device.arch]
        others = [f.name for f in self.folder.iterdir() if f.is_file() and f.stat().st_size < 1 << 20]
        for name in {*others, *(w for w in wanted if "tar.xz" in w or w.endswith(".ipk"))}:
            device.machine.put(self.folder / name, f"{ON_DEVICE}/{name}")
        return ON_DEVICE

    def install(self, device: Device, *options: str, token: str = "") -> Done:
        """Run the installer on a device; the token goes through stdin into the environment, never into arguments."""
        source = self.source(device)
        words = ["--from", source, "--name", device.name, "--wait", str(WAIT), *options]
        if device.variant:
            words += ["--variant", device.variant]
        for key, value in device.labels.items():
            words += ["--label", f"{key}={value}"]
        fetch = f"wget -q -O install.sh {source}/install.sh" if self._lan else f"cp {source}/install.sh ."
        line = "IFS= read -r EDGE_AGENT_TOKEN; export EDGE_AGENT_TOKEN; folder=$(mktemp -d) && cd $folder && "
        line += f"{fetch} && sh install.sh {shlex.join(words)}; code=$?; cd /; rm -rf $folder {ON_DEVICE}; exit $code"
        return device.machine.run(line, f"{token}\n".encode(), timeout=TIMEOUT)

    def close(self) -> None:
        """Stop the file server."""
        if self._server is not None:
            self._server.kill()
