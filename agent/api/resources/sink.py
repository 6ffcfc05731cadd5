"""The sink, and the ledger of the data that left the building."""

from __future__ import annotations

import asyncio
import logging
import time

from agent.api import results
from agent.api.requests import ConnectSink, EgressQuery
from agent.api.resources.common import SignedLabels
from agent.errors import EdgeError
from agent.mesh import Mesh
from agent.model.node import ROLE_OPERATOR
from agent.uplink import Uplink

log = logging.getLogger(__name__)


class Sink:
    """The connection to the sink. `wanted` are the labels that this node asks for."""

    def __init__(self, uplink: Uplink, mesh: Mesh, labels: SignedLabels, wanted: dict[str, str]) -> None:
        self._uplink, self._mesh, self._labels, self._wanted = uplink, mesh, labels, wanted

    def state(self) -> results.UplinkState:
        """The sink of this node or of another node."""
        state = self._uplink.state()
        node = next((n.name for n in self._mesh.live() if n.labels.get("uplink") == "true"), "")
        return results.UplinkState(
            configured=bool(state["configured"] or node),
            connected=state["connected"],
            sink=state["sink"],
            waiting=state["waiting"],
            waiting_bytes=state["waiting_bytes"],
            oldest_s=state["oldest_s"],
            last_error=state["last_error"],
            delivered=state["delivered"],
            refused=state["refused"],
            bytes_up=state["bytes_up"],
            bytes_down=state["bytes_down"],
            node=node,
            last=state["last"],
            error=state["last_error"],
        )

    async def status(self) -> results.UplinkState:
        """As `state`."""
        return self.state()

    async def connect(self, asked: ConnectSink) -> results.ConnectedSink:
        """Test and store the sink on this node, and ask for the label uplink=true; raises SinkError, ConfigError."""
        await self._uplink.connect(asked.url, asked.key, asked.password)
        try:
            await self._labels.want({**self._wanted, "uplink": "true"})
        except EdgeError as e:
            log.warning("the label uplink=true is not signed yet: %s", e.message)
        return results.ConnectedSink(self._uplink.state()["sink"], self._mesh.me.name, True)

    async def disconnect(self) -> results.DisconnectedSink:
        """Forget this node's sink and drop its label `uplink`; raises NotFound where it has no sink."""
        before = self._uplink.state()
        await self._uplink.disconnect()
        me = self._mesh.me
        self._wanted.pop("uplink", None)
        if me.role == ROLE_OPERATOR:
            await self._labels.change(me.id, {}, ["uplink"])
        labelled = "uplink" in self._labels.signed(me.id)
        return results.DisconnectedSink(before["sink"], me.name, before["waiting"], labelled)

    async def egress(self, asked: EgressQuery) -> results.Egress:
        """The newest `limit` rows of the last `since` seconds (0: all) and the sums of all of them."""
        since = time.time() - asked.since if asked.since else 0.0
        rows = await asyncio.to_thread(self._uplink.ledger.rows, since, limit=asked.limit or 10_000)
        totals = await asyncio.to_thread(self._uplink.ledger.totals, since)
        made = [results.EgressRow(r.time, r.kind, r.event_id, r.up, r.down, r.sink) for r in reversed(rows)]
        total = results.EgressTotal(**totals["all"], alerts=totals.get("alert", {}).get("requests", 0))
        return results.Egress(made, total)
