"""Signed documents that change what this node does: pipelines and devices."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import msgspec

from agent.mesh.documents import Document
from agent.model.decoding import DAMAGED
from agent.model.documents import DEVICE, LABEL, PIPELINE
from agent.steps import DeviceInfo

if TYPE_CHECKING:
    from agent.node.agent import Agent

log = logging.getLogger(__name__)


class DocumentReader:
    """Applies documents as they come into force."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        agent.mesh.documents.on_change(self.apply)

    def load(self) -> None:
        """Take up what is on the disk."""
        for kind in (PIPELINE, DEVICE):
            for document in self.agent.mesh.documents.list(kind):
                self.apply(document)

    def apply(self, document: Document) -> None:
        """Do what a document says."""
        body = None if document.removed else document.body
        try:
            if document.kind == PIPELINE:
                self.agent.pipelines.definitions.apply(document.name, body)
            elif document.kind == DEVICE:
                devices = self.agent.presence.devices
                if body is None:
                    devices.pop(document.name, None)
                else:
                    devices[document.name] = msgspec.json.decode(body, type=DeviceInfo)
            elif document.kind == LABEL:
                self.agent.mesh.reconsider(document.name)
        except DAMAGED as e:
            log.warning("the %s document %s is not readable by this version: %s", document.kind, document.name, e)
