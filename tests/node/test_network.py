"""`ping` and `netcheck` of real nodes, and what the check finds."""

from __future__ import annotations

import pytest

from agent.api.resources.network import Network
from agent.config import Config
from agent.discovery import Found
from agent.errors import NotFound, Unreachable
from agent.mesh import Probes, RoundTrip, Tried
from agent.node import Node
from tests.mesh.building import free_port
from tests.node.site import Site
from tests.support import eventually


async def both(site: Site) -> tuple[Node, Node]:
    return await site.start("hall"), await site.start("porch")


async def test_ping_and_netcheck_of_a_healthy_mesh(site: Site) -> None:
    hall, porch = await both(site)
    port = porch.config.mesh.port
    porch.mesh.announce(endpoints=[f"127.0.0.1:{port}"])
    hall.mesh.announce(endpoints=[f"127.0.0.1:{hall.config.mesh.port}"])
    answer = await hall.api.network.ping("porch")
    assert (answer.node, answer.way) == ("porch", "direct")
    with pytest.raises(NotFound):
        await hall.api.network.ping("attic")
    checked = await hall.api.network.check()
    (seen,) = checked.nodes
    assert (seen.node, seen.alive, seen.way, seen.large, seen.error) == ("porch", True, "direct", True, "")
    assert seen.ms is not None
    assert [c.error for c in seen.there] == [""]
    assert [(f.check, f.state) for f in checked.findings] == [("network", "ok")]


async def test_a_node_that_is_gone_is_a_finding(site: Site) -> None:
    hall, _ = await both(site)
    await site.stop("porch")
    await eventually(lambda: len(hall.mesh.live()) == 1)
    checked = await hall.api.network.check()
    assert [f.check for f in checked.findings] == ["net.gone"]
    assert checked.nodes[0].ms is None


class Faulty(Probes):
    """Probes whose answers are given."""

    def __init__(
        self, mesh: object, *, back: str = "", there: str = "", offset: float = 0.0, large: bool = True
    ) -> None:
        super().__init__(mesh, 7946)  # type: ignore[arg-type]
        self._back, self._there, self._offset, self._large = back, there, offset, large

    async def ping(self, node_id: str, *, padding: int = 0, timeout: float = 5.0) -> RoundTrip:
        if padding and not self._large:
            raise Unreachable("no answer")
        return RoundTrip(1.0, self._offset, "1", "ufw")

    async def reach(self, node_id: str, *, timeout: float = 10.0) -> list[Tried]:
        return [Tried("127.0.0.1:7946", self._back)]

    async def connect(self, record: object) -> list[Tried]:
        return [Tried(f"127.0.0.1:{free_port()}", self._there)]


class Silent:
    """A discovery that heard nobody."""

    problem = ""

    def heard(self) -> list[Found]:
        return []


async def test_each_fault_has_its_finding_and_remedy(site: Site) -> None:
    hall, _ = await both(site)

    async def found(discovery: Silent | None = None, **faults: object) -> dict[str, str]:
        probes = Faulty(hall.mesh, **faults)  # type: ignore[arg-type]
        network = Network(Config(), hall.mesh, probes, discovery)
        return {f.check: f.remedy for f in (await network.check()).findings}

    assert set(await found()) == {"network"}
    assert "7946" in (await found(back="no answer"))["net.closed-here"]
    assert "time service" in (await found(offset=-90.0))["net.clock"]
    assert "MTU" in (await found(large=False))["net.mtu"]
    assert "--join" in (await found(Silent()))["net.mdns"]


async def test_a_relayed_node_names_the_rule_for_its_firewall(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    hall, _ = await both(site)
    monkeypatch.setattr(hall.mesh, "links", list)
    network = Network(Config(), hall.mesh, Faulty(hall.mesh, there="no answer"), None)
    (finding,) = (await network.check()).findings
    assert finding.check == "net.relayed"
    assert finding.remedy.startswith("on porch: ufw allow ")
