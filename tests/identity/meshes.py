"""A real mesh for tests: an operator's state on disk, its desk, and enrolment servers on loopback."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from agent.identity import AdmissionDesk, EnrolmentServer, Identity, IdentityStore, Token, TokenBook, Trust
from agent.identity.enrolment import Relay


class Mesh:
    """An operator with a desk; `joined` lists what the service would be told."""

    def __init__(self, folder: Path, name: str = "hall") -> None:
        self.folder = folder
        self.store = IdentityStore(folder / "identity")
        self.identity = self.store.create_mesh(name)
        self.trust = Trust(self.identity.ca_der)
        self.tokens = TokenBook(folder / "tokens.json")
        self.joined: list[tuple[str, str, str, dict[str, str]]] = []
        self.names: dict[str, str] = {name: self.identity.node_id}
        self.desk = AdmissionDesk(
            self.identity,
            self.trust,
            self.tokens,
            name_taken=lambda name, node: self.names.get(name, node) != node,
            on_joined=self._on_joined,
            endpoints=lambda: ["192.0.2.1:7946"],
        )

    async def _on_joined(self, node: str, name: str, role: str, labels: dict[str, str]) -> None:
        self.names[name] = node
        self.joined.append((node, name, role, labels))

    def operator_server(self, **options: int) -> EnrolmentServer:
        return EnrolmentServer(self.identity, host="127.0.0.1", port=0, desk=self.desk, **options)

    def member(self, name: str, role: str = "member", life: float = 86400.0) -> tuple[IdentityStore, Identity]:
        """A member whose certificate lasts `life` seconds, without the way through a token."""
        store = IdentityStore(self.folder / name)
        key = store.pending_key()
        cert = self.identity.issue(key.public_key(), role=role, name=name, life=life)
        return store, store.adopt(key, cert, self.identity.ca_der, name)

    def member_server(self, name: str, relay: Relay | None) -> EnrolmentServer:
        known = {self.identity.node_id: self.identity.cert_der}
        _, identity = self.member(name)
        return EnrolmentServer(identity, host="127.0.0.1", port=0, relay=relay, certificate_of=known.get)

    def token(self, *servers: EnrolmentServer | str, **options: object) -> Token:
        addresses = [s if isinstance(s, str) else address(s) for s in servers]
        return self.tokens.issue(self.identity, addresses, **options)  # type: ignore[arg-type]


def address(server: EnrolmentServer) -> str:
    return f"127.0.0.1:{server.port}"


@contextlib.asynccontextmanager
async def serving(*servers: EnrolmentServer) -> AsyncIterator[None]:
    """Run the servers; leaving cancels them."""
    tasks = [asyncio.create_task(s.run()) for s in servers]
    try:
        for server, task in zip(servers, tasks, strict=True):
            ready = asyncio.create_task(server.ready.wait())
            await asyncio.wait({ready, task}, return_when=asyncio.FIRST_COMPLETED)
            ready.cancel()
            if task.done():
                task.result()
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
