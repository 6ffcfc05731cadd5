"""Upgrades of nodes by the release that this operator hands out: one node at a time, each to its end."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec

from agent.api import results
from agent.api.requests import Upgrade
from agent.blobs import BlobStore
from agent.errors import EdgeError, NotFound, Refused, Unreachable
from agent.mesh import Mesh
from agent.model.node import ROLE_OPERATOR, NodeRecord
from agent.release import (
    OFFER,
    STAGE,
    START,
    STATE,
    Library,
    Manifest,
    Offer,
    Progress,
    Stage,
    Start,
    Wanted,
    decode,
)  # fmt: skip

log = logging.getLogger(__name__)

LOOK = 0.5
"""Seconds between two questions to a node that is upgraded."""
ANSWER = 30.0
"""Seconds that a node has for an answer: a slow one checks signatures and starts to write."""
FETCH = 1800.0


class Readers(Protocol):
    """The files that other nodes may read."""

    def add(self, cid: str, node: str) -> None: ...
    def clear(self) -> set[str]: ...


class Upgrades:
    """The release here, and the upgrades of this run of the agent."""

    def __init__(
        self,
        mesh: Mesh,
        blobs: BlobStore,
        library: Library,
        readers: Readers,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._mesh, self._blobs, self._library, self._readers, self._clock = mesh, blobs, library, readers, clock
        self._states: dict[str, results.UpgradeState] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def release(self) -> results.ReleaseState:
        """The release that this node hands out, and each node's version; raises NotFound without one."""
        _, _, manifest = await asyncio.to_thread(self._library.release)
        nodes = sorted(self._mesh.live(), key=lambda n: (n.role == ROLE_OPERATOR, n.id == self._mesh.me.id, n.name))
        return results.ReleaseState(
            version=manifest.version,
            channel=manifest.channel,
            protocol=manifest.protocol,
            released=manifest.released,
            nodes=[results.NodeVersion(n.name, n.id, n.version, n.version == manifest.version) for n in nodes],
        )

    async def begin(self, node: str, asked: Upgrade) -> results.UpgradeState:
        """Begin the upgrade of a node; raises Refused on a node that is no operator, NotFound, Unreachable."""
        if self._mesh.me.role != ROLE_OPERATOR:
            raise Refused(f"{self._mesh.me.name} is not an operator", hint="run it on an operator", code="not-operator")
        record = self._mesh.node(node)
        if not self._mesh.is_live(record.id) and record.id != self._mesh.me.id:
            raise Unreachable(f"{record.name} is gone", hint="upgrade it when it is back", code="unreachable")
        busy = next((n for n, t in self._tasks.items() if not t.done()), None)
        if busy is not None:
            raise Refused(
                f"{self._states[busy].node} is being upgraded",
                hint="one node at a time: wait for it",
                code="upgrade.busy",
            )
        raw, signature, manifest = await asyncio.to_thread(self._library.release)
        self._set(record, "offered", manifest.version)
        task = asyncio.create_task(
            self._upgrade(record, raw, signature, manifest, asked.wait), name=f"upgrade {record.name}"
        )
        self._tasks[record.id] = task
        return self._states[record.id]

    async def state(self, node: str) -> results.UpgradeState:
        """How far the upgrade of a node is; raises NotFound.

        After the restart of this operator, its own state is the result that its installation left.
        """
        record = self._mesh.node(node)
        if record.id in self._states:
            return self._states[record.id]
        if record.id != self._mesh.me.id:
            raise NotFound(f"no upgrade of {record.name} was begun here", hint="edge-agent upgrade begins one")
        found = decode(await self._mesh.call(record.id, STATE, b""), Progress)
        return results.UpgradeState(
            record.name, record.id, found.state, found.version, record.version, found.text, found.done, found.size
        )

    # -- one node -----------------------------------------------------------------------------------------------------

    def _set(self, node: NodeRecord, state: str, version: str, text: str = "", found: Progress | None = None) -> None:
        done, size = (found.done, found.size) if found is not None else (0, 0)
        running = self._version(node.id) or node.version
        self._states[node.id] = results.UpgradeState(node.name, node.id, state, version, running, text, done, size)

    def _version(self, node_id: str) -> str:
        return next((n.version for n in self._mesh.live() if n.id == node_id), "")

    async def _upgrade(self, node: NodeRecord, raw: bytes, signature: bytes, manifest: Manifest, wait: float) -> None:
        try:
            offer = msgspec.msgpack.encode(Offer(raw, signature))
            wanted = decode(await self._mesh.call(node.id, OFFER, offer, timeout=ANSWER), Wanted)
            if not wanted.files:
                self._set(node, "done", manifest.version, "it runs this version already")
                return
            cids = {name: await self._hand_out(name, node.id) for name in wanted.files}
            stage = msgspec.msgpack.encode(Stage(manifest.version, cids))
            await self._mesh.call(node.id, STAGE, stage, timeout=ANSWER)
            await self._until_staged(node, manifest.version)
            start = msgspec.msgpack.encode(Start(manifest.version))
            began = decode(await self._mesh.call(node.id, START, start, timeout=ANSWER), Progress)
            self._set(node, "installing", manifest.version)
            await self._until_back(node, manifest.version, began.request, wait)
        except EdgeError as e:
            self._set(node, "failed", manifest.version, e.message)
            self._states[node.id].hint = e.hint
        except OSError as e:
            self._set(node, "failed", manifest.version, str(e))
        finally:
            await self._blobs.release(self._readers.clear())

    async def _hand_out(self, name: str, node: str) -> str:
        path: Path = await asyncio.to_thread(self._library.file, name)
        with path.open("rb") as file:
            cid, _ = await self._blobs.put_fd(file.fileno(), limit=1 << 31, owner="upgrade.offered")
        self._readers.add(cid, node)
        self._blobs.unpin("upgrade.offered")
        return cid

    async def _until_staged(self, node: NodeRecord, version: str) -> None:
        end = self._clock() + FETCH
        while True:
            found = decode(await self._mesh.call(node.id, STATE, b"", timeout=ANSWER), Progress)
            self._set(node, found.state, version, found.text, found)
            if found.state == "staged":
                return
            if found.state == "failed" or self._clock() > end:
                raise Unreachable(
                    f"{node.name} could not fetch the release: {found.text or 'it took too long'}",
                    hint="see the disk and the link of that node",
                    code="upgrade.fetch",
                )
            await asyncio.sleep(LOOK)

    async def _until_back(self, node: NodeRecord, version: str, request: str, wait: float) -> None:
        """Wait until the node runs the version in the mesh, or says that it went back."""
        end = self._clock() + wait
        while self._clock() < end:
            await asyncio.sleep(LOOK)
            try:
                found = decode(await self._mesh.call(node.id, STATE, b"", timeout=5.0), Progress)
            except EdgeError as e:  # it restarts
                log.debug("%s does not answer now: %s", node.name, e.message)
                continue
            if found.request != request or found.state not in ("done", "failed"):
                continue
            if found.state == "failed":
                raise Refused(
                    f"{node.name} went back: {found.text}",
                    hint="its log and the installer's say more",
                    code="upgrade.back",
                )
            if self._version(node.id) == version:
                self._set(node, "done", version, found.text)
                return
        raise Unreachable(
            f"{node.name} did not come back into the mesh with version {version} in {wait:.0f} s",
            hint=f"look at that machine: edge-agent doctor; {node.name} goes back by itself where the new version does not work",
            code="upgrade.lost",
        )
