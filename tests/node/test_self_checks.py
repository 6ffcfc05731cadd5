"""Warnings just after a start."""

from __future__ import annotations

import time
from dataclasses import replace

from agent.model.health import Warning
from agent.node.self_checks import BY_OTHERS, SETTLE
from tests.node.site import Site
from tests.support import eventually


async def test_warnings_that_others_end_wait_until_the_mesh_is_back(site: Site) -> None:
    hall, porch = await site.start("hall"), await site.start("porch")
    await eventually(lambda: hall.mesh.is_live(porch.mesh.me.id))
    warnings = [Warning(code, "mesh", "x", "y") for code in (*BY_OTHERS, "disk.full")]
    assert hall.self_checks.lasting(warnings) == warnings
    await hall.mesh._linking._peers.save()  # as every four seconds
    await site.stop("hall")
    await site.stop("porch")
    hall = await site.start("hall")
    assert hall.mesh.awaited()
    assert [w.code for w in hall.self_checks.lasting(warnings)] == ["disk.full"]
    hall.labels.unsigned = {"gpu": "true"}
    hall.self_checks.update_others()
    assert "labels.unsigned" not in {w.code for w in hall.self_checks.health.list()}
    settled = replace(hall.self_checks, begun=time.monotonic() - SETTLE)
    assert settled.lasting(warnings) == warnings
    settled.update_others()
    assert "labels.unsigned" in {w.code for w in hall.self_checks.health.list()}
