"""The verbs that change things, as typed."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.model.install_line import install_lines
from tests.api import memory
from tests.api.memory import MAC, MemoryAgent
from tests.cli.conftest import Shell
from tests.filters.conftest import filters

__all__ = ["filters"]

NAME = "person-at-the-door"


@pytest.mark.parametrize(
    ("line", "call"),
    [
        (["node", "approve", "K7Q2", "-l", "camera=true"], ("approve", "K7Q2", {"camera": "true"})),
        (["node", "approve", "K7Q2"], ("approve", "K7Q2", None)),
        (["node", "rename", "ap", "attic"], ("rename", "ap", "attic")),
        (["node", "label", "ap", "room=hall", "battery-"], ("label", "ap", {"room": "hall"}, ["battery"])),
        (["node", "remove", "ap", "--yes"], ("remove", "ap")),
        (["token", "create", "--ttl", "2h", "--uses", "3", "-l", "a=b"], ("token", 7200.0, 3, "member", {"a": "b"})),
        (["token", "revoke", "t1"], ("revoke", "t1")),
        (["pipeline", "pause", NAME, "--for", "2h"], ("pause", NAME, 7200.0)),
        (["pipeline", "resume", NAME], ("resume", NAME)),
        (["source", "allow", "192.0.2.0/24"], ("sender", "192.0.2.0/24", True)),
        (["source", "deny", "192.0.2.66"], ("sender", "192.0.2.66", False)),
        (["pipeline", "rollback", NAME], ("rollback", NAME, "")),
        (["pipeline", "remove", NAME, "-y"], ("remove-pipeline", NAME)),
        (
            ["pipeline", "trigger", NAME, "--step", "photos", "--type", "device.arrived", "--data", '{"a": 1}'],
            ("trigger", NAME, "photos", "device.arrived", {"a": 1}),
        ),
        (
            ["camera", "add", "gate", "/dev/video0", "--rotate", "180", "--crop", "0,0,1,0.5", "--warm", "--no-test"],
            ("camera", "gate", "/dev/video0", {"rotate": 180, "crop": (0.0, 0.0, 1.0, 0.5), "warm": True}),
        ),
    ],
)
async def test_a_command_reaches_the_agent_and_says_so(
    edge: Shell, agent: MemoryAgent, line: list[str], call: tuple[Any, ...]
) -> None:
    result = await edge(*line)
    assert (result.code, result.err) == (0, "")
    assert result.out.strip()
    assert agent.calls == [call]


@pytest.mark.parametrize(
    "line",
    [
        ["node", "list"], ["node", "pending"], ["node", "describe", "gpu"], ["token", "list"], ["pipeline", "list"],
        ["pipeline", "describe", NAME], ["pipeline", "history", NAME], ["device", "list"], ["camera", "list"],
        ["source", "list"], ["source", "certificate"],
        ["sink", "status"], ["blob", "list"], ["config", "show"], ["version"],
    ],
)  # fmt: skip
async def test_every_list_is_also_json(edge: Shell, line: list[str]) -> None:
    shown, machine = await asyncio.gather(edge(*line), edge(*line, "--json"))
    assert (shown.code, shown.err, machine.code) == (0, "", 0)
    assert shown.out.strip()
    assert machine.json


async def test_senders_are_listed_with_the_line_that_allows_them(edge: Shell) -> None:
    shown = (await edge("source", "list", COLUMNS="160")).out
    assert "192.0.2.66" in shown
    assert "<13>guest" in shown
    assert "3 not allowed" in shown
    assert "edge-agent source allow 192.0.2.66" in shown


async def test_token_of_an_operator_with_a_release_is_the_install_line(edge: Shell, agent: MemoryAgent) -> None:
    agent.install = install_lines("https://10.0.0.4:7948/install", "cGlu", "ab12", "edge1.c2VjcmV0")
    shown = (await edge("token", "create")).out.splitlines()
    curl = next(line for line in shown if "curl" in line and "EDGE_AGENT_TOKEN" in line)
    assert curl == f" {agent.install.curl}"
    assert f" {agent.install.wget}" in shown
    assert "edge-agent serve --join edge1.c2VjcmV0" in shown
    answer = (await edge("token", "create", "--json")).json
    assert answer["install"] == {"curl": agent.install.curl, "wget": agent.install.wget}


async def test_a_token_is_the_line_for_the_next_device(edge: Shell) -> None:
    assert (await edge("token", "create")).out.splitlines()[0] == "edge-agent serve --join edge1.c2VjcmV0"


async def test_removing_asks_first(edge: Shell, agent: MemoryAgent) -> None:
    refused = await edge("node", "remove", "ap", input="n\n")
    assert (refused.code, agent.calls) == (1, [])
    agreed = await edge("node", "remove", "ap", input="y\n")
    assert (agreed.code, agent.calls) == (0, [("remove", "ap")])
    assert "not yet confirmed by porch" in agreed.out
    assert "edge-sink key revoke" in agreed.out


async def test_applying_sends_the_modules_beside_the_file(edge: Shell, agent: MemoryAgent, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "f.wasm").write_bytes(b"\0asm")
    (tmp_path / "home" / "door.yaml").write_text("steps:\n  wifi:\n    wasm:\n      module: f.wasm\n")
    result = await edge("pipeline", "apply", "home/door.yaml")
    assert (result.code, result.err) == (0, "")
    assert "instead of 8f3a91c2 by gpu" in result.out
    assert agent.calls == [("apply", "home/door.yaml", {"f.wasm": b"\0asm"}, False)]


async def test_applying_sends_a_module_of_the_agent(
    edge: Shell, agent: MemoryAgent, tmp_path: Path, filters: Path
) -> None:
    (tmp_path / "door.yaml").write_text("steps:\n  wifi:\n    wasm:\n      module: edge/wifi-join\n")
    assert (await edge("pipeline", "apply", "door.yaml")).code == 0
    module = (filters / "wifi-join.wasm").read_bytes()
    assert agent.calls == [("apply", "door.yaml", {"edge/wifi-join": module}, False)]


async def test_applying_says_how_a_step_gets_a_node(
    edge: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "door.yaml").write_text("steps: {}\n")
    monkeypatch.setattr(memory, "STEPS", [msgspec.structs.replace(s, nodes=[]) for s in memory.STEPS])
    shown = await edge("pipeline", "apply", "door.yaml")
    assert "edge-agent node label NODE KEY=VALUE" in shown.out
    assert "edge-agent sink connect URL" in shown.out


async def test_a_missing_module_is_named(edge: Shell, agent: MemoryAgent, tmp_path: Path) -> None:
    (tmp_path / "door.yaml").write_text("steps:\n    module: nowhere.wasm\n")
    result = await edge("pipeline", "apply", "door.yaml")
    assert (result.code, agent.calls) == (2, [])
    assert "nowhere.wasm" in result.err
    assert "scripts/setup.py" in result.err


async def test_a_wrong_pipeline_is_shown_with_its_line(edge: Shell, tmp_path: Path) -> None:
    (tmp_path / "door.yaml").write_text("stesp:\n")
    result = await edge("pipeline", "apply", "door.yaml", "--json")
    assert (result.code, '"line": 1' in result.err) == (2, True)


async def test_diff_and_test_of_a_file(edge: Shell, tmp_path: Path) -> None:
    (tmp_path / "door.yaml").write_text("steps:\n")
    assert "+score: 0.5" in (await edge("pipeline", "diff", "door.yaml")).out
    assert {"from", "to"} <= set((await edge("pipeline", "diff", "door.yaml", "--json")).json)
    tried = await edge("pipeline", "test", "door.yaml", "labels", input='{"id": "e1"}')
    assert (tried.code, "e1 delivered" in tried.out, "a line of its log" in tried.out) == (0, True, True)
    for json in ((), ("--json",)):
        failed = await edge("pipeline", "test", "door.yaml", "labels", "-e", '[{"id": "e1"}, {"id": "bad"}]', *json)
        assert (failed.code, "failed" in failed.out) == (1, True)


async def test_devices_are_named_known_and_forgotten(edge: Shell, agent: MemoryAgent) -> None:
    assert (await edge("device", "name", MAC, "Ada's phone")).code == 0
    assert (await edge("device", "know", MAC)).code == 0
    assert (agent.devices[MAC].name, agent.devices[MAC].known) == ("Ada's phone", True)
    assert "Ada's phone" in (await edge("device", "list")).out
    assert (await edge("device", "know", MAC, "--not")).code == 0
    assert agent.devices[MAC].known is False
    merged = await edge("device", "merge", MAC, "02:00:00:00:00:09")
    assert "addresses 3c:22:fb:00:00:01, 02:00:00:00:00:09" in merged.out
    assert "no further address" in (await edge("device", "merge", MAC, "02:00:00:00:00:09", "--undo")).out
    assert (await edge("device", "forget", MAC, "-y")).code == 0
    assert agent.devices == {}
    assert (await edge("device", "forget", MAC, "-y")).code == 6


async def test_learning_is_shown_and_ended(edge: Shell, agent: MemoryAgent) -> None:
    assert "learns for another 23h 53m" in (await edge("device", "learn")).out
    assert "has learned" in (await edge("device", "learn", "--stop")).out
    assert agent.calls == [("stop-learning", "")]
    assert (await edge("device", "learn", "--json")).json[0]["stopped"] is True


async def test_a_password_on_the_command_line_is_refused(edge: Shell, agent: MemoryAgent, tmp_path: Path) -> None:
    source = "rtsp://admin:hunter2@10.0.0.4/stream"
    refused = await edge("camera", "add", "porch", source)
    assert (refused.code, agent.calls) == (2, [])
    assert "hunter2" not in refused.err
    odd = await edge("camera", "add", "porch", "rtsp://admin:hun/ter@2@10.0.0.4/stream")
    assert (odd.code, agent.calls) == (2, [])
    assert (await edge("camera", "add", "porch", "-", "--no-test", input=source + "\n")).code == 0
    (tmp_path / "source").write_text(source)
    assert (await edge("camera", "add", "porch", "@source", "--replace", "--no-test")).code == 0
    assert [c[2] for c in agent.calls] == [source, source]


async def test_a_cameras_file_is_that_of_the_shells_folder(edge: Shell, agent: MemoryAgent, tmp_path: Path) -> None:
    for source in ("file:porch.jpg", "file:~/porch.jpg", "file:/srv/porch.jpg"):
        assert (await edge("camera", "add", "porch", source, "--replace", "--no-test")).code == 0
    assert [c[2] for c in agent.calls] == [*[f"file:{tmp_path}/porch.jpg"] * 2, "file:/srv/porch.jpg"]


async def test_a_camera_test_writes_the_photo(edge: Shell, tmp_path: Path) -> None:
    result = await edge("camera", "test", "door", "-o", "door.jpg")
    assert "1920×1080" in result.out
    assert "person-at-the-door/small: 640×360" in result.out
    assert (tmp_path / "door.jpg").read_bytes() == b"\xff\xd8\xff\xd9"
    assert (await edge("camera", "test", "gate")).code == 1


async def test_an_added_camera_is_tested_at_once(edge: Shell, agent: MemoryAgent) -> None:
    good = await edge("camera", "add", "porch", "/dev/video0")
    assert (good.code, "1920×1080" in good.out, "was not rescaled" in good.out) == (0, True, True)
    shown = await edge("camera", "add", "porch", "/dev/video0", "--replace", "--json")
    assert (shown.json["name"], shown.json["test"]["width"]) == ("porch", 1920)
    bad = await edge("camera", "add", "gate", "/dev/video1")
    assert (bad.code, "gives no pictures" in bad.err) == (1, True)
    assert "gate" in agent.cameras
    calls = len(agent.calls)
    twice = await edge("camera", "add", "porch", "/dev/video0")
    assert (twice.code, "already" in twice.err, len(agent.calls)) == (2, True, calls)


async def test_masks_are_boxes_or_polygons_and_zones_have_names(edge: Shell, agent: MemoryAgent) -> None:
    words = [
        "--mask",
        "0,0,0.5,0.5",
        "--mask",
        "0,0,1,0,0,1",
        "--zone",
        "door=0.2,0.4,0.8,0.4,0.8,1",
        "--min-area",
        "0.01",
        "--max-area",
        "0.5",
        "--no-test",
    ]
    assert (await edge("camera", "add", "yard", "/dev/video0", *words)).code == 0
    *_, (_, _, _, options) = agent.calls
    assert options["masks"] == [(0, 0, 0.5, 0.5)]
    assert options["hidden"] == [[(0, 0), (1, 0), (0, 1)]]
    assert options["zones"] == {"door": [(0.2, 0.4), (0.8, 0.4), (0.8, 1)]}
    assert (options["min_area"], options["max_area"]) == (0.01, 0.5)


@pytest.mark.parametrize(
    "words", [["--mask", "0,0,1,0,1"], ["--mask", "0,0,2,1"], ["--zone", "0,0,1,0,0,1"], ["--zone", "a=0,0,1,1"]]
)
async def test_a_part_that_is_none_is_refused_with_its_form(edge: Shell, words: list[str]) -> None:
    refused = await edge("camera", "add", "yard", "/dev/video0", "--no-test", *words)
    assert refused.code == 2
    assert "hint:" in refused.err


async def test_a_sink_is_disconnected_and_says_what_stays(edge: Shell, agent: MemoryAgent) -> None:
    assert (await edge("sink", "disconnect", "--yes")).code == 6
    agent.sink_key = "k"
    gone = await edge("sink", "disconnect", input="y\n")
    assert gone.code == 0
    assert agent.sink_key == ""
    assert "2 alerts wait here" in gone.out
    assert "edge-agent node label gpu uplink-" in gone.out


async def test_the_sinks_key_comes_from_stdin_or_a_file(edge: Shell, agent: MemoryAgent, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("k-from-file\n")
    url = "https://192.0.2.7:8443#sha256=ab"
    first = await edge("sink", "connect", url, input="k-from-stdin\n")
    assert (first.code, agent.sink_key) == (0, "k-from-stdin")
    second = await edge("sink", "connect", url, "--key-file", "key", "--json")
    assert (second.code, agent.sink_key) == (0, "k-from-file")
    assert "k-from" not in first.out + first.err + second.out + second.err
    assert (await edge("sink", "connect", url)).code == 2


async def test_a_blob_makes_the_round_trip(edge: Shell, tmp_path: Path) -> None:
    data = os.urandom(2 << 20)
    (tmp_path / "in").write_bytes(data)
    cid = (await edge("add", "in")).out.strip()
    assert (await edge("get", cid, "-o", "out")).code == 0
    assert (tmp_path / "out").read_bytes() == data
    assert (await edge("blob", "add", "-", input=b"abc")).out.strip().startswith("bafkrei")


async def test_a_blob_that_nobody_has_leaves_no_file(edge: Shell, tmp_path: Path) -> None:
    before = set(tmp_path.iterdir())
    assert (await edge("get", "bafkreinobody", "-o", "out")).code == 6
    assert set(tmp_path.iterdir()) == before


async def test_an_example_is_printed_and_listed(alone: Shell) -> None:
    listed = (await alone("pipeline", "example", "--json")).json
    assert "person-at-the-door" in listed
    printed = await alone("pipeline", "example", "person-at-the-door")
    assert "name: person-at-the-door" in printed.out
    wrong = await alone("pipeline", "example", "nothing")
    assert (wrong.code, "person-at-the-door" in wrong.err) == (6, True)
