"""Helpers that several resources share."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Protocol

from agent.api import results
from agent.errors import Refused
from agent.identity import AdmissionDesk
from agent.mesh import Mesh
from agent.model.node import ROLE_OPERATOR, NodeRecord
from agent.model.task import StepLog, Stream


class Wish(Protocol):
    """Labels that a node asks for; an operator confirms them by `code`. `since` is RFC 3339."""

    code: str
    node: str
    labels: dict[str, str]
    since: str


class SignedLabels(Protocol):
    """The labels that operators signed; each change raises Refused on a node that is not an operator."""

    @property
    def wishes(self) -> Mapping[str, Wish]: ...
    def signed(self, node_id: str) -> dict[str, str]: ...
    def names(self) -> dict[str, str]: ...
    async def sign(self, node_id: str, labels: dict[str, str], name: str = "") -> dict[str, str]: ...
    async def change(self, node_id: str, add: dict[str, str], drop: list[str]) -> dict[str, str]: ...
    async def want(self, wanted: dict[str, str]) -> None: ...


class ShownLog:
    """A StepLog whose lines are shown with the event that they belong to."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def begin(self) -> StepLog:
        """See StepLog."""
        return self

    def line(self, text: str, /, stream: Stream = "stderr", event: str = "") -> None:
        """See StepLog."""
        self.lines.append(text)


def known(names: Iterable[str]) -> str:
    """A hint that lists the known names."""
    found = ", ".join(sorted(names))
    return f"there is: {found}" if found else "there is none yet"


def record_of(mesh: Mesh, node_id: str) -> NodeRecord | None:
    """The last record of a node."""
    return next((n for n in mesh.known() if n.id == node_id), None)


def name_of(mesh: Mesh, node_id: str) -> str:
    """The name of a node, its id where no record of it is known."""
    record = record_of(mesh, node_id)
    return record.name if record is not None else node_id


def open_desk(desk: AdmissionDesk | None, mesh: Mesh) -> AdmissionDesk:
    """The desk; raises Refused on a node that is not an operator."""
    if desk is None:
        operators = ", ".join(n.name for n in mesh.live() if n.role == ROLE_OPERATOR) or "none is here now"
        raise Refused(
            f"{mesh.me.name} is not an operator", code="not-operator", hint=f"do it on an operator: {operators}"
        )
    return desk


def when(unix: float) -> str:
    """RFC 3339 of a Unix time."""
    return datetime.fromtimestamp(unix, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def certificate(not_after: float) -> results.Certificate:
    """How long a certificate that ends at this Unix time is valid."""
    until = datetime.fromtimestamp(not_after, UTC).isoformat(timespec="seconds")
    return results.Certificate(until, round((not_after - time.time()) / 86400))
