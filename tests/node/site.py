"""Whole agents in this process, on loopback and without mDNS: everything real but a Docker engine."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from agent.config import Config, load_config
from agent.identity import IdentityStore
from agent.model.step_kind import Kinds
from agent.node import Node, build_node, run_node
from agent.steps import KINDS
from tests.mesh.building import free_port
from tests.support import eventually

NO_DOCKER = "tcp://127.0.0.1:1"


class Site:
    """`hall` is the operator; other nodes have certificates that it issued."""

    def __init__(self, folder: Path, kinds: Kinds = KINDS) -> None:
        self.folder = folder
        self.kinds = kinds
        self.operator = IdentityStore(folder / "hall" / "identity").create_mesh("hall")
        self.ports: dict[str, tuple[int, int]] = {}
        self.running: dict[str, tuple[Node, asyncio.Task[None]]] = {}

    def config(self, name: str, **overrides: Any) -> Config:
        mesh, enrol = self.ports.setdefault(name, (free_port(), free_port()))
        fields: dict[str, Any] = {
            "name": name, "state": str(self.folder / name), "run": str(self.folder / f"{name}.sock"), "mesh.listen": "127.0.0.1",
            "mesh.port": mesh, "mesh.enrol_port": enrol, "mesh.mdns": False, "docker.host": NO_DOCKER, "uplink.status": False,
        }  # fmt: skip
        if name != "hall" and "hall" in self.ports:
            fields["mesh.join"] = [f"127.0.0.1:{self.ports['hall'][0]}"]
        return load_config(None, {}, {**fields, **overrides})

    def identity(self, name: str) -> Any:
        store = IdentityStore(self.folder / name / "identity")
        if (known := store.load()) is not None:
            return known
        key = store.pending_key()
        certificate = self.operator.issue(key.public_key(), role="member", name=name)
        return store.adopt(key, certificate, self.operator.ca_der, name)

    def node(self, name: str, *, labels: dict[str, str] | None = None, **overrides: Any) -> Node:
        """A node that does not run yet."""
        return build_node(self.config(name, **overrides), self.identity(name), wanted=labels or {}, kinds=self.kinds)

    async def start(self, name: str, **options: Any) -> Node:
        return await self.run(name, self.node(name, **options))

    async def run(self, name: str, made: Node) -> Node:
        """Run a node until the others see it."""
        task = asyncio.create_task(run_node(made))
        self.running[name] = (made, task)
        await eventually(lambda: made.mesh.ready.is_set() or task.done(), 20)
        if task.done():
            task.result()
        everybody = {a.mesh.me.id for a, _ in self.running.values()}
        await eventually(lambda: all(everybody <= {n.id for n in a.mesh.live()} for a, _ in self.running.values()), 30)
        return made

    async def stop(self, name: str) -> None:
        _, task = self.running.pop(name)
        task.cancel()
        await asyncio.wait({task})
        error = None if task.cancelled() else task.exception()
        if error is not None and getattr(cause(error), "code", "") != "identity.removed":
            raise error

    async def close(self) -> None:
        for name in list(self.running):
            await self.stop(name)


def cause(error: BaseException) -> BaseException:
    """The first error in nested groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
