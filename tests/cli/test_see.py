"""The commands that show: status, nodes, events, trace, egress."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import msgspec
import pytest

from agent.api import results as r
from agent.api.results import TraceHop
from agent.cli.status_view import adds_up
from agent.cli.trace import draw, from_reading, longest_hop
from agent.model.health import Warning
from tests.api.memory import EVENT, MAC, TRACE, MemoryAgent, serving, step
from tests.cli.conftest import Shell


async def test_status_shows_everything_at_a_glance(edge: Shell) -> None:
    shown = (await edge("status")).out
    for text in (
        "gpu  operator", "m2c4kq7w", "3 of 4 nodes alive", "1 waiting for approval", "garage", "gone 5m 12s",
        "porch/door", "no picture for 10 s", "person-at-the-door 8f3a91c2", "3 delivered 9 skipped",
        "the container died", "43 accepted = 42 ended + 1 open", "1.4 MiB of 4.7 GiB", "wasmtime 50.0.1",
        "image.labels", "https://192.0.2.7:8443", "60.0 KiB up in all", "edge-agent camera test gate",
    ):  # fmt: skip
        assert text in shown, text
    assert "does not add up" not in shown


async def test_status_shows_what_a_log_gave_and_lost_by_sender(edge: Shell) -> None:
    shown = " ".join((await edge("status", COLUMNS="200")).out.split())
    assert "udp://:5514 · 1234 lines · 3 events · last line" in shown
    assert "12 dropped (rate) · 5.0 MiB rotated away unread" in shown
    assert "192.0.2.7 1200 lines · 3 events" in shown
    assert "192.0.2.66 not allowed · 0 lines · 0 events" in shown
    assert "40 dropped (not allowed)" in shown


async def test_status_shows_the_device_and_a_journal_in_memory(edge: Shell, agent: MemoryAgent) -> None:
    shown = " ".join((await edge("status", COLUMNS="200")).out.split())
    assert "LENOVO ThinkPad X220 · Debian GNU/Linux 12 (bookworm) · x86_64, 4 cores · 8.0 GiB of memory" in shown
    assert "not durable" not in shown
    agent.state.journal.durable = False
    assert "not durable: in memory, a power cut loses its open events" in " ".join((await edge("status")).out.split())


@pytest.mark.parametrize("columns", ["80", "120"])
async def test_status_fits_the_terminal(edge: Shell, columns: str) -> None:
    shown = (await edge("status", COLUMNS=columns)).out
    assert max(len(line.rstrip()) for line in shown.splitlines()) <= int(columns)


async def test_status_names_a_step_that_is_not_started(edge: Shell, agent: MemoryAgent) -> None:
    s = agent.state.pipelines[0].steps[4]
    s.state, s.error, s.hint, s.queued = "not-started", "no such image: edge/detector:1", "load it on this node", 2
    shown = (await edge("status")).out
    assert "labels is not started: no such image: edge/detector:1 (2 events waiting)" in shown
    assert "load it on this node" in shown


async def test_status_says_that_a_journal_in_ram_is_not_durable(edge: Shell, agent: MemoryAgent) -> None:
    assert "not durable" not in (await edge("status")).out
    agent.state.journal.durable = False
    assert "not durable" in (await edge("status")).out


async def test_status_says_when_the_counts_do_not_add_up(edge: Shell, agent: MemoryAgent) -> None:
    agent.state.pipelines[0].steps[0].accepted += 1
    assert (await edge("status")).out.count("does not add up") == 1


async def test_status_as_json_is_what_the_agent_said(edge: Shell, agent: MemoryAgent) -> None:
    assert (await edge("status", "--json")).json == msgspec.to_builtins(agent.state)


async def test_json_of_the_status_has_its_promised_keys(edge: Shell) -> None:
    shown = (await edge("status", "--json")).json
    assert sorted(shown) == [
        "blobs", "cameras", "certificate", "device", "engines", "journal", "last_event", "logs", "mesh", "node", "nodes", "pipelines",
        "sources", "time", "uplink", "uptime_s", "version", "warnings",
    ]  # fmt: skip
    (pipeline,) = shown["pipelines"]
    assert pipeline["steps"][4] == {
        "step": "labels", "kind": "docker", "where": "docker=true", "after": [], "here": True, "nodes": ["gpu"], "accepted": 6,
        "open": 1, "ends": {"delivered": 4, "skipped": 0, "deduplicated": 0, "suppressed": 0, "failed": 1, "expired": 0, "lost": 0},
        "running": 1, "run_ms": 41.0, "error": "the container died", "state": "failing", "hint": "see its log",
    }  # fmt: skip
    assert [node["self"] for node in shown["nodes"]] == [True, False, False, False]
    assert list(shown["journal"]["ends"]) == [
        "delivered", "skipped", "deduplicated", "suppressed", "failed", "expired", "lost",
    ]  # fmt: skip
    assert shown["cameras"][1] == {
        "node": "gpu", "name": "gate", "kind": "v4l2", "ok": False, "text": "no picture for 10 s"
    }  # fmt: skip


async def test_json_of_a_trace_and_an_event_has_its_promised_keys(edge: Shell) -> None:
    trace = (await edge("trace", "alert", "--json")).json
    assert trace["hops"][1] == {"step": "wifi", "node": "ap", "at_ms": 1.2, "run_ms": 0.4, "event": "e1"}
    assert trace["photos"] == [{"name": "door.jpg", "cid": "bafkreiabc", "size": 58_112}]
    assert json.loads((await edge("events", "--json")).out) == {
        "specversion": "1.0", "id": "ev1", "source": "/ap/person-at-the-door/wifi", "type": "wifi.client.joined",
        "time": "2026-11-22T09:59:57.000Z", "data": {"mac": MAC, "interface": "wlan0"}, "node": "ap",
        "pipeline": "person-at-the-door", "step": "wifi",
    }  # fmt: skip


async def test_each_camera_with_a_fault_has_its_line(edge: Shell, agent: MemoryAgent) -> None:
    fault = "camera {}: nothing listens at 10.0.0.9, port 554, as it should"
    agent.state.cameras = [
        r.CameraState(
            "porch", name, "rtsp", not name[0].isupper(), fault.format(name) if name[0].isupper() else "", True
        )
        for name in ("a", "B", "c", "D")
    ]
    shown = (await edge("status", COLUMNS="80")).out
    assert "cameras  ● porch/a rtsp   ● porch/c rtsp\n" in re.sub(" +\n", "\n", shown)
    assert "○ porch/B rtsp nothing listens at 10.0.0.9, port 554, as it should" in shown
    agent.cameras = {"B": r.Camera("gpu", "B", "rtsp", "rtsp://h/x", True, False, fault.format("B"), False)}
    assert "camera B:" not in (await edge("camera", "list")).out


async def test_a_warning_of_several_nodes_is_shown_once(edge: Shell, agent: MemoryAgent) -> None:
    own = Warning("operator.one", "mesh", "only one operator", "add one", "info")
    clock = Warning("clock.unsynchronised", "x", "no clock", "start one", "info")
    others = [msgspec.structs.replace(own, node=n) for n in ("porch", "ap")]
    agent.state.warnings = [own, *others, *(msgspec.structs.replace(clock, node=f"n{i}") for i in range(1, 9))]
    shown = [x for x in (await edge("status")).out.splitlines() if x.startswith("i ")]
    assert shown == [
        "i only one operator (also ap, porch) operator.one",
        "i n1, n2, n3, n4, n5 and 3 more: no clock clock.unsynchronised",
    ]
    assert len((await edge("status", "--json")).json["warnings"]) == 11


async def test_a_camera_that_never_worked_is_not_green(edge: Shell, agent: MemoryAgent) -> None:
    agent.state.cameras = [r.CameraState("porch", "door", "rtsp", True, "", False)]
    agent.cameras = {"door": r.Camera("gpu", "door", "rtsp", "rtsp://h/x", True, True, "", False)}
    for command in (["status"], ["camera", "list"]):
        line = next(x for x in (await edge(*command)).out.splitlines() if "door" in x and "rtsp" in x)
        assert "○" in line
        assert "not used yet" in line


async def test_a_status_without_pipelines_and_sink(edge: Shell, agent: MemoryAgent) -> None:
    s = agent.state
    s.nodes, s.cameras, s.sources, s.pipelines, s.warnings, s.last_event = s.nodes[:1], [], [], [], [], None
    s.uplink = msgspec.structs.replace(s.uplink, configured=False, connected=False, sink="", node="", last="")
    shown = await edge("status")
    assert shown.code == 0
    assert "no pipeline is applied" in shown.out
    assert "no sink is connected" in shown.out


async def test_status_names_the_node_that_has_the_sink(edge: Shell, agent: MemoryAgent) -> None:
    agent.state.uplink = msgspec.structs.replace(agent.state.uplink, connected=False, sink="", node="porch")
    assert "through porch" in (await edge("status")).out


async def test_status_tells_of_batches_that_no_filter_got_through(edge: Shell, agent: MemoryAgent) -> None:
    agent.state.pipelines[0].steps[0].failed_batches = 2
    assert "2 batches failed" in (await edge("status")).out


async def test_watching_prints_one_document_a_line(edge: Shell, agent: MemoryAgent) -> None:
    process = await edge.start("status", "--watch", "--json", "--every", "0.5")
    assert process.stdout is not None
    first = json.loads(await asyncio.wait_for(process.stdout.readline(), 20))
    agent.state.uptime_s = 1.0
    second = json.loads(await asyncio.wait_for(process.stdout.readline(), 20))
    process.terminate()
    await process.communicate()
    assert first["uptime_s"] != second["uptime_s"] == 1.0


@pytest.mark.parametrize("columns", ["60", "80", "200"])
async def test_nodes_are_readable_on_a_narrow_terminal(edge: Shell, columns: str) -> None:
    shown = await edge("nodes", COLUMNS=columns)
    rows = (await edge("nodes", "--json")).json
    for word in (word for n in rows for word in (n["name"], n["id"], n["version"], *n["endpoints"], *n["cameras"])):
        assert word in shown.out.split() or f"{word}," in shown.out.split(), word
    assert max(map(len, shown.out.splitlines())) <= int(columns)
    status = (await edge("status", COLUMNS=columns)).out.split()
    assert all(n["name"] in status for n in rows)


async def test_nodes_can_be_selected_by_label(edge: Shell) -> None:
    everyone = await edge("nodes")
    assert all(name in everyone.out for name in ("ap", "porch", "garage", "gpu", "4 nodes, 3 alive"))
    assert [n["name"] for n in (await edge("nodes", "-l", "camera=true", "--json")).json] == ["porch", "garage"]


async def test_trace_is_a_waterfall_that_names_the_longest_hop(edge: Shell) -> None:
    shown = (await edge("trace", "alert")).out
    lines = shown.splitlines()
    steps = [m[0] for line in lines if (m := re.match(r"\w+ +(ap|gpu|porch) ", line))]
    assert [s.split()[0] for s in steps] == [h.step for h in TRACE.hops]
    assert next(line for line in lines if "← longest" in line).startswith("labels")
    assert "131.5 ms" in shown
    assert "60.0 KiB left the building" in shown
    assert (await edge("trace", "alert", "--json")).json == msgspec.to_builtins(TRACE)


async def test_trace_of_something_unknown_is_not_found(edge: Shell) -> None:
    found = await edge("trace", "nothing")
    assert (found.code, found.out) == (6, "")
    assert "error:" in found.err
    assert "hint:" in found.err
    assert "[not-found]" in found.err


async def test_events_are_lines_and_json_is_the_cloudevent(edge: Shell) -> None:
    assert "wifi.client.joined" in (await edge("events")).out
    assert json.loads((await edge("events", "--json")).out) == msgspec.to_builtins(EVENT)
    assert (await edge("events", "-t", "image.labels")).out == ""


async def test_events_follow_what_passes(edge: Shell, agent: MemoryAgent) -> None:
    process = await edge.start("events", "-f", "--json")
    assert process.stdout is not None
    await asyncio.wait_for(process.stdout.readline(), 20)
    agent.events_queue.put_nowait(msgspec.structs.replace(EVENT, id="passing"))
    line = await asyncio.wait_for(process.stdout.readline(), 20)
    process.terminate()
    await process.communicate()
    assert json.loads(line)["id"] == "passing"


@pytest.mark.parametrize("command", [["events", "-f", "--json"], ["status", "--watch", "--json"]])
async def test_following_commands_say_when_the_agent_stops(tmp_path: Path, command: list[str]) -> None:
    async with serving(tmp_path) as agent:
        process = await Shell(agent.config.run, tmp_path).start(*command)
        assert process.stdout is not None
        await asyncio.wait_for(process.stdout.readline(), 20)
    _, err = await asyncio.wait_for(process.communicate(), 20)
    assert (process.returncode, b"the agent stopped" in err) == (4, True)


async def test_egress_adds_up_what_left(edge: Shell) -> None:
    shown = await edge("egress", "--since", "7d")
    assert "60.0 KiB up" in shown.out
    assert "alert-abc" in shown.out
    assert (await edge("egress", "--json")).json["total"]["up"] == 61440


def test_accepted_is_the_sum_of_ends_and_open() -> None:
    assert adds_up(step("a", "wasm", "", [], accepted=3, open=1, delivered=1, lost=1))
    assert not adds_up(step("a", "wasm", "", [], accepted=3, open=1, delivered=1))


def test_a_trace_counts_from_the_reading_of_the_line() -> None:
    hops = [TraceHop("line", "ap", 60_000.0), TraceHop("wifi", "ap", 60_003.0)]
    assert from_reading(hops) == (60_000.0, [TraceHop("line", "ap", 0.0), TraceHop("wifi", "ap", 3.0)])
    assert from_reading([TraceHop("photos", "ap", 5.0)]) == (0.0, [TraceHop("photos", "ap", 5.0)])
    assert from_reading([]) == (0.0, [])


def test_a_bar_is_shaded_while_waiting_and_solid_while_running() -> None:
    assert draw(0, 50, 25, 100, 20) == "[dim]░░░░░[/][green]█████[/]"
    assert draw(0, 0, 0, 0, 20) == ""
    assert longest_hop([]) is None


async def test_detector_list_says_who_has_the_image(edge: Shell) -> None:
    shown = " ".join((await edge("detector", "list", COLUMNS="200")).out.split())
    assert "edge/detector:1 555555555555 person-at-the-door/labels gpu coming image" in shown
    assert "is on its way from ap, 120 of 422 MB" in shown
    assert [n["state"] for n in (await edge("detector", "list", "--json")).json[0]["nodes"]] == ["coming", "here"]
