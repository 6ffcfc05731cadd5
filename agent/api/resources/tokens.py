"""Tokens that let new nodes join."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import KW_ONLY, dataclass

from agent.api import results
from agent.api.requests import CreateToken
from agent.api.resources.common import open_desk, when
from agent.identity import AdmissionDesk, Identity, TokenBook
from agent.mesh import Mesh
from agent.model.install_line import InstallLines


@dataclass(frozen=True)
class Tokens:
    """The tokens of this operator. `addresses` gives `host:port` of the enrolment servers."""

    book: TokenBook
    mesh: Mesh
    _: KW_ONLY
    desk: AdmissionDesk | None
    identity: Callable[[], Identity]
    addresses: Callable[[], list[str]]
    install: Callable[[str], Awaitable[InstallLines | None]]
    """The lines that install a device and let it join with this token."""

    async def create(self, asked: CreateToken) -> results.NewToken:
        """A new token, and the line that uses it; raises Refused."""
        open_desk(self.desk, self.mesh)
        uses, role, labels = asked.uses, asked.role, asked.labels
        token = self.book.issue(
            self.identity(), self.addresses(), role=role, labels=labels, uses=uses, lifetime=asked.ttl
        )
        text = token.encode()
        line = f"edge-agent serve --join {text}"
        install = await self.install(text)
        return results.NewToken(token.id, text, when(token.expires), uses, role, labels, line, install)

    async def all(self) -> list[results.ListedToken]:
        """All tokens without their secrets, the newest first."""
        return [
            results.ListedToken(
                id=r.id,
                role=r.role,
                labels=r.labels,
                expires=when(r.expires),
                uses=r.uses,
                left=max(0, r.uses - len(r.redeemed)),
                created=when(r.created),
                state=r.state,
            )
            for r in self.book.list()
        ]

    async def revoke(self, ident: str) -> results.Id:
        """End a token; nodes that joined with it stay. Raises NotFound."""
        return results.Id(self.book.revoke(ident).id)
