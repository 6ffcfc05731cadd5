"""The parts that keep events and blobs, run programs, and deliver events; each group is built together."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from agent.blobs import BlobExchange, BlobStore, ByHand
from agent.cameras import CameraBook
from agent.config import Config, blob_quota
from agent.delivery import Context, Deciders, DeliveryEngine, Journal
from agent.executors import DockerExecutor, Executors, Policy, ProcessExecutor, WasmExecutor
from agent.identity import Identity
from agent.mesh import Mesh
from agent.model.alert import Hello
from agent.model.node import ROLE_OPERATOR
from agent.model.task import FilterRunner, WasmTask
from agent.node.camera_access import BookCameras
from agent.node.change_signal import ChangeSignal
from agent.node.configured import cameras_file, journal_file
from agent.node.event_feed import publish_event
from agent.node.fresh import FreshBlobs
from agent.node.gpu_use import GpuUse
from agent.node.step_logs import StepLogs
from agent.node.tail_steps import TailSteps
from agent.steps import Presence, StepKinds
from agent.uplink import Uplink, UplinkSettings


class Stores(NamedTuple):
    """The parts that keep rows and blobs on the disk."""

    blobs: BlobStore
    exchange: BlobExchange
    added: ByHand
    journal: Journal
    fresh: FreshBlobs


def build_stores(config: Config, mesh: Mesh) -> Stores:
    """Open the stores; raises EdgeError where the disk does not allow it."""

    def may_read(node_id: str, cid: str) -> bool:
        operator = any(n.id == node_id and n.role == ROLE_OPERATOR for n in mesh.live())
        return operator or blobs.needs.may_read(node_id, cid)

    blobs = BlobStore(config.state / "blobs", blob_quota(config.blobs.quota, config.state))
    added = ByHand(config.state / "added-blobs")
    blobs.needs.add(added)
    journal = Journal(journal_file(config), max_open=config.journal.max_open)
    return Stores(blobs, BlobExchange(blobs, mesh.call, may_read), added, journal, FreshBlobs(blobs, journal))


class Programs(NamedTuple):
    """The parts that run programs and take photos."""

    wasm: WasmExecutor
    docker: DockerExecutor
    process: ProcessExecutor
    cameras: CameraBook


def build_programs(config: Config, node_id: str) -> Programs:
    """The executors and the cameras."""
    scratch = config.state / "scratch"
    return Programs(
        WasmExecutor(config.state / "cache" / "wasm", scratch / "wasm"),
        DockerExecutor(node_id, scratch / "docker", host=config.docker.host),
        ProcessExecutor(scratch / "process"),
        CameraBook(cameras_file(config)),
    )


class Delivery(NamedTuple):
    """The delivery engine, and the parts that it calls and that call it."""

    engine: DeliveryEngine[StepKinds]
    uplink: Uplink
    logs: StepLogs
    gpu: GpuUse
    log_to: Callable[[str, str, str], None]
    """Gets pipeline, step and each line that a program of a step logs."""


def build_delivery(
    config: Config, identity: Identity, mesh: Mesh, stores: Stores, programs: Programs, changed: ChangeSignal
) -> Delivery:
    """The delivery engine and its neighbours. The functions here are what they call of each other."""

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
            executors=Executors(
                programs.wasm, programs.docker, programs.process, Policy.of(config.policy), stores.fresh
            ),
            cameras=BookCameras(programs.cameras) if config.policy.camera else None,
            presence=Presence(deciders),
            path_of=stores.blobs.path,
            writer=stores.fresh,
            submit=uplink.submit,
            log_to=log_to,
        )

    logs = StepLogs(mesh.publish_log)
    uplink = _uplink(config, identity, delivered, refused)
    engine = DeliveryEngine(
        identity.node_id,
        identity.name,
        mesh,
        stores.journal,
        stores.blobs,
        lambda cid, holders, timeout, size: stores.exchange.fetch(cid, holders, timeout=timeout, size=size),
        steps,
        allowed={kind: getattr(config.policy, kind) for kind in ("wasm", "docker", "process", "camera")},
        show=lambda event: publish_event(mesh.publish_log, event),
        definition_changed=lambda _name: changed.send(),
    )
    gpu = GpuUse(engine.definitions)
    return Delivery(engine, uplink, logs, gpu, log_to)


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


def build_tails(
    config: Config, mesh: Mesh, wasm: WasmExecutor, delivery: Delivery, changed: ChangeSignal, *, restarted_at: float
) -> TailSteps:
    """The tail steps; `restarted_at` is as for TailSteps."""

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
