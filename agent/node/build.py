"""Builds the parts of a node in the order of dependence, and connects them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

import psutil

import agent
from agent.blobs import BlobExchange, BlobStore
from agent.cameras import CameraBook
from agent.clock import boottime
from agent.config import Config, blob_quota
from agent.delivery import Context, Deciders, DeliveryEngine, Journal
from agent.discovery import Discovery, Found
from agent.executors import DockerExecutor, ProcessExecutor, WasmExecutor
from agent.health import HealthRegistry
from agent.identity import Identity, Trust, renewal_handler
from agent.mesh import Mesh, MeshSettings, usable_addresses
from agent.model.alert import Hello
from agent.model.node import ROLE_OPERATOR
from agent.model.task import FilterRunner, WasmTask
from agent.node.admission import Admission
from agent.node.applied_documents import AppliedDocuments
from agent.node.change_signal import ChangeSignal
from agent.node.configured import cameras_file, journal_file, mdns_interfaces
from agent.node.engines import BookCameras, NodeEngines
from agent.node.event_feed import publish_event
from agent.node.fresh import FreshBlobs
from agent.node.gpu_use import GpuUse
from agent.node.leftovers import Added
from agent.node.node import Node
from agent.node.node_facts import NodeFacts
from agent.node.self_checks import SelfChecks
from agent.node.signed_labels import SignedLabels
from agent.node.status_summary import SummarySender
from agent.node.step_logs import StepLogs
from agent.node.tail_steps import TailSteps
from agent.node.warm_programs import WarmPrograms
from agent.platforms import detect
from agent.steps import Presence, StepKinds
from agent.uplink import Uplink, UplinkSettings


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
    stores = _stores(config)
    programs = _programs(config, identity.node_id)
    delivery = _delivery(config, identity, mesh, stores, programs, changed)
    tails = _tails(config, mesh, programs.wasm, delivery, changed, restarted_at=boottime() if had_state else 0.0)
    admission = Admission(config, identity, mesh, labels)
    node = Node(
        config=config,
        health=health,
        mesh=mesh,
        labels=labels,
        wanted=wanted,
        discovery=_discovery(config, identity, mesh) if config.mesh.mdns else None,
        blobs=stores.blobs,
        exchange=delivery.exchange,
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
    }
    if node.admission.desk is not None:
        verbs["enrol.renew"] = renewal_handler(node.admission.desk)
    for verb, handler in verbs.items():
        node.mesh.serve(verb, handler)


# -- stores and programs ----------------------------------------------------------------------------------------------


class Stores(NamedTuple):
    """What is kept on the disk."""

    blobs: BlobStore
    added: Added
    journal: Journal
    fresh: FreshBlobs


def _stores(config: Config) -> Stores:
    blobs = BlobStore(config.state / "blobs", blob_quota(config.blobs.quota, config.state))
    journal = Journal(journal_file(config), max_open=config.journal.max_open)
    return Stores(blobs, Added(config.state / "added-blobs"), journal, FreshBlobs(blobs, journal))


class Programs(NamedTuple):
    """What runs the programs of steps and takes photos."""

    wasm: WasmExecutor
    docker: DockerExecutor
    process: ProcessExecutor
    cameras: CameraBook


def _programs(config: Config, node_id: str) -> Programs:
    state, policy = config.state, config.policy
    docker = DockerExecutor(
        node_id,
        state / "scratch" / "docker",
        host=config.docker.host,
        allowed=policy.docker,
        max_cpus=max(1.0, policy.cpus * (os.cpu_count() or 1)),
        max_memory=int(policy.memory * psutil.virtual_memory().total),
    )
    return Programs(
        WasmExecutor(state / "cache" / "wasm", state / "scratch" / "wasm"),
        docker,
        ProcessExecutor(state / "scratch" / "process"),
        CameraBook(cameras_file(config)),
    )


# -- delivery ---------------------------------------------------------------------------------------------------------


class Delivery(NamedTuple):
    """The delivery engine, and the parts that it calls and that call it."""

    engine: DeliveryEngine[StepKinds]
    exchange: BlobExchange
    uplink: Uplink
    logs: StepLogs
    gpu: GpuUse
    log_to: Callable[[str, str, str], None]
    """Gets pipeline, step and each line that a program of a step logs."""


def _delivery(
    config: Config, identity: Identity, mesh: Mesh, stores: Stores, programs: Programs, changed: ChangeSignal
) -> Delivery:
    def may_read(node_id: str, cid: str) -> bool:
        operator = any(n.id == node_id and n.role == ROLE_OPERATOR for n in mesh.live())
        return operator or engine.may_read(node_id, cid)

    def delivered(event_id: str) -> None:
        engine.steps.sink.delivered(event_id)

    def refused(event_id: str, reason: str) -> None:
        engine.steps.sink.refused(event_id, reason)

    def log_to(pipeline: str, step: str, line: str) -> None:
        logs.write(pipeline, step, line)
        gpu.read(pipeline, step, line)

    def steps(context: Context, deciders: Deciders) -> StepKinds:
        return StepKinds(
            context,
            mesh_id=identity.mesh_id,
            engines=NodeEngines(programs.wasm, programs.docker, programs.process, config.policy, stores.fresh),
            cameras=BookCameras(programs.cameras) if config.policy.camera else None,
            presence=Presence(deciders),
            path_of=stores.blobs.path,
            writer=stores.fresh,
            submit=uplink.submit,
            log_to=log_to,
        )

    exchange = BlobExchange(stores.blobs, mesh.call, may_read)
    logs = StepLogs(mesh.publish_log)
    uplink = _uplink(config, identity, delivered, refused)
    engine = DeliveryEngine(
        identity.node_id,
        identity.name,
        mesh,
        stores.journal,
        stores.blobs,
        lambda cid, holders, timeout, size: exchange.fetch(cid, holders, timeout=timeout, size=size),
        steps,
        allowed={kind: getattr(config.policy, kind) for kind in ("wasm", "docker", "process", "camera")},
        show=lambda event: publish_event(mesh.publish_log, event),
        definition_changed=lambda _name: changed.send(),
    )
    gpu = GpuUse(engine.definitions)
    return Delivery(engine, exchange, uplink, logs, gpu, log_to)


def _uplink(
    config: Config, identity: Identity, delivered: Callable[[str], None], refused: Callable[[str, str], None]
) -> Uplink:
    return Uplink(
        config.state / "uplink",
        Hello(identity.mesh_id, identity.node_id, identity.name, identity.ca_pem.decode()),
        settings=UplinkSettings(spool=config.uplink.spool, macs=config.uplink.macs),
        sign=identity.sign,
        certificate=identity.cert_der,
        delivered=delivered,
        refused=refused,
    )


def _tails(
    config: Config, mesh: Mesh, wasm: WasmExecutor, delivery: Delivery, changed: ChangeSignal, *, restarted_at: float
) -> TailSteps:
    async def make_filter(task: WasmTask) -> FilterRunner:
        return wasm.filter(await delivery.engine.steps.programs.module(task.module), task)

    return TailSteps(
        delivery.engine.context,
        mesh,
        changed.listen(),
        logs=config.sources.tail,
        make_filter=make_filter,
        log_to=delivery.log_to,
        state=config.state,
        restarted_at=restarted_at,
    )


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
