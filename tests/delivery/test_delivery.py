"""Delivery between nodes: acceptance, settlement, ends, retries, and what happens when a node goes away."""

from __future__ import annotations

import asyncio
import re
import threading
from pathlib import Path

import pytest

from agent.delivery.rows import State
from agent.errors import BlobError
from tests.delivery.events import event
from tests.delivery.story import Building
from tests.support import eventually


async def test_an_arrival_becomes_one_alert_of_the_right_camera(tmp_path: Path) -> None:
    b = Building(tmp_path)
    b.start()
    await b.join("02:00:00:00:00:01")
    await eventually(lambda: b.quiet() and sum(b.alerts.values()) > 0)
    assert list(b.alerts.values()) == [1]
    ends = b.ends()
    assert ends["alert"] == {"delivered": 2, "suppressed": 1, "skipped": 2}  # delivered: once on gpu, once on up
    assert b.last_alert is not None
    assert [h.step for h in b.last_alert.trace] == ["arrived", "photos", "small", "labels", "alert"]
    assert b.last_alert.trace[-1].node == "up"
    b.check_sums()
    await b.stop()


async def test_photos_without_a_match_are_deleted_on_every_holder(tmp_path: Path) -> None:
    b = Building(tmp_path)
    b.start()
    await b.join("02:00:00:00:00:01")
    await eventually(lambda: b.quiet() and sum(b.alerts.values()) > 0)
    await eventually(lambda: not b.nodes["garage"].blobs.data)
    for node in b.nodes.values():
        assert all(data.startswith(b"porch") for data in node.blobs.data.values())
    assert b.nodes["porch"].blobs.data
    await b.stop()


async def test_a_photo_is_deleted_only_after_its_end_is_on_disk(tmp_path: Path) -> None:
    b = Building(tmp_path)
    b.start("porch")
    porch, disk = b.nodes["porch"], threading.Event()
    await eventually(lambda: porch.p.router._tasks)
    cid, size = await porch.blobs.put(b"photo")
    photo = event("e", data={"blobs": [{"name": "photo", "cid": cid, "type": "image/jpeg", "size": size}]})
    work = (photo, b.pipeline.name, b.pipeline.version, "small")
    row = porch.p.context.rows.row(*work, target="porch", state=State.QUEUED)
    await porch.p.journal.write(porch.p.lifecycle.accepted([row]))
    porch.p.journal.storage.write(lambda _: disk.wait(10))
    porch.p.apply(porch.p.lifecycle.ended(row, "delivered"))
    assert row.closed
    for _ in range(100):
        await asyncio.sleep(0)
    assert cid in porch.blobs.data
    disk.set()
    await eventually(lambda: cid not in porch.blobs.data and not porch.blobs.pins)
    await b.stop()


async def test_photos_that_cannot_be_deleted_are_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    b = Building(tmp_path)
    b.start()
    garage = b.nodes["garage"]
    delete = garage.blobs.delete

    async def failing(cid: str) -> None:
        raise BlobError("Input/output error", code="blob.disk")

    garage.blobs.delete = failing  # type: ignore[method-assign]
    await b.join("02:00:00:00:00:01")
    await eventually(lambda: b.quiet() and garage.blobs.deleter._left == set(garage.blobs.data) != set())
    garage.p.expire_kept()
    await eventually(lambda: not garage.blobs.deleter._tasks)
    garage.blobs.delete = delete  # type: ignore[method-assign]
    garage.p.expire_kept()
    await eventually(lambda: not garage.blobs.data and not garage.blobs.deleter._left)
    assert [caplog.text.count(f"{cid} could not be deleted") for cid in set(re.findall(r"bafk\w+", caplog.text))] == [
        1,
        1,
    ]
    await b.stop()


async def test_a_known_device_raises_no_alert(tmp_path: Path) -> None:
    from agent.steps import DeviceInfo

    b = Building(tmp_path)
    b.start()
    for node in b.nodes.values():
        node.devices.devices["02:00:00:00:00:01"] = DeviceInfo("anna", True)
    await b.join("02:00:00:00:00:01")
    await eventually(lambda: b.quiet() and "photos" in b.ends())
    assert b.ends()["photos"] == {"skipped": 1}
    assert not b.alerts
    await b.stop()


