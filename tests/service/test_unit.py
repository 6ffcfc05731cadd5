"""The agent under its unit on a real systemd: it starts, comes back from every end, reloads, and tells the story, sandboxed."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hil.standins import SystemdMachine
from hil.standins.systemd import missing
from tests.executors.docker_image import busybox_image
from tests.service.installed import FILTERS, Service, mounts
from tests.story.building import Sink, building, pictures
from tests.story.pipelines import story

ENGINE = Path("/run/docker.sock")
pytestmark = [
    pytest.mark.slow, pytest.mark.docker, pytest.mark.root, pytest.mark.timeout(400),
    pytest.mark.skipif(bool(missing()), reason=missing()),
    pytest.mark.skipif(not ENGINE.exists() or ENGINE.stat().st_gid == 0, reason="no engine whose socket has a group"),
]  # fmt: skip
ONCE = """\
version: 1
name: long
steps:
  lines: {tail: journald, where: node=box, wasm: {module: /opt/filters/wifi-join.wasm}, emit: [wifi.client.joined]}
  work:
    after: lines
    where: node=box
    process: {command: [/bin/sleep, "7777"], once: true, timeout: 1h}
"""


def config(state: Path, more: str = "") -> str:
    return f"state: {state}\nmesh: {{mdns: false}}\npolicy: {{process: true}}\nlabels: {{wifi-log: 'true'}}\n{more}"


@pytest.fixture(scope="module")
def state() -> Iterator[Path]:
    """A folder with one path on both sides, because the engine, which runs here, mounts what the agent puts
    there. PrivateTmp hides /tmp and /var/tmp.
    """
    made = Path(tempfile.mkdtemp(prefix="edge-service-", dir="/srv"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def service(state: Path) -> Iterator[Service]:
    busybox_image()
    photos = pictures(state / "photos", "porch", 20)
    with SystemdMachine(
        "box", mounts={**mounts(), str(photos): photos}, binds={str(state): state, str(ENGINE): ENGINE}
    ) as machine:
        machine.run(f"groupadd --gid {ENGINE.stat().st_gid} docker").text()
        made = Service(machine)
        machine.run(f"chown edge-agent: {state}").text()
        made.drop_in("state", f"[Service]\nReadWritePaths={state}\n")
        made.start(config(state / "state"), "docker", "camera")
        yield made


@pytest.fixture
def sink(service: Service) -> Iterator[Sink]:
    with building() as made:
        assert service.machine.network is not None
        sink = made.sink = Sink(made, host=service.machine.network.gateway)
        sink.start()
        sink.wait()
        yield sink


def test_the_service_is_ready_when_its_node_is_in_its_mesh(service: Service) -> None:
    assert service.show("ActiveState") == "active"
    assert service.show("StatusText").startswith("box is in mesh ")
    assert service.show("User") == "edge-agent"
    status = service.status()
    assert status is not None
    assert status["node"]["name"] == "box"
    assert not service.machine.run("ls -A /run/edge-agent | grep -v agent.sock").stdout


def test_the_exposure_of_base_and_drop_ins_is_small(service: Service) -> None:
    values = {"base": service.value(), **{d: service.value(d) for d in ("camera", "docker", "gpu")}}
    values["all"] = service.value("camera", "docker", "gpu")
    print("systemd-analyze security:", values)
    assert values["base"] <= 2.0
    assert max(values.values()) <= 2.0


def test_the_sandbox_is_in_force(service: Service) -> None:
    pid = service.show("MainPID")
    facts = service.machine.get(f"/proc/{pid}/status").decode()
    lines = dict(line.split(":\t", 1) for line in facts.splitlines() if ":\t" in line)
    assert int(lines["CapBnd"], 16) == int(lines["CapEff"], 16) == 0
    assert lines["NoNewPrivs"] == "1"
    assert lines["Seccomp"] == "2"
    inside = f"nsenter --target {pid} --mount setpriv --reuid edge-agent --regid edge-agent --init-groups"
    for path in ("/etc/no", "/usr/no", "/opt/edge-agent/no", "/sys/no"):
        assert "Read-only" in service.machine.run(f"{inside} touch {path}").stderr, path
    assert service.machine.run(f"{inside} ls /root").code != 0
    assert not service.machine.run(f"{inside} sh -c 'ls /dev | grep -E \"^(mem|kmsg|sd|vd)\"'").stdout


def test_a_line_becomes_an_alert_under_the_sandbox(service: Service, sink: Sink, state: Path) -> None:
    machine = service.machine
    machine.run(["edge-agent", "sink", "connect", sink.url], sink.key.encode(), timeout=90).text()
    service.cli("camera", "add", "porch", f"file:{state}/photos")
    service.apply(story(FILTERS).replace("tail: auto", "tail: journald"))
    service.until("the camera's label", lambda: service.cli("nodes")[0]["labels"].get("camera"))
    service.read("wifi")
    service.joins(1)
    service.until("an alert", sink.building.alerts)
    kinds = {json.loads(line)["type"] for line in machine.run("edge-agent events --json").text().splitlines()}
    assert kinds >= {"wifi.client.joined", "device.arrived", "camera.photo", "image.rescaled", "image.labels"}


def test_a_program_that_runs_once_outlives_the_agent(service: Service) -> None:
    service.apply(ONCE)
    service.read("lines")
    service.joins(2)
    service.until("the program runs", service.sleeper)
    sleeper, agent = service.sleeper(), service.show("MainPID")
    service.machine.run(["kill", "-KILL", agent]).text()
    service.until("another agent is ready", lambda: service.show("MainPID") not in ("0", agent) and service.status())
    assert service.show("NRestarts") == "1"
    assert service.sleeper() == sleeper
    service.until("it is adopted", lambda: "taken up again" in service.machine.run("edge-agent logs long/work").stdout)


def test_a_stop_ends_every_program(service: Service) -> None:
    assert service.sleeper()
    service.systemctl("stop")
    assert service.show("Result") == "success"
    assert service.processes() == []
    service.systemctl("start")
    service.machine.run("edge-agent pipeline remove long --yes", timeout=90).text()


def test_a_stopped_process_is_restarted_by_the_watchdog(service: Service) -> None:
    service.drop_in("quick", "[Service]\nWatchdogSec=2s\nRestartSec=0\n")
    service.systemctl("restart")
    try:
        agent = service.show("MainPID")
        service.machine.run(["kill", "-STOP", agent]).text()
        service.until(
            "another agent is ready", lambda: service.show("MainPID") not in ("0", agent) and service.status()
        )
        assert "Watchdog timeout" in service.machine.run("journalctl --no-pager -o cat -u edge-agent").text()
    finally:
        service.drop_in("quick", "")
    service.systemctl("restart")


def test_the_unit_never_gives_up(service: Service) -> None:
    service.drop_in("quick", "[Service]\nRestartSec=0\nExecStartPre=/bin/false\n")
    try:
        service.machine.run("systemctl restart edge-agent", timeout=90)
        # systemd's own limit is five starts in ten seconds.
        service.until("many restarts", lambda: int(service.show("NRestarts")) > 12)
        assert service.show("Result") != "start-limit-hit"
    finally:
        service.drop_in("quick", "")
    service.systemctl("restart")


def test_reload_applies_a_file_and_a_fault_keeps_the_old_values(service: Service, state: Path) -> None:
    agent = service.show("MainPID")
    service.configure(config(state / "state", "log: {level: debug}\njournal: {max_open: 77}\n"))
    service.systemctl("reload")
    service.until("the level is in force", lambda: service.setting("log.level") == "debug")
    assert service.setting("journal.max_open") == 10000
    assert "restart to apply journal.max_open" in service.journal("-p", "warning")
    service.configure(config(state / "state", "log: {level: loud}\n"))
    service.systemctl("reload")
    service.until("the fault is a warning", lambda: "config.invalid" in service.show("StatusText"))
    warnings = {w["code"]: w["text"] for w in (service.status() or {})["warnings"]}
    assert "log.level" in warnings["config.invalid"]
    assert service.setting("log.level") == "debug"
    service.configure(config(state / "state"))
    service.systemctl("reload")
    service.until("no warning is left", lambda: "config." not in service.show("StatusText"))
    assert service.show("MainPID") == agent


def test_log_lines_have_a_priority_and_one_time(service: Service) -> None:
    lines = service.journal("-o", "json").splitlines()
    entries = [json.loads(line) for line in lines]
    said = [e for e in entries if "is in mesh" in str(e.get("MESSAGE")) and e.get("SYSLOG_IDENTIFIER") == "edge-agent"]
    assert said
    assert {e["PRIORITY"] for e in said} == {"6"}
    assert all(e["MESSAGE"].startswith("INFO ") for e in said)


def test_the_group_may_read_and_strangers_may_not(service: Service) -> None:
    machine = service.machine
    machine.run("useradd friend && usermod -aG edge-agent friend && useradd stranger").text()
    assert machine.run("stat -c '%a %G' /run/edge-agent/agent.sock").text() == "660 edge-agent\n"
    assert machine.run("runuser -u friend -- edge-agent status").code == 0
    assert machine.run("runuser -u friend -- edge-agent token create").code != 0
    assert machine.run("runuser -u stranger -- edge-agent status").code != 0
    machine.run("usermod -aG edge-operator friend").text()
    assert machine.run("runuser -u friend -- edge-agent token create").code == 0


def test_a_power_cycle_changes_nothing(service: Service) -> None:
    before = service.status()
    assert before is not None
    service.machine.restart()
    service.until("the agent is back", service.status)
    after = service.status()
    assert after is not None
    assert (after["node"]["id"], after["mesh"]["id"]) == (before["node"]["id"], before["mesh"]["id"])
    assert [p["name"] for p in after["pipelines"]] == [p["name"] for p in before["pipelines"]]
    assert after["cameras"] == before["cameras"]


def test_a_node_that_waits_for_a_person_is_ready_and_says_so(service: Service, state: Path) -> None:
    service.configure(config(state / "state").replace("mdns: false", "mdns: true"))
    service.systemctl("restart")
    with SystemdMachine("guest", network=service.machine.network, mounts=mounts()) as machine:
        guest = Service(machine)
        guest.start("name: guest\n")
        said = guest.show("StatusText")
        assert said.startswith("waits to be let into mesh ")
        service.machine.run(["edge-agent", "node", "approve", said.split()[-1]]).text()
        guest.until("it is in the mesh", lambda: "guest is in mesh" in guest.show("StatusText"))
        service.until("both say so", lambda: "2 of 2 nodes" in service.show("StatusText"))


def test_an_agent_goes_on_with_a_full_or_read_only_disk(service: Service) -> None:
    service.systemctl("stop")
    service.machine.run("mount -t tmpfs -o size=40m,mode=700 small /var/lib/edge-agent").text()
    service.drop_in("quick", "[Service]\nRestartSec=0\n")
    service.configure("mesh: {mdns: false}\n")
    service.systemctl("start")
    node = service.node()
    small = "/var/lib/edge-agent"
    for stop, allow, cause in (
        (f"dd if=/dev/zero of={small}/ballast bs=64k", f"rm {small}/ballast", "full"),
        (f"systemctl stop edge-agent && mount -o remount,ro {small}", f"mount -o remount,rw {small}", "read-only"),
    ):
        service.machine.run(stop)
        if cause == "full":
            service.until("it is told", lambda: "disk.full" in service.show("StatusText"))
            # An agent goes on with what its files have room for; the next start needs room for new files.
            service.machine.run("systemctl kill -s KILL edge-agent").text()
        else:
            service.systemctl("start")
        service.until(f"a run in memory, {cause}", lambda: "state.memory" in service.show("StatusText"))
        warnings = {w["code"]: w["text"] for w in (service.status() or {})["warnings"]}
        assert cause in warnings["state.memory"]
        assert service.node() == node
        service.machine.run(allow).text()
        service.until(
            "a run on the disk", lambda: "state.memory" not in service.show("StatusText") and service.status()
        )
        assert service.node() == node
