"""Signed documents that change what this node does: pipelines, devices, the end of learning, senders of logs, labels."""

from __future__ import annotations

import logging

import msgspec

from agent.definitions import Definitions
from agent.mesh import Document, Mesh
from agent.model.decoding import DAMAGED
from agent.model.documents import DEVICE, LABEL, LEARNING, PIPELINE, SENDER
from agent.sources import Decisions
from agent.steps import DeviceInfo, DeviceRecords

log = logging.getLogger(__name__)


class AppliedDocuments:
    """Applies documents as they come into force."""

    def __init__(self, mesh: Mesh, definitions: Definitions, devices: DeviceRecords, senders: Decisions) -> None:
        self._mesh = mesh
        self._definitions = definitions
        self._devices = devices
        self._senders = senders
        mesh.documents.on_change(self.apply)

    def load(self) -> None:
        """Apply the documents that are on the disk."""
        for kind in (PIPELINE, DEVICE, LEARNING, SENDER):
            for document in self._mesh.documents.list(kind):
                self.apply(document)
        self._devices.learning.load()

    def apply(self, document: Document) -> None:
        """Apply one document; a document that this version cannot read is logged and changes nothing."""
        body = None if document.removed else document.body
        try:
            if document.kind == PIPELINE:
                self._definitions.apply(document.name, body, (document.counter, document.signer))
            elif document.kind == DEVICE:
                if body is None:
                    self._devices.devices.pop(document.name, None)
                else:
                    self._devices.devices[document.name] = msgspec.json.decode(body, type=DeviceInfo)
            elif document.kind == SENDER:
                self._senders.apply(document.name, body)
            elif document.kind == LEARNING:
                stopped = self._devices.learning.stopped
                stopped.discard(document.name) if body is None else stopped.add(document.name)
            elif document.kind == LABEL:
                self._mesh.reconsider(document.name)
        except DAMAGED as e:
            log.warning("the %s document %s is not readable by this version: %s", document.kind, document.name, e)
