"""Builds the parts of a node in the order of dependence, and connects them."""

from __future__ import annotations

from collections.abc import Sequence

import agent
from agent.api import serve_image
from agent.clock import boottime
from agent.config import Config
from agent.discovery import Discovery, Found
from agent.health import HealthRegistry
from agent.identity import Identity, Trust, renewal_handler
from agent.mesh import Mesh, MeshSettings, usable_addresses
from agent.node.admission import Admission
from agent.node.applied_documents import AppliedDocuments
from agent.node.change_signal import ChangeSignal
from agent.node.configured import mdns_interfaces
from agent.node.node import Node
from agent.node.node_facts import NodeFacts
from agent.node.parts import Delivery, Programs, Stores, build_delivery, build_programs, build_stores, build_tails
from agent.node.resources import make_resources
from agent.node.self_checks import SelfChecks
from agent.node.signed_labels import SignedLabels
from agent.node.status_summary import SummarySender
from agent.node.tail_steps import TailSteps
from agent.node.warm_programs import WarmPrograms
from agent.platforms import detect


def build_node(
    config: Config, identity: Identity, *, wanted: dict[str, str], endpoints: Sequence[str] = (), had_state: bool = True
) -> Node:
    """A node that does not run yet; raises EdgeError where its state cannot be used.

    `wanted` are the labels to ask for; `endpoints` are `host:port` of nodes to dial besides those of the configuration;
    `had_state` says that this is not the first start.
    """
    health, changed = HealthRegistry(), ChangeSignal()
    mesh = _mesh(config, identity, endpoints)
    labels = SignedLabels(mesh)
    mesh.labels_of = labels.signed
    mesh.on_change(lambda _record, _alive: changed.send())
    stores = build_stores(config, mesh)
    programs = build_programs(config, identity.node_id)
    delivery = build_delivery(config, identity, mesh, stores, programs, changed)
    tails = build_tails(config, mesh, programs.wasm, delivery, changed, restarted_at=boottime() if had_state else 0.0)
    admission = Admission(config, identity, mesh, labels)
    node = Node(
        config=config,
        health=health,
        mesh=mesh,
        labels=labels,
        wanted=wanted,
        discovery=_discovery(config, identity, mesh) if config.mesh.mdns else None,
        blobs=stores.blobs,
        exchange=stores.exchange,
        added=stores.added,
        fresh=stores.fresh,
        journal=stores.journal,
        wasm=programs.wasm,
        docker=programs.docker,
        process=programs.process,
        cameras=programs.cameras,
        uplink=delivery.uplink,
        delivery=delivery.engine,
        documents=AppliedDocuments(mesh, delivery.engine.definitions, delivery.engine.steps.presence),
        step_logs=delivery.logs,
        tail_steps=tails,
        warm_programs=WarmPrograms(delivery.engine, mesh, changed.listen()),
        self_checks=_checks(config, health, mesh, labels, stores, programs, delivery, tails, admission),
        admission=admission,
        api=make_resources(config, health, mesh, labels, wanted, stores, programs, delivery, tails.runners, admission),
    )
    _serve(node)
    return node


# -- the mesh ---------------------------------------------------------------------------------------------------------


def _mesh(config: Config, identity: Identity, endpoints: Sequence[str]) -> Mesh:
    settings = MeshSettings(
        listen=config.mesh.listen,
        port=config.mesh.port,
        advertise=config.mesh.advertise,
        join=[*config.mesh.join, *usable_addresses(endpoints, config.mesh.port)],
        version=agent.__version__,
    )
    mesh = Mesh(identity, Trust(identity.ca_der), settings, config.state)
    mesh.announce(labels={"arch": detect(docker_host=config.docker.host).arch})
    return mesh


def _discovery(config: Config, identity: Identity, mesh: Mesh) -> Discovery:
    def dial(found: Found) -> None:
        if found.mesh == identity.mesh_id and found.node != identity.node_id:
            for address in found.mesh_addresses:
                mesh.add_endpoint(address)

    return Discovery(dial, interfaces=mdns_interfaces(config))


def _serve(node: Node) -> None:
    """Answer the verbs of other nodes."""
    verbs = {
        **node.exchange.verbs,
        "label.wish": node.labels.serve_wish,
        "enrol.redeem": lambda _peer, body: node.admission.enrolment.redeem(body),
        "node.renew": node.admission.serve_renew,
        "docker.image": lambda _peer, body: serve_image(node.docker, body),
        "device.list": node.api.devices.serve_list,
        "device.forget": node.api.devices.serve_forget,
    }
    if node.admission.desk is not None:
        verbs["enrol.renew"] = renewal_handler(node.admission.desk)
    for verb, handler in verbs.items():
        node.mesh.serve(verb, handler)


# -- health -----------------------------------------------------------------------------------------------------------


def _checks(
    config: Config,
    health: HealthRegistry,
    mesh: Mesh,
    labels: SignedLabels,
    stores: Stores,
    programs: Programs,
    delivery: Delivery,
    tails: TailSteps,
    admission: Admission,
) -> SelfChecks:
    def identity() -> Identity:
        return admission.identity

    facts = NodeFacts(
        state=config.state,
        identity=identity,
        mesh=mesh,
        labels=labels,
        desk=admission.desk,
        delivery=delivery.engine,
        tails=tails.runners,
        blobs=stores.blobs,
        cameras=programs.cameras,
        docker=programs.docker,
        gpu=delivery.gpu,
        uplink=delivery.uplink,
    )
    summary = SummarySender(delivery.uplink, mesh, health, identity, config.uplink.status_every)
    return SelfChecks(
        health,
        facts,
        mesh=mesh,
        labels=labels,
        uplink=delivery.uplink,
        docker=programs.docker if config.policy.docker else None,
        summary=summary if config.uplink.status else None,
    )