async def test_a_step_that_fails_is_retried_on_another_node(tmp_path: Path) -> None:
    b = Building(tmp_path)
    b.start("ap", "porch", "gpu", "old", "up")
    b.fail["docker"] = 1
    await b.join("02:00:00:00:00:01")
    await eventually(lambda: b.quiet() and sum(b.alerts.values()) > 0)
    assert list(b.alerts.values()) == [1]
    assert any(r.step == "labels" and r.end == "delivered" for r in b.nodes["old"].p.journal.rows.values())
    b.check_sums()
    await b.stop()


async def test_a_step_that_always_fails_ends_failed_after_its_attempts(tmp_path: Path) -> None:
    b = Building(tmp_path)
    b.start("ap", "porch", "gpu", "old", "up")
    b.fail["docker"] = 100
    await b.join("02:00:00:00:00:01")
    await eventually(lambda: b.quiet() and b.runs["docker"] > 0)
    assert b.runs["docker"] == 6  # two photos, three runs each
    assert b.ends()["labels"]["failed"] >= 2
    assert not b.alerts
    b.check_sums()
    await b.stop()


async def test_a_lost_detectors_work_goes_to_the_next(tmp_path: Path) -> None:
    b = Building(tmp_path)
    b.start("ap", "porch", "gpu", "old", "up")
    for i in range(20):
        await b.join(f"02:00:00:00:00:{i:02x}")
    await eventually(lambda: b.runs["docker"] > 3)
    await b.nodes["gpu"].stop(disk=False)
    del b.nodes["gpu"]
    await eventually(lambda: len(b.alerts) == 20, timeout=30)
    assert set(b.alerts.values()) == {1}
    await b.stop()


async def test_a_restart_goes_on_where_the_journal_stands(tmp_path: Path) -> None:
    b = Building(tmp_path)
    b.start()
    b.net.cut.add(frozenset(("porch", "gpu")))
    await b.join("02:00:00:00:00:01")
    await eventually(lambda: b.runs["wasm"] >= 4)
    await b.nodes["porch"].stop()
    b.net.cut.clear()
    b.nodes["porch"].start()
    await eventually(lambda: len(b.alerts) == 1)
    await eventually(b.quiet)
    b.check_sums()
    await b.stop()


async def test_lost_answers_make_no_second_alert(tmp_path: Path) -> None:
    b = Building(tmp_path, seed=7, lose=0.2)
    b.start()
    for i in range(30):
        await b.join(f"02:00:00:00:00:{i:02x}")
    await eventually(lambda: len(b.alerts) == 30 and b.quiet(), timeout=30)
    assert set(b.alerts.values()) == {1}
    b.check_sums()
    await b.stop()


async def test_without_a_camera_the_arrival_is_skipped_with_the_reason(tmp_path: Path) -> None:
    b = Building(tmp_path)
    b.start("ap", "gpu", "up")
    await b.join("02:00:00:00:00:01")
    await eventually(lambda: b.quiet() and "photos" in b.ends())
    assert b.ends()["photos"] == {"skipped": 1}
    reasons = {r.reason for n in b.nodes.values() for r in n.p.journal.rows.values() if r.step == "photos"}
    assert reasons == {"no node"}
    await b.stop()


async def test_a_full_queue_refuses_and_the_producer_keeps_the_event(tmp_path: Path) -> None:
    b = Building(tmp_path, max_open=12)
    b.start()
    for i in range(12):
        await b.join(f"02:00:00:00:00:{i:02x}")
    await eventually(lambda: len(b.alerts) == 12 and b.quiet(), timeout=30)
    assert set(b.alerts.values()) == {1}
    await b.stop()


async def test_a_node_that_may_not_run_the_parent_may_not_send_for_it(tmp_path: Path) -> None:
    b = Building(tmp_path)
    b.start()
    thief = b.nodes["ap"]
    await thief.p.trigger(b.pipeline, "small", "image.rescaled", {"camera": "porch-cam"})
    gpu = b.nodes["gpu"].p
    await eventually(lambda: gpu.receiver.refused.get("not-allowed", 0) > 0)
    assert b.runs["docker"] == 0
    await b.stop()


async def test_the_next_program_starts_while_photos_are_taken(tmp_path: Path) -> None:
    b = Building(tmp_path)
    b.start()
    await b.join("02:00:00:00:00:01")
    await eventually(lambda: b.quiet() and sum(b.alerts.values()) == 1)
    started = b.starts["wasm"]
    await b.join("02:00:00:00:00:02")
    await eventually(lambda: b.quiet() and sum(b.alerts.values()) == 2)
    assert b.starts["wasm"] == started + len([n for n in b.nodes.values() if n.steps.parts.cameras.names()])
    await b.stop()
