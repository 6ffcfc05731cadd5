"""The resources of the local API, made from the parts of one node."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.api import Resolver, Resources, resources

if TYPE_CHECKING:
    from agent.node.agent import Agent


def make_resources(node: Agent) -> Resources:
    """Give each resource the parts that it needs."""
    mesh, delivery, blobs = node.mesh, node.pipelines, node.blobs
    nodes = resources.Nodes(mesh, node.labels, delivery.definitions, desk=node.desk, wanted=node.wanted)
    resolver = Resolver(mesh, blobs, node.wasm)
    pipelines = resources.Pipelines(mesh, delivery, blobs, resolver=resolver)
    cameras = resources.Cameras(node.cameras, mesh)
    sink = resources.Sink(node.uplink, mesh, node.labels, node.wanted)
    return Resources(
        status=resources.Status(
            node.config,
            mesh,
            delivery,
            version=node.version,
            identity=lambda: node.identity,
            nodes=nodes,
            pipelines=pipelines,
            cameras=cameras,
            sink=sink,
            sources=node.sources.runners,
            blobs=blobs,
            wasm=node.wasm,
            docker=node.docker,
            health=node.health,
        ),
        events=resources.Events(mesh, delivery, node.uplink.ledger, node.logs_kept),
        config=resources.Configuration(node.config),
        nodes=nodes,
        tokens=resources.Tokens(
            node.tokens, mesh, desk=node.desk, identity=lambda: node.identity, addresses=node.enrol_addresses
        ),
        pipelines=pipelines,
        devices=resources.Devices(mesh, node.presence),
        cameras=cameras,
        blobs=resources.Blobs(blobs, node.exchange, mesh, node.added),
        sink=sink,
    )
