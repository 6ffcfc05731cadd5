"""One node as the record of its parts."""

from __future__ import annotations

from dataclasses import dataclass

from agent.api import Resources
from agent.blobs import BlobExchange, BlobStore, ByHand
from agent.cameras import CameraBook
from agent.config import Config
from agent.delivery import DeliveryEngine, Journal
from agent.discovery import Discovery
from agent.executors import DockerExecutor, ProcessExecutor, WasmExecutor
from agent.health import HealthRegistry
from agent.mesh import Mesh
from agent.node.admission import Admission
from agent.node.applied_documents import AppliedDocuments
from agent.node.fresh import FreshBlobs
from agent.node.self_checks import SelfChecks
from agent.node.signed_labels import SignedLabels
from agent.node.step_logs import StepLogs
from agent.node.tail_steps import TailSteps
from agent.node.warm_programs import WarmPrograms
from agent.steps import StepKinds
from agent.uplink import Uplink


@dataclass(frozen=True, kw_only=True)
class Node:
    """The parts of one node. `build_node` makes it, `run_node` runs it."""

    config: Config
    """The configuration in force."""
    health: HealthRegistry
    """The warnings that `status` and the sink show."""

    mesh: Mesh
    """Requests, documents and logs between nodes."""
    labels: SignedLabels
    """The labels that operators signed, and the wishes for others."""
    wanted: dict[str, str]
    """The labels that this node asks for; whoever takes a label from it takes it out of here."""
    discovery: Discovery | None
    """Finds other nodes by mDNS; None where the configuration turns it off."""

    blobs: BlobStore
    """The blobs on this node's disk."""
    exchange: BlobExchange
    """Blobs from and for other nodes."""
    added: ByHand
    """The blobs that were added by hand."""
    fresh: FreshBlobs
    """Blobs that no event names yet."""
    journal: Journal
    """The rows on this node's disk."""

    wasm: WasmExecutor
    """Runs WASM modules."""
    docker: DockerExecutor
    """Runs containers."""
    process: ProcessExecutor
    """Runs executables of this host."""
    cameras: CameraBook
    """This node's cameras."""
    uplink: Uplink
    """The way to the sink."""

    delivery: DeliveryEngine[StepKinds]
    """Delivers events to steps; its `steps` does the work of each kind of step."""
    documents: AppliedDocuments
    """Applies signed documents."""
    step_logs: StepLogs
    """Log lines of the programs of steps."""
    tail_steps: TailSteps
    """The logs that this node reads."""
    warm_programs: WarmPrograms
    """Starts programs before their first event."""
    self_checks: SelfChecks
    """The health checks."""

    admission: Admission
    """Lets nodes join, and renews this node's certificate; its `identity` is this node's present one."""
    api: Resources
    """The answers to the local API."""
