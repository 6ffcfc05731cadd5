"""The agent on whole devices: installed by its installer, joined to one mesh, measured, cut off from power, and removed.

The tests run in the order of this file, since each needs what those before it made.
"""

from __future__ import annotations

import contextlib
import time

import pytest

from hil import measure, story
from hil.device import Device, until
from hil.fleet import PICTURES, Fleet
from hil.release import install_next
from hil.report import Subject
from hil.standins.root import NETWORK_UP

pytestmark = pytest.mark.timeout(1200)

INSTALL_GOAL = 60.0
"""Seconds of an installation, from the line to the node in the mesh."""
PACKAGE_GOAL = 20.0
"""MB of the armv7 package."""
PSS_GOAL = {"armv7": 40.0, "aarch64": 40.0, "x86_64": 70.0}
"""MB of the agent and its children at rest, on each architecture."""
REST = 60.0
"""Seconds of the measurement at rest."""
CPU_GOAL = 0.3
"""Percent of one processor at rest."""
BACK_GOAL = 20.0
"""Seconds from the network's start after a power cut to the return into the mesh."""
FILES: dict[str, set[str]] = {}
"""The files of each device before its installation."""


def test_device_is_reached_and_has_no_agent(device: Device, devices: Fleet) -> None:
    machine = device.machine
    assert machine.run("command -v edge-agent").code != 0, f"{device.name} has an agent: remove it first"
    uname = machine.run("uname -m").text().strip()
    device.arch = device.arch or {"armv7l": "armv7"}.get(uname, uname)
    here = measure.loop_seconds_here()
    slower = measure.loop_seconds(machine) / min(here, measure.loop_seconds_here())
    what = f"{device.what}; {measure.linux(machine)}"
    devices.report.device(Subject(name=device.name, mark=device.mark, arch=device.arch, what=what, slower=slower))
    FILES[device.name] = measure.files(machine)


def test_installer_brings_the_device_into_the_mesh(device: Device, devices: Fleet) -> None:
    report, release, operator = devices.report, devices.release, devices.operator
    if device is not operator and not operator.installed:
        pytest.skip("the operator has no agent")
    began = time.monotonic()
    done = release.install_first(device) if device is operator else install_next(device, operator)
    seconds = time.monotonic() - began
    (devices.folder / f"install-{device.name}.log").write_text(f"{done.stdout}\n{done.stderr}")
    done.text()
    device.installed = True
    how = "from a folder, --new" if device is operator else "by the printed line"
    report.add(device.name, "installed and in the mesh", seconds, "s", INSTALL_GOAL, how)
    package = release.package(device.arch, device.variant)
    if package is not None:
        goal = PACKAGE_GOAL if device.arch == "armv7" else None
        report.add(device.name, "package, compressed", package["size"] / 1e6, "MB", goal, note=package["file"])
    folders = ("/opt/edge-agent", "/tmp/edge-agent-tree")
    report.add(device.name, "flash used by the program", measure.disk_used(device.machine, *folders), "MB")
    report.add(device.name, "edge-agent version", measure.command_seconds(device.machine, "edge-agent version"), "s")


def test_selftest_passes(agent: Device, devices: Fleet) -> None:
    done = agent.agent("selftest", "--json", timeout=300.0)
    (devices.folder / f"selftest-{agent.name}.json").write_text(done.stdout)
    done.text()
    devices.report.add(agent.name, "selftest")


def test_all_devices_are_linked_with_each_other(devices: Fleet) -> None:
    if len(devices.installed) < 2:
        pytest.skip("there are fewer than two devices with an agent")
    began = time.monotonic()
    devices.whole(180.0)
    note = f"{len(devices.installed)} nodes; asked over SSH, one after another"
    devices.report.add(devices.operator.name, "all nodes linked with all", time.monotonic() - began, "s", note=note)


def test_agents_at_rest_are_small(devices: Fleet) -> None:
    if not devices.installed:
        pytest.skip("no device has an agent")
    before = {d.name: measure.used(d.machine) for d in devices.installed}
    time.sleep(REST)
    after = {d.name: measure.used(d.machine) for d in devices.installed}
    for d in devices.installed:
        note = f"in {REST:.0f} s, of the device's processor"
        devices.report.add(d.name, "CPU at rest", after[d.name].percent(before[d.name]), "%", CPU_GOAL, note)
        memory = measure.lowest_memory(d.machine)
        note = f"{memory.processes} processes, {memory.rss:.1f} MB RSS"
        devices.report.add(
            d.name, "memory at rest, PSS with children", memory.pss, "MB", PSS_GOAL.get(d.arch), note
        )  # fmt: skip


