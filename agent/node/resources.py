"""The resources of the local API, made from the parts of one node."""

from __future__ import annotations

import agent
from agent.api import Resolver, Resources, resources
from agent.config import Config
from agent.discovery import Discovery
from agent.health import HealthRegistry
from agent.identity import Identity
from agent.mesh import Mesh, Probes
from agent.node.admission import Admission
from agent.node.configured import journal_file, packages_folder
from agent.node.handing_out import HandingOut
from agent.node.node import Delivery, Programs, Stores
from agent.node.signed_labels import SignedLabels
from agent.platforms import Platform, survives_power_cut
from agent.release import Library


def make_resources(
    config: Config,
    health: HealthRegistry,
    mesh: Mesh,
    discovery: Discovery | None,
    labels: SignedLabels,
    wanted: dict[str, str],
    admission: Admission,
    stores: Stores,
    programs: Programs,
    delivery: Delivery,
    handing_out: HandingOut,
    platform: Platform,
) -> Resources:
    """Give each resource the parts that it needs."""
    engine, blobs, desk = delivery.engine, stores.blobs, admission.desk

    def identity() -> Identity:
        return admission.identity

    others, device = resources.OtherNodes(mesh), resources.device_facts(platform)
    nodes = resources.Nodes(mesh, labels, engine.definitions, desk=desk, wanted=wanted, others=others, device=device)
    pipelines = resources.Pipelines(
        mesh, engine, blobs, resolver=Resolver(mesh, blobs, programs.wasm, engine.definitions.kinds)
    )
    cameras = resources.Cameras(programs.cameras, mesh, resources.PhotoSteps(engine, mesh, blobs))
    sink = resources.Sink(delivery.uplink, mesh, labels, wanted)
    status = resources.Status(
        config,
        mesh,
        engine,
        version=agent.__version__,
        identity=identity,
        nodes=nodes,
        pipelines=pipelines,
        cameras=cameras,
        sink=sink,
        sources=delivery.sources.runners,
        blobs=blobs,
        wasm=programs.wasm,
        docker=programs.docker,
        health=health,
        logs=delivery.logs,
        others=others,
        device=device,
        durable=survives_power_cut(journal_file(config).parent),
    )
    return Resources(
        status=status,
        events=resources.Events(mesh, engine, delivery.uplink.ledger),
        logs=resources.Logs(mesh, engine.definitions, delivery.log_reader),
        config=resources.Configuration(config),
        nodes=nodes,
        network=resources.Network(config, mesh, Probes(mesh, config.mesh.port), discovery),
        tokens=resources.Tokens(
            admission.tokens,
            mesh,
            desk=desk,
            identity=identity,
            addresses=admission.enrol_addresses,
            install=handing_out.lines,
        ),
        pipelines=pipelines,
        images=resources.Images(mesh, engine.definitions, delivery.fetches.texts),
        devices=resources.Devices(mesh, engine.steps.parts.devices, engine.definitions),
        sources=resources.Sources(mesh, delivery.sources.runners, identity=identity),
        cameras=cameras,
        blobs=resources.Blobs(blobs, stores.exchange, mesh, stores.added),
        sink=sink,
        upgrades=resources.Upgrades(mesh, blobs, Library(packages_folder(config)), stores.handed_out),
    )
