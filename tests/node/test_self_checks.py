"""The health checks of a node."""

from __future__ import annotations

import threading

import pytest

from agent.health import Facts
from agent.mesh import Mesh
from agent.model.health import Warning
from agent.model.node import NodeRecord
from agent.node import self_checks
from tests.node.site import Site
from tests.support import eventually


async def test_facts_that_change_with_the_loop_are_read_in_its_thread(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, run_checks = Mesh.known, self_checks.run_checks
    threads: set[int] = set()
    seen: list[Facts] = []

    def noting(mesh: Mesh) -> list[NodeRecord]:
        threads.add(threading.get_ident())
        return known(mesh)

    def checking(facts: Facts) -> list[Warning]:
        seen.append(facts)
        return run_checks(facts)

    monkeypatch.setattr(Mesh, "known", noting)
    monkeypatch.setattr(self_checks, "run_checks", checking)
    await site.start("hall")
    await eventually(lambda: seen)
    assert (seen[0].nodes, seen[0].disk_total is not None) == (1, True)
    assert threads == {threading.get_ident()}


async def test_a_mesh_that_cannot_be_opened_is_shown_until_it_is_open(site: Site) -> None:
    hall = await site.start("hall")
    hall.mesh._session.closed = "its port is taken"
    hall.self_checks.update_others()
    (shown,) = [w for w in hall.health.list() if w.code == "mesh.closed"]
    assert (shown.text, shown.severity) == ("its port is taken", "error")
    await hall.mesh.reopen()
    hall.self_checks.update_others()
    assert "mesh.closed" not in {w.code for w in hall.health.list()}
