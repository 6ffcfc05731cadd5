"""The release under test: its files, and how a device runs its installer."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import msgspec

from hil.device import Device
from hil.standins import DeviceError, Done

ON_DEVICE = "/tmp/edge-hil-release"
TIMEOUT = 900.0
"""Seconds that an installation may take in all: an emulated processor unpacks slowly."""


class Release:
    """The files of `make packages`."""

    def __init__(self, folder: Path) -> None:
        if not (folder / "manifest.json").is_file() or not (folder / "install.sh").is_file():
            raise DeviceError(f"{folder} has no release: make packages makes one")
        self.folder = folder
        self.manifest: dict[str, Any] = msgspec.json.decode((folder / "manifest.json").read_bytes())

    @property
    def version(self) -> str:
        """Its version."""
        return str(self.manifest["version"])

    def package(self, arch: str, variant: str = "") -> dict[str, Any] | None:
        """The smallest package of the agent for an architecture; None where the release has none."""
        wanted = ("edge-agent", arch, variant)
        found = [p for p in self.manifest["packages"] if (p["program"], p["arch"], p["variant"]) == wanted]
        return min(found, key=lambda p: p["size"], default=None)

    def install_first(self, device: Device) -> Done:
        """Copy the release to the first device and run its installer there, as on a USB stick: it makes the mesh."""
        for file in sorted(f for f in self.folder.iterdir() if f.is_file()):
            device.machine.put(file, f"{ON_DEVICE}/{file.name}")
        words = ["--from", ON_DEVICE, "--new", "--name", device.name]
        for key, value in device.labels.items():
            words += ["--label", f"{key}={value}"]
        if device.variant:
            words += ["--variant", device.variant]
        line = f"sh {ON_DEVICE}/install.sh {shlex.join(words)}; code=$?; rm -rf {ON_DEVICE}; exit $code"
        return device.machine.run(line, timeout=TIMEOUT)


def install_next(device: Device, operator: Device) -> Done:
    """Run the line that `token create` prints on the operator: the one with curl where the device has it.

    The line goes through stdin, since it has the token. Only a variant is added to it, and a name where the host has another.
    """
    labels = [word for key, value in device.labels.items() for word in ("--label", f"{key}={value}")]
    made = operator.json("token", "create", *labels)
    if made.get("install") is None:
        raise DeviceError(f"{operator.name} prints no line that installs: it holds no release")
    curl = device.machine.run("command -v curl").code == 0
    line: str = made["install"]["curl" if curl else "wget"]
    more = f" --variant {device.variant}" if device.variant else ""
    if device.machine.run("hostname").text().strip() != device.name:
        more += f" --name {shlex.quote(device.name)}"
    line = line.replace(" --from ", f"{more} --from ") if more else line
    return device.machine.run("sh -s", f"{line}\n".encode(), timeout=TIMEOUT)
