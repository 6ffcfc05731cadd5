"""One agent that is killed and comes back, one that is stopped: what stays, what does not, and what is never written."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import docker
import psutil
import pytest

from agent.executors import OWNER_LABEL
from tests.executors.docker_image import busybox_image
from tests.story.building import FILTERS, Building, Node, arrive, building
from tests.story.pipelines import story

pytestmark = [pytest.mark.slow, pytest.mark.docker, pytest.mark.timeout(240)]

FIRST, MORE = 6, 6


@pytest.fixture(scope="module")
def agents() -> Iterator[Building]:
    """Everything but the access point on one node, so that its restart touches everything."""
    busybox_image()
    with building() as b:
        b.add("box", labels={"uplink": "true"})
        b.add("ap", labels={"wifi-log": "true"})
        b.add("porch", labels={"camera": "true"}, cameras=("porch",), docker=True)
        b.start()
        b.connect_sink("box")
        b.apply(story(str(FILTERS)), b["box"])
        arrive(b["ap"], range(FIRST))
        b.until("the first alerts", lambda: len(b.alerts()) >= FIRST, 90)
        b.until("everything has ended", b.quiet, 60)
        yield b


def containers(node: Node) -> list[str]:
    """Running containers of a node."""
    client = docker.from_env()
    try:
        return [c.id for c in client.containers.list(sparse=True, filters={"label": f"{OWNER_LABEL}={node.id}"})]
    finally:
        client.close()


def facts(node: Node) -> dict[str, object]:
    """The state that a restart must not change."""
    status = node.status()
    assert status is not None
    return {
        "node": {k: v for k, v in status["node"].items() if k != "boot"},
        "peers": {n["name"]: n["id"] for n in status["nodes"]},
        "pipelines": {p["name"]: p["version"] for p in status["pipelines"]},
        "cameras": [(c["node"], c["name"]) for c in status["cameras"]],
        "blobs": node.blobs(),
        "journal": {k: status["journal"][k] for k in ("accepted", "open", "ends")},
    }


def test_a_killed_agent_is_the_same_node_again(agents: Building) -> None:
    porch = agents["porch"]
    before, boot = facts(porch), porch.status()["node"]["boot"]  # type: ignore[index]
    children = psutil.Process(porch.pid).children(recursive=True)
    assert children
    assert containers(porch)
    porch.kill()
    agents.until("its children end", lambda: not any(alive(c) for c in children), 20)
    agents.until("its containers end", lambda: not containers(porch), 20)
    porch.start()
    status = porch.wait()
    assert status["node"]["boot"] != boot
    agents.together()
    assert facts(porch) == before


def test_events_that_were_open_when_it_was_killed_go_on(agents: Building) -> None:
    ap, box = agents["ap"], agents["box"]
    agents["porch"].kill()
    agents.together()
    arrive(ap, range(FIRST, FIRST + MORE))
    agents.until("the devices' joins are journalled", lambda: ap.devices_read() == FIRST + MORE)
    agents.until("they have no camera", lambda: ended(agents, "photos", "skipped") == MORE, 60)
    # No camera was there when the list was made: that is recorded, and nothing waits for it.
    agents["porch"].start()
    agents["porch"].wait()
    agents.together()
    box.kill()
    agents.together()
    arrive(ap, range(100, 100 + MORE))
    agents.until("alerts wait for the way out", lambda: waiting(agents, "alert") == MORE, 90)
    for name in ("porch", "ap"):
        agents[name].kill()
        agents[name].start()
    agents["porch"].wait()
    agents["ap"].wait()
    assert waiting(agents, "alert") == MORE
    box.start()
    box.wait()
    agents.until("the alerts come", lambda: len(agents.alerts()) >= FIRST + MORE, 90)
    agents.until("everything has ended", agents.quiet, 60)
    agents.check_sums()
    assert len(agents.alerts()) == FIRST + MORE


def waiting(agents: Building, step: str) -> int:
    """Distinct events that are open at a step on any disk."""
    return len({r["event"] for n in agents.nodes.values() for r in n.rows("step = ? AND state != 5", step)})


def ended(agents: Building, step: str, how: str) -> int:
    return len({r["event"] for n in agents.nodes.values() for r in n.rows("step = ? AND ending = ?", step, how)})


def test_a_second_agent_on_the_same_state_is_refused(agents: Building) -> None:
    config = agents["porch"].folder / "config.yaml"
    second = agents["porch"].cli("serve", "--config", str(config))
    assert second.code == 2
    assert "[state.locked]" in second.err
    assert agents["porch"].status() is not None


def test_stopping_it_ends_everything_that_it_started(agents: Building) -> None:
    porch = agents["porch"]
    agents.until("its container runs again", lambda: containers(porch), 60)
    children = psutil.Process(porch.pid).children(recursive=True)
    assert porch.stop() == 0
    assert [c for c in children if alive(c)] == []
    assert containers(porch) == []
    assert not porch.socket.exists()
    porch.start()
    porch.wait()
    agents.together()


def alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def test_no_secret_is_in_any_log_or_readable_by_others(agents: Building) -> None:
    done = agents["box"].cli("token", "create", "--json")
    assert done.code == 0, done.err
    token = done.json["token"]
    secrets = [token, token[:40], agents.sink.key, "PRIVATE KEY", "edge1.g", "edge1.l", "edge1.m"]
    for node in agents.nodes.values():
        text = node.log.read_text()
        assert [s for s in secrets if s in text] == [], node.name
    open_to_others = [str(p) for n in agents.nodes.values() for p in private(n.state) if p.stat().st_mode & 0o077]
    assert open_to_others == []


def private(state: Path) -> list[Path]:
    """A state's folder, and every file in it but those that containers must be able to read."""
    read = {"scratch", "blobs"}
    return [state, *(p for p in state.rglob("*") if p.is_file() and not p.is_symlink() and not read & set(p.parts))]
