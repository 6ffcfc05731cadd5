"""The facts about a node that its health checks read, from real pipelines and real steps that fail."""

from __future__ import annotations

import msgspec
import pytest

from agent.errors import NotFound, StepFailed
from agent.health import run_checks
from agent.node import Node
from tests.node.site import Site
from tests.support import eventually, load_pipeline

PIPELINE = """
version: 1
name: p
steps:
  wifi: {tail: /nowhere, wasm: {module: m.wasm}}
  labels: {after: wifi, wasm: {module: missing.wasm}}
"""
SINK = "  alert: {after: labels, sink: }\n"
DOCKER = "  boxes: {after: wifi, docker: {image: 'sha256:" + "0" * 64 + "'}}\n"


def apply(node: Node, text: str) -> tuple[str, str, str]:
    """Apply the pipeline; returns the key of its step `labels`."""
    pipeline = load_pipeline(text)
    node.delivery.engine.definitions.apply("p", msgspec.json.encode(pipeline))
    return "p", pipeline.version, "labels"


async def faults(node: Node) -> dict[str, str]:
    return {w.code: w.text for w in run_checks(await node.self_checks.facts.collect())}


async def test_a_step_that_cannot_be_started_is_a_fault(site: Site) -> None:
    hall = await site.start("hall")
    key = apply(hall, PIPELINE)
    hosts = hall.delivery.engine.hosts
    assert not {"step.not-started", "step.failing"} & set(await faults(hall))
    hosts.warm(key)
    await eventually(lambda: key in hosts.conditions and hosts.conditions[key].failures >= 3)
    found = await faults(hall)
    assert "missing.wasm" in found["step.not-started"]
    assert "step.failing" not in found


async def test_a_started_step_is_a_fault_after_failures_in_a_row(site: Site) -> None:
    hall = await site.start("hall")
    key = apply(hall, PIPELINE)
    hosts = hall.delivery.engine.hosts
    hosts.warm(key)
    await eventually(lambda: key in hosts.conditions and hosts.conditions[key].failures)
    condition = hosts.conditions[key]
    condition.works()
    for _ in range(3):
        condition.failed(StepFailed("it died"))
    found = await faults(hall)
    assert found["step.failing"] == "p/labels failed 3 times in a row: it died"
    assert "step.not-started" not in found
    condition.works()
    assert not {"step.not-started", "step.failing"} & set(await faults(hall))


@pytest.mark.parametrize(("more", "wanted"), [("", False), (SINK, True)])
async def test_a_sink_is_wanted_by_its_step_alone(site: Site, more: str, wanted: bool) -> None:
    hall = await site.start("hall")
    apply(hall, PIPELINE + more)
    assert (await hall.self_checks.facts.collect()).sink_wanted is wanted
    assert ("sink.missing" in await faults(hall)) is wanted


@pytest.mark.parametrize(
    ("more", "label", "wanted"), [(DOCKER, "true", True), (DOCKER, "false", False), ("", "true", False)]
)
async def test_an_engine_is_wanted_by_steps_for_this_node(site: Site, more: str, label: str, wanted: bool) -> None:
    hall = await site.start("hall", labels={"docker": label})
    apply(hall, PIPELINE + more)
    await eventually(lambda: hall.mesh.me.labels.get("docker") == label)
    assert (await hall.self_checks.facts.collect()).docker_wanted is wanted
    assert ("docker.missing" in await faults(hall)) is wanted


async def test_a_node_gone_before_the_start_is_gone_until_removed(site: Site) -> None:
    hall = await site.start("hall")
    porch = await site.start("porch")
    await hall.labels.sign(porch.mesh.me.id, {}, "porch")
    await site.stop("porch")
    await site.stop("hall")
    hall = await site.start("hall")
    assert [g.name for g in (await hall.self_checks.facts.collect()).gone] == ["porch"]
    assert (await hall.api.nodes.remove("porch")).node == "porch"
    assert hall.mesh.is_removed(porch.mesh.me.id)
    assert (await hall.self_checks.facts.collect()).gone == []
    with pytest.raises(NotFound):
        await hall.api.nodes.remove("porch")
