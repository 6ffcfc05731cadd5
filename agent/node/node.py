"""One node as the record of its parts."""

from __future__ import annotations

from dataclasses import dataclass

from agent.api import Resources
from agent.blobs import BlobExchange, BlobStore, ByHand
from agent.cameras import CameraBook
from agent.config import Config
from agent.delivery import DeliveryEngine, Journal
from agent.discovery import Discovery
from agent.executors import DockerExecutor, Executors, ProcessExecutor, WasmExecutor
from agent.health import HealthRegistry
from agent.logs import LogStore, Reader
from agent.mesh import Mesh
from agent.node.admission import Admission
from agent.node.applied_documents import AppliedDocuments
from agent.node.capacity import CapacityMeter
from agent.node.change_signal import ChangeSignal
from agent.node.fresh import FreshBlobs
from agent.node.gpu_use import GpuUse
from agent.node.handing_out import HandingOut
from agent.node.image_fetches import ImageFetches
from agent.node.image_offers import ImageOffers
from agent.node.removal import Removal
from agent.node.self_checks import SelfChecks
from agent.node.signed_labels import SignedLabels
from agent.node.source_steps import SourceSteps
from agent.node.upgrades import HandedOut, Upgrades
from agent.node.warm_programs import WarmPrograms
from agent.steps import NodeSteps
from agent.uplink import Uplink


@dataclass(frozen=True)
class Stores:
    """The parts that keep rows and blobs."""

    journal: Journal
    """The rows on this node's disk."""
    blobs: BlobStore
    """The blobs on this node's disk."""
    exchange: BlobExchange
    """Blobs from and for other nodes."""
    added: ByHand
    """The blobs that were added by hand."""
    fresh: FreshBlobs
    """Blobs that no event names yet."""
    handed_out: HandedOut
    """Files of a release for nodes that are upgraded."""


@dataclass(frozen=True)
class Programs:
    """The parts that run programs and take photos."""

    wasm: WasmExecutor
    docker: DockerExecutor
    process: ProcessExecutor
    all: Executors
    cameras: CameraBook


@dataclass(frozen=True)
class Delivery:
    """The parts that events pass, from a line of a log to the sink."""

    sources: SourceSteps
    """Runs the steps that make events."""
    engine: DeliveryEngine[NodeSteps]
    """Delivers events to steps; its `steps` does the work of each kind of step."""
    logs: LogStore
    """The logs of steps."""
    log_reader: Reader
    """Reads them, for this node and for operators."""
    gpu: GpuUse
    """The detectors that have no GPU."""
    uplink: Uplink
    """The way to the sink."""
    offers: ImageOffers
    """Images for nodes that lack them."""
    fetches: ImageFetches
    """Images that this node lacks."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """The parts of one node. `build_node` makes it, `run_node` runs it."""

    config: Config
    """The configuration in force."""
    health: HealthRegistry
    """The warnings that `status` and the sink show."""
    mesh: Mesh
    """Requests, documents and logs between nodes."""
    discovery: Discovery | None
    """Finds other nodes by mDNS; None where the configuration turns it off."""
    labels: SignedLabels
    """The labels that operators signed, and the wishes for others."""
    wanted: dict[str, str]
    """The labels that this node asks for; a label that an operator removes is removed here too."""
    admission: Admission
    """Lets nodes join, and renews this node's certificate; its `identity` is this node's present one."""
    removal: Removal
    upgrades: Upgrades
    """Answers an operator that offers a release."""
    """Ends this node when an operator removed it."""
    stores: Stores
    programs: Programs
    delivery: Delivery
    documents: AppliedDocuments
    """Applies signed documents."""
    meter: CapacityMeter
    """Measures what this node can still take."""
    changed: ChangeSignal
    """Wakes what depends on nodes, pipelines and the configuration."""
    warm_programs: WarmPrograms
    """Starts programs before their first event."""
    self_checks: SelfChecks
    """The health checks."""
    handing_out: HandingOut
    """Hands out packages to new devices."""
    api: Resources
    """The answers to the local API."""
