"""The summary of the mesh's state that the sink shows."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import msgspec

from agent.errors import EdgeError
from agent.health import HealthRegistry
from agent.identity import Identity
from agent.mesh import Mesh
from agent.model.alert import StatusSummary
from agent.model.event import now
from agent.model.health import SEVERITIES, Warning
from agent.uplink import Uplink

log = logging.getLogger(__name__)


MAX_WARNINGS, MAX_NODES, MAX_TEXT = 200, 1000, 1000
"""Most warnings and nodes that a sink takes, and the longest text in characters (cloud_sink/ingest/check.py)."""


class SummarySender:
    """Sends the summary to the sink when it changes, and every `every` seconds where it does not, or sooner if the sink
    asks for it.
    """

    def __init__(
        self, uplink: Uplink, mesh: Mesh, health: HealthRegistry, identity: Callable[[], Identity], every: float
    ) -> None:
        self._uplink, self._mesh, self._health = uplink, mesh, health
        self._identity, self._every = identity, every
        self._sent: tuple[float, object] = (0.0, None)

    async def send(self) -> None:
        """Send it if it is due and this node has a sink; an error of the uplink is logged."""
        if not self._uplink.configured:
            return
        nodes = [
            {"name": n.name, "alive": "yes" if self._mesh.is_live(n.id) else "no", "version": _fitting(n.version)}
            for n in self._mesh.known()[:MAX_NODES]
        ]
        warnings = self.warnings()
        # Of another node a warning's text is its code and count; the texts of this node change with every number in them.
        state = (nodes, [(w.code, w.subject, w.node, w.text if w.node else "") for w in warnings])
        at, sent = self._sent
        every = min(self._every, self._uplink.asked_every or self._every)
        if state == sent and time.monotonic() - at < every:
            return
        self._sent = (time.monotonic(), state)
        me = self._identity()
        try:
            await self._uplink.send_status(
                StatusSummary(
                    mesh=me.mesh_id,
                    node=me.name,
                    time=now(),
                    nodes=nodes,
                    warnings=warnings,
                    every=max(1, round(every)),
                )
            )
        except EdgeError as e:
            log.debug("the summary was not sent: %s", e)

    def warnings(self) -> list[Warning]:
        """The warnings of this node, and those of the others as codes; as many as a sink takes."""
        return [_fitted(w) for w in [*self._health.list(), *self._of_others()][:MAX_WARNINGS]]

    def _of_others(self) -> list[Warning]:
        """The warnings that the other live nodes announce, as codes and counts."""
        made = []
        for node in self._mesh.live()[1:]:
            for c in node.health:
                text = f"{node.name}: {c.code}" + (f" ({c.count} times)" if c.count > 1 else "")
                remedy = f"on an operator: edge-agent status --node {node.name}"
                made.append(Warning(c.code, node.name, text, remedy, c.severity, node.name))
        return sorted(made, key=lambda w: (SEVERITIES.index(w.severity), w.node, w.code))


def _fitted(w: Warning) -> Warning:
    """The warning as a sink takes it: the error of a step may be longer, and one such text would hide the state of the building."""
    texts = {k: _fitting(getattr(w, k)) for k in ("code", "subject", "text", "remedy")}
    return msgspec.structs.replace(w, **texts)


def _fitting(text: str) -> str:
    plain = text.replace("\0", "")
    return plain if len(plain) <= MAX_TEXT else plain[: MAX_TEXT - 1] + "…"