def test_phone_at_an_access_point_becomes_an_alert(devices: Fleet) -> None:
    parts = devices.parts()
    if parts is None:
        pytest.skip("no mesh of an access point, a camera, a detector and an address for the sink (`desk`)")
    devices.tell(parts)
    with contextlib.closing(story.Sink(devices.folder, devices.desk, devices.inside)) as sink:
        devices.connect(sink)
        if devices.inventory is not None and devices.inventory.phone is not None:
            seconds, _ = devices.arrival(None, sink)
            devices.report.add(devices.operator.name, "a real phone's arrival to alert", seconds, "s")
        for access_point in parts.access_points:
            for number in range(3):
                seconds, hops = devices.arrival(access_point, sink)
                note = " → ".join(f"{h['step']} {h['at_ms']:.0f}" for h in hops)
                which = "first arrival" if number == 0 else "arrival"
                what = f"log line to alert in the sink, {which}"
                devices.report.add(
                    access_point.name, what, seconds * 1000.0, "ms", note=f"ms at the end of each step: {note}"
                )


def test_mesh_runs_under_arrivals(devices: Fleet, soak: float) -> None:
    parts = devices.parts()
    if parts is None or soak <= 0:
        pytest.skip("no soak: see --soak, and the parts of the story")
    with contextlib.closing(story.Sink(devices.folder, devices.desk, devices.inside)) as sink:
        devices.connect(sink)
        before = {d.name: measure.memory(d.machine).pss for d in devices.installed}
        first = len(sink.alerts())
        end, arrivals = time.monotonic() + soak, 0
        while time.monotonic() < end:
            devices.arrival(parts.access_points[arrivals % len(parts.access_points)], sink)
            arrivals += 1
        assert len(sink.alerts()) - first == arrivals, "each arrival is one alert"
    assert arrivals > 0
    devices.report.add(
        devices.operator.name, "soak", soak / 60.0, "min", note=f"{arrivals} arrivals, {arrivals} alerts"
    )
    for d in devices.installed:
        grown = measure.memory(d.machine).pss - before[d.name]
        devices.report.add(d.name, "memory grown during the soak", grown, "MB")


def test_power_cut_and_return_into_the_mesh(agent: Device, devices: Fleet) -> None:
    if not agent.cut:
        pytest.skip(f"{agent.name} has no switchable socket in the inventory")
    if len(devices.installed) < 2:
        pytest.skip("there is no other node to come back to")
    # Another node tells when it is back: a question to a device that starts would take its processor.
    others = sorted((d for d in devices.installed if d is not agent), key=lambda d: d.arch != "x86_64")
    agent.machine.cut()
    until(f"{others[0].name} sees that {agent.name} is gone", lambda: agent.name not in others[0].linked(), 180.0)
    began = time.monotonic()
    agent.machine.power()
    until(f"{agent.name} is linked again", lambda: agent.name in others[0].linked(), 300.0)
    total = time.monotonic() - began
    devices.report.add(agent.name, "power-on to linked again", total, "s", note=f"seen by {others[0].name}")
    network = agent.machine.run(f"cat {NETWORK_UP}")
    if network.code == 0 and agent.arch != "x86_64":  # a box has this machine's uptime
        devices.report.add(agent.name, "network up to linked again", total - float(network.stdout), "s", BACK_GOAL)
    devices.whole(180.0)


def test_removal_leaves_no_file(device: Device, devices: Fleet) -> None:
    if not device.installed:
        pytest.skip(f"{device.name} has no agent")
    device.machine.run("edge-agent-uninstall", timeout=120.0).text()
    device.machine.run(f"rm -rf {PICTURES} {PICTURES}.yaml").text()
    device.installed = False
    left = sorted(measure.files(device.machine) - FILES[device.name])
    gone = sorted(FILES[device.name] - measure.files(device.machine))
    assert (left, gone) == ([], [])
    devices.report.add(device.name, "removed without a trace")
