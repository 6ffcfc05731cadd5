"""Whole agents on separate hosts: found by mDNS, admitted by a code or a token, killed, moved to other addresses."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from agent.mesh.settings import PORT
from tests.executors.docker_image import busybox_image
from tests.netns import Host, network
from tests.story.building import FILTERS, Building, Node, Sink, arrive, building
from tests.story.pipelines import story

pytestmark = [pytest.mark.root, pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(300)]

HOSTS = ("hall", "ap", "porch", "box", "cloud")


class Street:
    """A building whose nodes are hosts on one bridge, and a sink on another host."""

    def __init__(self, b: Building, hosts: dict[str, Host]) -> None:
        self.b, self.hosts = b, hosts
        self.devices = 0
        labels = {"hall": {}, "ap": {"wifi-log": "true"}, "porch": {"camera": "true"}, "box": {"uplink": "true"}}
        for name, wanted in labels.items():
            b.add(
                name, labels=wanted, cameras=("porch",) if name == "porch" else (), docker=name == "box",
                inside=tuple(hosts[name].command()), host="0.0.0.0", mdns=True, ports=(PORT, PORT + 1),
            )  # fmt: skip

    def alert(self) -> None:
        """One more device comes; one more alert is in the sink."""
        before = len(self.b.alerts())
        arrive(self.b["ap"], [self.devices])
        self.devices += 1
        self.b.until("the arrival becomes an alert", lambda: len(self.b.alerts()) > before, 60)
        assert len(self.b.alerts()) == before + 1


@pytest.fixture(scope="module")
def street() -> Iterator[Street]:
    """The hall makes a mesh; the porch is heard and approved, the others have tokens; the story runs."""
    busybox_image()
    with network(*HOSTS) as hosts, building() as b:
        made = Street(b, hosts)
        hall = b["hall"]
        hall.start()  # without --new: it listens, hears nobody, and makes a mesh
        hall.wait()
        approve(b["porch"], hall)
        for name in ("ap", "box"):
            b.join(b[name], hall)
        b.label(b["porch"], by=hall)
        b.add_cameras()
        b.sink = Sink(b, host=hosts["cloud"].address, inside=hosts["cloud"].command())
        b.connect_sink("box")
        b.apply(story(str(FILTERS)), hall)
        yield made


def approve(node: Node, operator: Node) -> None:
    """The node hears the mesh by mDNS and waits with a code; the operator lets it in."""
    node.start()
    code = re.compile(r"^code: (\S+)$", re.MULTILINE)
    node.building.until("it waits with a code", lambda: code.search(node.log.read_text()), 40)
    text = node.log.read_text()
    found = code.search(text)
    assert found is not None
    assert "is here (hall)" in text
    assert not node.socket.exists()  # it is in no mesh yet
    waiting = operator.cli("node", "pending", "--json")
    assert found[1] in {w["code"] for w in waiting.json}, waiting.out
    done = operator.cli("node", "approve", found[1])
    assert done.code == 0, done.err
    node.wait()


def test_a_mesh_of_hosts_tells_the_story(street: Street) -> None:
    street.alert()
    for node in street.b.nodes.values():
        status = node.status()
        assert status is not None
        assert {n["name"] for n in status["nodes"] if n["alive"]} == {"hall", "ap", "porch", "box"}
        assert status["mesh"]["operators"] == 1


def test_the_first_node_may_die_and_return(street: Street) -> None:
    hall = street.b["hall"]
    hall.kill()
    street.alert()
    street.b.together()
    street.alert()
    hall.start()
    hall.wait()
    street.b.together()
    street.alert()


def test_nodes_that_moved_find_each_other_again(street: Street) -> None:
    for number, node in enumerate(street.b.nodes.values()):
        street.hosts[node.name].move(f"10.77.5.{50 + number}")
    street.b.until("all have heard of the new addresses", lambda: all(moved(n) for n in street.b.running), 90)
    street.b.together()
    street.alert()
    street.b.until("everything has ended", street.b.quiet, 60)
    street.b.check_sums()


def moved(node: Node) -> bool:
    status = node.status()
    ends = [e for n in status["nodes"] if n["alive"] for e in n["endpoints"]] if status else []
    return len(ends) == 4 and all(e.startswith("10.77.5.") for e in ends)
