"""Logs of steps over the mesh: operators read every node's, live and afterwards; members read their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.api.requests import LogsQuery
from agent.delivery import Journal
from agent.logs import store as store_module
from agent.logs.files import files_of
from agent.model.documents import PIPELINE
from agent.model.event import now
from agent.node import run
from tests.node.site import Site
from tests.node.step_logs import both, rows, write
from tests.support import eventually


async def test_an_operator_reads_the_logs_of_all_nodes_by_time(site: Site) -> None:
    hall, porch = await both(site)
    for n, node in enumerate((hall, porch, hall, porch)):
        write(node, f"line {n}", "wifi" if n % 2 else "other")
        before = now()
        await eventually(lambda before=before: now() > before)
    found = await rows(hall, LogsQuery(lines=3))
    assert [(r.node, r.step, r.line) for r in found] == [
        ("porch", "wifi", "line 1"), ("hall", "other", "line 2"), ("porch", "wifi", "line 3"),
    ]  # fmt: skip
    assert (found[0].event, found[0].stream, bool(found[0].execution)) == ("e1", "stderr", True)
    assert [r.line for r in await rows(hall, LogsQuery("other"))] == ["line 0", "line 2"]
    assert [r.line for r in await rows(hall, LogsQuery(node="porch"))] == ["line 1", "line 3"]


async def test_a_restarted_node_goes_on_with_its_log(site: Site) -> None:
    hall, porch = await both(site)
    write(porch, "before")
    await site.stop("porch")
    porch = await site.start("porch")
    write(porch, "after")
    await eventually(lambda: len(hall.mesh.live()) == 2, 20)
    assert [r.line for r in await rows(hall, LogsQuery(node="porch"))] == ["before", "after"]


async def test_a_member_reads_its_own_log_and_is_told_about_the_others(site: Site) -> None:
    hall, porch = await both(site)
    write(hall, "secret of hall")
    write(porch, "own line")
    found = await rows(porch, LogsQuery())
    assert [r.line for r in found if r.stream != "agent"] == ["own line"]
    (told,) = [r for r in found if r.stream == "agent"]
    assert (told.node, "porch is not an operator" in told.line) == ("hall", True)


async def test_since_reaches_every_node(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    hall, porch = await both(site)
    monkeypatch.setattr(store_module, "now", lambda: "2020-01-01T00:00:00.000Z")
    for node in (hall, porch):
        write(node, "old")
    monkeypatch.undo()
    for node in (hall, porch):
        write(node, "new")
    assert [r.line for r in await rows(hall, LogsQuery(since=3600.0))] == ["new", "new"]
    assert len(await rows(hall, LogsQuery())) == 4


async def test_the_logs_are_on_the_disk_while_the_node_runs(site: Site) -> None:
    hall, _ = await both(site)
    write(hall, "kept")
    folder = hall.delivery.logs.folder / "p" / "wifi"
    await eventually(lambda: files_of(folder) and b"kept" in files_of(folder)[0].read_bytes())
    status = await hall.api.status.show()
    assert status.logs is not None
    assert status.logs.bytes > 0


async def test_lines_that_are_gone_in_the_middle_are_told(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    hall, porch = await both(site)
    monkeypatch.setattr(store_module, "RECENT", 2)
    write(porch, "first")
    await porch.delivery.logs.write()
    monkeypatch.setattr(store_module, "PENDING", 0)
    for n in range(5):
        write(porch, f"line {n}")
    assert [(r.line, r.missed) for r in await rows(hall, LogsQuery())] == [("first", 0), ("line 3", 3), ("line 4", 0)]


async def test_a_node_that_is_known_but_dead_is_told(site: Site) -> None:
    hall, _ = await both(site)
    write(hall, "a line")
    await site.stop("porch")
    await eventually(lambda: len(hall.mesh.live()) == 1, 20)
    found = await rows(hall, LogsQuery(lines=1))
    assert [(r.node, r.stream) for r in found] == [("hall", "stderr"), ("porch", "agent")]
    assert "porch is not alive" in found[1].line


async def test_the_log_of_a_removed_pipeline_goes(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "FORGET_EVERY", 0.01)
    hall, _ = await both(site)
    in_use, passes = {("p", "v")}, list[None]()
    monkeypatch.setattr(Journal, "versions_in_use", lambda self: passes.append(None) or in_use)
    await hall.mesh.documents.put(PIPELINE, "newer", b"a pipeline of a newer version")
    for pipeline in ("p", "newer", "gone"):
        hall.delivery.logs.of(pipeline, "v", "wifi").line("x")
    folder = hall.delivery.logs.folder
    await hall.delivery.logs.write()
    await eventually(lambda: kept(folder) == ["newer", "p"])
    hall.delivery.engine.definitions.apply("p", None)
    passes.clear()
    await eventually(lambda: len(passes) > 2)
    assert kept(folder) == ["newer", "p"]
    in_use.clear()
    await eventually(lambda: kept(folder) == ["newer"])
    assert hall.delivery.logs.last("p", "wifi") == 0


def kept(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_lost_lines_are_in_the_status(site: Site) -> None:
    hall, _ = await both(site)
    hall.delivery.logs.lost = 3
    status = await hall.api.status.show()
    assert status.logs is not None
    assert status.logs.lost == 3
