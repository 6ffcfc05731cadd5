"""Builds the parts of a node in the order of dependence, and connects them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import agent
from agent.api import serve_image
from agent.blobs import BlobExchange, BlobStore, ByHand
from agent.cameras import CameraBook
from agent.config import Config, blob_quota, logs_size
from agent.delivery import Context, Deciders, DeliveryEngine, Journal
from agent.discovery import Discovery, Found
from agent.executors import DockerExecutor, Executors, Policy, ProcessExecutor, WasmExecutor
from agent.health import HealthRegistry
from agent.identity import Identity, Trust, renewal_handler
from agent.logs import LogStore, Reader
from agent.mesh import Mesh, MeshSettings, usable_addresses
from agent.model.alert import Hello
from agent.model.health import count_codes
from agent.model.node import ROLE_OPERATOR
from agent.model.step_kind import Kinds
from agent.model.task import DockerTask
from agent.node.admission import Admission
from agent.node.applied_documents import AppliedDocuments
from agent.node.camera_access import BookCameras
from agent.node.capacity import CapacityMeter
from agent.node.change_signal import ChangeSignal
from agent.node.configured import cameras_file, journal_file, logs_folder, mdns_interfaces
from agent.node.event_feed import publish_event
from agent.node.fresh import FreshBlobs
from agent.node.gpu_use import GpuUse
from agent.node.handing_out import HandingOut
from agent.node.image_fetches import ImageFetches
from agent.node.image_offers import OFFER, ImageOffers
from agent.node.node import Delivery, Node, Programs, Stores
from agent.node.node_facts import NodeFacts
from agent.node.removal import Removal
from agent.node.resources import make_resources
from agent.node.self_checks import SelfChecks
from agent.node.signed_labels import SignedLabels
from agent.node.source_steps import SourceSteps
from agent.node.status_summary import SummarySender
from agent.node.upgrades import HandedOut, Upgrades
from agent.node.warm_programs import WarmPrograms
from agent.platforms import detect, wasm_workers
from agent.release import ReleaseStore
from agent.sources import Reception
from agent.steps import KINDS, Alerts, DeviceRecords, Logs, NodeSteps, Parts, StepPrograms
from agent.uplink import Uplink, UplinkSettings


def build_node(
    config: Config, identity: Identity, *, wanted: dict[str, str], endpoints: Sequence[str] = (), kinds: Kinds = KINDS,
) -> Node:  # fmt: skip
    """A node that does not run yet; raises EdgeError where its state cannot be used.

    `wanted` are the labels to ask for; `endpoints` are `host:port` of nodes to dial besides those of the configuration;
    `kinds` are the kinds of steps that it knows.
    """
    health, changed = HealthRegistry(), ChangeSignal()
    platform = detect(docker_host=config.docker.host)
    mesh = _mesh(config, identity, endpoints, platform.arch)
    labels = SignedLabels(mesh)
    mesh.show_labels(labels.signed)
    mesh.on_change(lambda _record, _alive: changed.send())
    health.on_change(lambda: mesh.announce(health=count_codes(health.list())))
    admission = Admission(config, identity, mesh, labels)
    stores = _stores(config, mesh)
    programs = _programs(config, identity.node_id, stores, wasm_workers(platform))
    reception = Reception(identity=lambda: admission.identity)
    sources = Logs(config.sources.tail, config.state, reception)
    delivery = _delivery(config, identity, mesh, stores, programs, changed, sources, kinds)
    discovery = _discovery(config, identity, mesh) if config.mesh.mdns else None
    handing_out = HandingOut(config, lambda: admission.identity, admission.enrol_addresses)
    node = Node(
        config=config,
        health=health,
        mesh=mesh,
        discovery=discovery,
        labels=labels,
        wanted=wanted,
        admission=admission,
        removal=Removal(config.state),
        upgrades=Upgrades(
            config.state / "upgrade",
            ReleaseStore(config.release),
            fetch=stores.exchange.fetch,
            blobs=stores.blobs,
        ),
        stores=stores,
        programs=programs,
        delivery=delivery,
        documents=AppliedDocuments(
            mesh, delivery.engine.definitions, delivery.engine.steps.parts.devices, reception.decisions
        ),
        meter=CapacityMeter(
            policy=config.policy,
            journal=stores.journal,
            reserved=programs.all.reserved,
            programs=programs.all.running,
            gpus=platform.gpus,
        ),
        changed=changed,
        warm_programs=WarmPrograms(delivery.engine, mesh, changed.listen()),
        self_checks=_checks(config, health, mesh, labels, admission, stores, programs, delivery),
        handing_out=handing_out,
        api=make_resources(
            config,
            health,
            mesh,
            discovery,
            labels,
            wanted,
            admission,
            stores,
            programs,
            delivery,
            handing_out,
            platform,
        ),
    )
    _serve(node)
    return node


# -- the mesh ---------------------------------------------------------------------------------------------------------


def _mesh(config: Config, identity: Identity, endpoints: Sequence[str], arch: str) -> Mesh:
    settings = MeshSettings(
        listen=config.mesh.listen,
        port=config.mesh.port,
        advertise=config.mesh.advertise,
        join=[*config.mesh.join, *usable_addresses(endpoints, config.mesh.port)],
        version=agent.__version__,
    )
    mesh = Mesh(identity, Trust(identity.ca_der), settings, config.state)
    mesh.announce(labels={"arch": arch})
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
        **node.stores.exchange.verbs,
        **node.api.network.verbs,
        "label.wish": node.labels.serve_wish,
        "enrol.redeem": lambda _peer, body: node.admission.enrolment.redeem(body),
        "node.renew": node.admission.serve_renew,
        "node.removed": node.removal.serve,
        **node.upgrades.verbs,
        "docker.image": lambda _peer, body: serve_image(node.programs.docker, body),
        OFFER: node.delivery.offers.serve,
        "log.read": node.delivery.log_reader.serve,
        **node.api.status.verbs,
        "device.list": node.api.devices.serve_list,
        "device.forget": node.api.devices.serve_forget,
        "source.list": node.api.sources.serve_list,
    }
    if node.admission.desk is not None:
        verbs["enrol.renew"] = renewal_handler(node.admission.desk)
    for verb, handler in verbs.items():
        node.mesh.serve(verb, handler)


# -- stores, programs and delivery ------------------------------------------------------------------------------------


def _stores(config: Config, mesh: Mesh) -> Stores:
    def may_read(node_id: str, cid: str) -> bool:
        operator = any(n.id == node_id and n.role == ROLE_OPERATOR for n in mesh.live())
        return operator or blobs.needs.may_read(node_id, cid)

    folder = config.volatile_folder
    blobs = BlobStore(folder / "blobs", blob_quota(config.blobs.quota, folder))
    added = ByHand(folder / "added-blobs")
    handed_out = HandedOut()
    blobs.needs.add(added)
    blobs.needs.add(handed_out)
    journal = Journal(journal_file(config), max_open=config.journal.max_open)
    return Stores(
        journal, blobs, BlobExchange(blobs, mesh.call, may_read), added, FreshBlobs(blobs, journal), handed_out
    )


def _programs(config: Config, node_id: str, stores: Stores, workers: int) -> Programs:
    scratch = config.volatile_folder / "scratch"
    wasm = WasmExecutor(config.volatile_folder / "cache" / "wasm", scratch / "wasm", workers=workers)
    docker = DockerExecutor(node_id, scratch / "docker", host=config.docker.host)
    process = ProcessExecutor(scratch / "process")
    every = Executors(wasm, docker, process, Policy.of(config.policy), stores.fresh)
    return Programs(wasm, docker, process, every, CameraBook(cameras_file(config)))


def _delivery(
    config: Config,
    identity: Identity,
    mesh: Mesh,
    stores: Stores,
    programs: Programs,
    changed: ChangeSignal,
    logs: Logs,
    kinds: Kinds,
) -> Delivery:
    # The engine hands alerts to the uplink, which reports each one's end to the engine: so the functions come first.

    def delivered(event_id: str) -> None:
        engine.steps.parts.alerts.delivered(event_id)

    def refused(event_id: str, reason: str) -> None:
        engine.steps.parts.alerts.refused(event_id, reason)

    async def image_ready(task: DockerTask) -> None:
        await fetches.ready(task)

    def hear(pipeline: str, step: str, line: str) -> None:
        gpu.read(pipeline, step, line)

    def steps(context: Context, deciders: Deciders) -> NodeSteps:
        parts = Parts(
            context=context,
            mesh_id=identity.mesh_id,
            policy=programs.all.policy,
            programs=StepPrograms(context, programs.all, stores.blobs.path, log_store.of, image_ready),
            cameras=BookCameras(programs.cameras),
            devices=DeviceRecords(deciders),
            alerts=Alerts(context, uplink.submit),
            writer=stores.fresh,
            log_of=log_store.of,
            logs=logs,
        )
        return NodeSteps(parts)

    log_store = LogStore(logs_folder(config), logs_size(config.logs.size, logs_folder(config)), hear=hear)
    uplink = _uplink(config, identity, delivered, refused)
    engine = DeliveryEngine(
        identity.node_id,
        identity.name,
        mesh,
        stores.journal,
        stores.blobs,
        lambda cid, holders, timeout, size: stores.exchange.fetch(cid, holders, timeout=timeout, size=size),
        steps,
        kinds=kinds,
        check=programs.all.policy.check,
        show=lambda event: publish_event(mesh.publish_log, event),
        definition_changed=lambda _name: changed.send(),
    )
    images, blobs = programs.docker.images, stores.blobs
    offers = ImageOffers(images, blobs, mesh, engine.definitions)
    blobs.needs.add(offers)
    fetches = ImageFetches(images, blobs, stores.exchange, mesh, engine.definitions, config.docker.largest_image)
    gpu = GpuUse(engine.definitions)
    sources = SourceSteps(engine, mesh, changed.listen())
    return Delivery(sources, engine, log_store, Reader(log_store), gpu, uplink, offers, fetches)


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


# -- health -----------------------------------------------------------------------------------------------------------


def _checks(
    config: Config,
    health: HealthRegistry,
    mesh: Mesh,
    labels: SignedLabels,
    admission: Admission,
    stores: Stores,
    programs: Programs,
    delivery: Delivery,
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
        sources=delivery.sources.runners,
        blobs=stores.blobs,
        cameras=programs.cameras,
        docker=programs.docker,
        gpu=delivery.gpu,
        uplink=delivery.uplink,
        images=delivery.fetches,
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
