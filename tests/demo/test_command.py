"""The demo's errors, and its parts that need no agents."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from agent.errors import ConfigError, NotFound
from agent.executors import WasmExecutor
from agent.model.task import WasmTask
from agent.shared import builtin_program
from demo import phone
from demo.children import Children
from demo.environment import HOST, Running, announced, demo_folder, find_running, free_ports, start_time
from demo.story import Arrival, faults
from demo.waiting import DemoError
from tests.demo.running import ROOT, Demo
from tests.support import load_pipeline

MakeDemo = Callable[..., Demo]


async def test_a_summary_needs_an_unattended_run(make_demo: MakeDemo) -> None:
    demo = make_demo()
    assert await demo.run("--json") == 2
    assert "--json needs --once" in demo.err.read_text()


async def test_folder_that_is_not_empty_is_refused(make_demo: MakeDemo) -> None:
    demo = make_demo()
    demo.folder.mkdir()
    (demo.folder / "precious").write_text("mine")
    assert await demo.run("--once") == 2
    assert "is not empty" in demo.err.read_text()
    assert (demo.folder / "precious").read_text() == "mine"


def test_a_path_too_long_for_a_unix_socket_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="too long"):
        demo_folder(tmp_path / ("x" * 100))


def test_a_running_demo_is_found_and_a_dead_one_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with pytest.raises(NotFound):
        find_running()
    with announced(Running(os.getpid(), start_time(os.getpid()), "/here")):
        assert find_running().folder == "/here"
    stale = tmp_path / "edge-agent-demo" / "1.json"
    stale.write_bytes(msgspec.json.encode(Running(os.getpid(), 1, "/gone")))
    with pytest.raises(NotFound):
        find_running()
    assert not stale.exists()


def test_a_runtime_folder_that_others_can_write_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "edge-agent-demo").mkdir(mode=0o777)
    (tmp_path / "edge-agent-demo").chmod(0o777)
    with pytest.raises(ConfigError, match="private"):
        find_running()


def test_ports_are_free_and_differ() -> None:
    ports = free_ports(8)
    assert len(set(ports)) == 8
    for port in ports:
        socket.create_server((HOST, port)).close()


def test_a_child_that_dies_is_named_with_its_last_lines(tmp_path: Path) -> None:
    children = Children()
    child = children.start("porch", ["/bin/sh", "-c", "echo the port is taken >&2; exit 3"], tmp_path / "log")
    child.process.wait(10)
    with pytest.raises(DemoError, match=r"porch ended with exit code 3.*\n.*the port is taken"):
        children.check()
    children.stop()


def test_a_child_that_ignores_the_request_to_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("demo.children.GRACE", 0.2)
    children = Children()
    script = "trap '' TERM; echo ready; while :; do sleep 1; done"
    child = children.start("stubborn", ["/bin/sh", "-c", script], tmp_path / "log")
    while "ready" not in (tmp_path / "log").read_text():
        assert child.process.poll() is None
    children.stop()
    assert child.process.returncode == -9


async def test_the_filter_finds_exactly_the_join_of_a_phone(tmp_path: Path) -> None:
    mac = phone.new_mac()
    assert int(mac[:2], 16) & 3 == 2, "locally administered, unicast"
    executor = WasmExecutor(tmp_path / "cache", tmp_path / "scratch")
    try:
        module = ROOT / "build/filters/wifi-join.wasm"
        filter_ = executor.filter(module, WasmTask(module="m"))
        text = phone.boot() + phone.joins(mac, "ada") + phone.leaves(phone.NEIGHBOUR)
        found = await filter_.feed(text.encode(), lambda line: None)
    finally:
        await executor.close()
    kinds = [(f.type, f.data["mac"]) for f in found if f.type != "wifi.access_point.restarted"]
    assert kinds == [("wifi.client.joined", mac), ("wifi.client.left", phone.NEIGHBOUR)]


def test_the_example_is_a_pipeline_whose_modules_are_built() -> None:
    file = ROOT / "examples/person-at-the-door.yaml"
    made = load_pipeline(file.read_text())
    assert [s.name for s in made.steps] == ["wifi", "arrived", "photos", "small", "labels", "alert"]
    for step in made.steps:
        module = step.task.get("wasm", step.task).get("module") if step.kind in ("tail", "wasm") else None
        assert module is None or builtin_program(module) is not None


def test_arrival_without_alert_or_with_losses_is_a_failure() -> None:
    assert faults(Arrival("m")) == ["no alert reached the sink"]
    ends = {"labels": {"accepted": 3, "delivered": 1, "failed": 1}}
    found = faults(Arrival("m", alerts=["a"], traces=[{"id": "a", "hops": [{"step": "line"}]}], ends=ends))
    assert any("lacks wifi" in f for f in found)
    assert "1 failed at labels" in found
    assert any("do not add up" in f for f in found)
