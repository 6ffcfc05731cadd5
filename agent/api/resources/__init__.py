"""The resources of the local API: one class each, given the parts that it needs."""

from __future__ import annotations

from dataclasses import dataclass

from agent.api.resources.blobs import Blobs
from agent.api.resources.cameras import Cameras
from agent.api.resources.config import Configuration
from agent.api.resources.device_facts import device_facts
from agent.api.resources.devices import Devices
from agent.api.resources.events import Events
from agent.api.resources.images import Images
from agent.api.resources.logs import Logs
from agent.api.resources.network import Network
from agent.api.resources.nodes import Nodes
from agent.api.resources.other_nodes import OtherNodes
from agent.api.resources.photo_steps import PhotoSteps
from agent.api.resources.pipelines import Pipelines
from agent.api.resources.sink import Sink
from agent.api.resources.sources import Sources
from agent.api.resources.status import Status
from agent.api.resources.tokens import Tokens
from agent.api.resources.upgrades import Upgrades

__all__ = [
    "Blobs", "Cameras", "Configuration", "Devices", "Events", "Images", "Logs", "Network", "Nodes", "OtherNodes",
    "PhotoSteps", "Pipelines", "Resources", "Sink", "Sources", "Status", "Tokens", "Upgrades", "device_facts",
]  # fmt: skip


@dataclass(frozen=True)
class Resources:
    """All resources of one node, which answer the requests of the local API."""

    status: Status
    events: Events
    logs: Logs
    config: Configuration
    nodes: Nodes
    network: Network
    tokens: Tokens
    pipelines: Pipelines
    images: Images
    devices: Devices
    sources: Sources
    cameras: Cameras
    blobs: Blobs
    sink: Sink
    upgrades: Upgrades
