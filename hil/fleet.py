"""The devices of one run, in one mesh: those of an inventory, or stand-ins made here."""

from __future__ import annotations

import contextlib
import datetime
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from hil import measure, story
from hil.device import Device, real, until
from hil.inventory import Inventory
from hil.release import Release
from hil.report import Report, Subject, this_machine
from hil.standins import Aarch64, Armv7, Box, Lan, lan
from hil.standins.standin import StandIn

OPERATOR = "hub"
STANDINS: dict[str, tuple[type[StandIn], str, tuple[str, ...], dict[str, str]]] = {
    OPERATOR: (
        Box, "this machine's processor; namespaces, busybox, no C library", ("operator", "detector"), {"detector": "true"},
    ),
    "ap": (Armv7, "qemu-system-arm, Cortex-A7, 256 MB; busybox, no C library", ("access-point",), {"wifi-log": "true"}),
    "porch": (Box, "this machine's processor; namespaces, busybox, no C library", ("camera",), {"camera": "true"}),
    "ap64": (
        Aarch64, "qemu-system-aarch64, Cortex-A53, 512 MB; busybox, no C library", ("access-point",), {"wifi-log": "true"},
    ),
}  # fmt: skip
"""The stand-ins by their nodes' names: how each is made, what it is, its roles and its labels."""


PICTURES = "/var/lib/edge-hil"
"""The folder of a device for the files of the story; removed at the end."""


@dataclass(frozen=True)
class Parts:
    """The devices that the story needs."""

    access_points: list[Device]
    cameras: list[Device]
    detectors: list[Device]


class Fleet:
    """The devices. A stand-in is made when its device is asked for the first time."""

    def __init__(self, folder: Path, release: Path, inventory: Inventory | None) -> None:
        self.folder, self.inventory = folder, inventory
        self._ends = contextlib.ExitStack()
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.report = Report(made=now, machine=this_machine())
        self.lan: Lan | None = None
        self._devices: dict[str, Device] = {}
        self._phones = 0
        try:
            if inventory is None:
                self.lan = self._ends.enter_context(lan())
            self.release = Release(release)
        except BaseException:
            self._ends.close()
            raise
        self.report.version = self.release.version

    @property
    def operator(self) -> Device:
        """The device that makes the mesh."""
        return self.device(OPERATOR if self.inventory is None else self.inventory.operator.name)

    @property
    def installed(self) -> list[Device]:
        """The devices that have an agent now."""
        return [d for d in self._devices.values() if d.installed]

    def lacking(self, name: str) -> str:
        """Why a stand-in cannot be tested: the release has no package for it; empty where it can. The report says so."""
        if self.inventory is not None:
            return ""
        maker, what, _, _ = STANDINS[name]
        if self.release.package(maker.arch) is not None:
            return ""
        self.report.device(Subject(name=name, mark="form only", arch=maker.arch, what=what))
        return f"the release has no package for {maker.arch}: make dist ARCH={maker.arch}"

    def device(self, name: str) -> Device:
        """A device, reached; raises DeviceError where it is not."""
        if name not in self._devices:
            self._devices[name] = self._make(name)
        return self._devices[name]

    def _make(self, name: str) -> Device:
        if self.inventory is not None:
            (entry,) = (d for d in self.inventory.device if d.name == name)
            return real(entry, self.folder)
        assert self.lan is not None
        maker, what, roles, labels = STANDINS[name]
        standin = self._ends.enter_context(maker(self.lan, name))
        return Device(name, standin, "emulated", what, roles, dict(labels), arch=standin.arch)

    def whole(self, timeout: float) -> None:
        """Wait until each installed device is linked with all the others; raises DeviceError."""
        names = {d.name for d in self.installed}
        for device in self.installed:
            until(f"{device.name} is linked with all others", partial(_sees, device, names - {device.name}), timeout)

    # -- the story -----------------------------------------------------------------------------------------------------

    @property
    def desk(self) -> str:
        """The address of this machine, as the devices reach it; empty where the inventory gives none."""
        return self.lan.desk if self.lan is not None else self.inventory.desk if self.inventory else ""

    @property
    def inside(self) -> tuple[str, ...]:
        """The prefix of a command at the desk."""
        return self.lan.inside if self.lan is not None else ()

    def parts(self) -> Parts | None:
        """The devices of the story; None where one is lacking."""
        having = {
            role: [d for d in self.installed if role in d.roles] for role in ("access-point", "camera", "detector")
        }
        if not all(having.values()) or not self.desk:
            return None
        return Parts(having["access-point"], having["camera"], having["detector"])

    def tell(self, parts: Parts) -> None:
        """Give the cameras their pictures, and apply the pipeline of the story."""
        for device in self.installed:
            if device.labels:
                labels = [f"{key}={value}" for key, value in device.labels.items()]
                self.operator.agent("node", "label", device.name, *labels).text()
        for camera in parts.cameras:
            story.photos(camera, PICTURES)
            camera.agent("camera", "add", "pictures", f"file:{PICTURES}", timeout=120.0).text()
        if self.inventory is None:  # the stand-in of the detector is a process
            for detector in parts.detectors:
                detector.machine.run("printf 'policy: {process: true}\n' >>/etc/edge-agent/config.yaml").text()
                measure.end_agent(detector.machine)
            self.whole(180.0)
        self.operator.machine.put(story.pipeline(standins=self.inventory is None).encode(), f"{PICTURES}.yaml")
        self.operator.agent("pipeline", "apply", f"{PICTURES}.yaml", timeout=180.0).text()
        for device in self.installed:
            until(f"{device.name} has the pipeline", partial(_has_pipeline, device), 180.0)

    def connect(self, sink: story.Sink) -> None:
        """Connect the operator with a sink."""
        words = ["sink", "connect", sink.url, "--key-file", "-"]
        self.operator.agent(*words, input=f"{sink.key}\n".encode(), timeout=120.0).text()

    def arrival(self, access_point: Device | None, sink: story.Sink) -> tuple[float, list[dict[str, Any]]]:
        """Let a new phone join at an access point, or the inventory's real phone for None, and wait for its alert.

        The seconds from the line to the alert in the sink, by this machine's clock, and the hops of the alert's trace.
        """
        before = set(sink.alerts())
        began = time.monotonic()
        if access_point is None:
            assert self.inventory is not None
            assert self.inventory.phone is not None
            story.join_for_real(self.inventory.phone)
        else:
            self._phones += 1
            story.join(access_point, f"02:00:00:00:{self._phones >> 8:02x}:{self._phones & 255:02x}")
        (alert, *_) = until("the arrival becomes an alert", lambda: set(sink.alerts()) - before, story.ARRIVAL)
        seconds = time.monotonic() - began
        hops: list[dict[str, Any]] = self.operator.json("trace", alert)["hops"]
        return seconds, hops

    def close(self) -> None:
        """End all stand-ins, and write the report."""
        self._ends.close()
        if self.report.rows:
            self.report.write(self.folder)


def _has_pipeline(device: Device) -> bool:
    status = device.status()
    return status is not None and story.PIPELINE in {p["name"] for p in status["pipelines"]}


def _sees(device: Device, others: set[str]) -> bool:
    return others <= device.linked()


def names(inventory: Inventory | None) -> list[str]:
    """The names of the devices of a run, the operator first."""
    if inventory is None:
        return list(STANDINS)
    first = inventory.operator.name
    return [first, *(d.name for d in inventory.device if d.name != first)]
