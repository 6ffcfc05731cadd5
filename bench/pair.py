"""Two whole agents: one in this process, so that its work can be timed from within, one in a separate process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from agent.config import load_config
from agent.errors import EdgeError
from agent.identity import IdentityStore
from agent.node import SWITCH_INTERVAL, Node, build_node, run_node
from bench.agents import Agents
from demo.environment import HOST, free_ports

MEET = 60.0


class Pair:
    """`near` runs in this process and is the operator of the mesh; `far` is the id of the other node."""

    def __init__(self, near: Node, others: Agents) -> None:
        self.near = near
        self.others = others
        self.far = ""

    async def meet(self) -> None:
        """Let `far` join, and wait until both are linked."""
        token = self.others.folder / "token"
        token.write_text(self.near.admission.join_line(labels={"far": "true"}).split()[-1])
        token.chmod(0o600)
        await asyncio.to_thread(self.others.start, "far", labels={"far": "true"}, token=token)
        status = await asyncio.to_thread(self.others.status, "far")
        assert status is not None
        self.far = status["node"]["id"]
        async with asyncio.timeout(MEET):
            while not any(n.labels.get("far") for n in self.near.mesh.live()):
                await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def pair() -> AsyncIterator[Pair]:
    """Both agents, linked; must be entered from the main thread."""
    sys.setswitchinterval(SWITCH_INTERVAL)
    with tempfile.TemporaryDirectory(prefix="edge-bench-") as temporary:
        folder = Path(temporary)
        near = make(folder / "near")
        others = Agents(folder)
        life = asyncio.create_task(run_node(near))
        try:
            async with asyncio.timeout(MEET):
                await near.mesh.ready.wait()
            made = Pair(near, others)
            await made.meet()
            yield made
        finally:
            await asyncio.to_thread(others.stop)
            life.cancel()
            with contextlib.suppress(asyncio.CancelledError, EdgeError):
                await life


def make(folder: Path) -> Node:
    """A new agent, the first of a mesh."""
    os.umask(0o077)
    state = folder / "state"
    state.mkdir(parents=True)
    port, enrol_port = free_ports(2)
    settings = {
        "mesh.listen": HOST,
        "mesh.port": port,
        "mesh.enrol_port": enrol_port,
        "mesh.mdns": False,
        "policy.docker": False,
    }
    config = load_config(None, {}, {"name": "near", "state": state, "run": folder / "agent.sock", **settings})
    identity = IdentityStore(state / "identity").create_mesh("near")
    return build_node(config, identity, wanted={})
