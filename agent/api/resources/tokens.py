"""Tokens that let new nodes join."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from agent.api import results
from agent.api.resources.common import open_desk, when
from agent.errors import ConfigError
from agent.identity import AdmissionDesk, Identity, TokenBook
from agent.mesh import Mesh
from agent.model.node import ROLE_MEMBER, ROLE_OPERATOR


class Tokens:
    """The tokens of this operator. `addresses` gives `host:port` of the enrolment servers."""

    def __init__(
        self,
        book: TokenBook,
        mesh: Mesh,
        *,
        desk: AdmissionDesk | None,
        identity: Callable[[], Identity],
        addresses: Callable[[], list[str]],
    ) -> None:
        self._book, self._mesh, self._desk = book, mesh, desk
        self._identity, self._addresses = identity, addresses

    async def create(self, *, ttl: float, uses: int, role: str, labels: Mapping[str, str]) -> results.NewToken:
        """A new token for `ttl` seconds, and the line that uses it; raises Refused, ConfigError."""
        open_desk(self._desk, self._mesh)
        if role not in (ROLE_MEMBER, ROLE_OPERATOR):
            raise ConfigError(f"{role!r} is no role", hint="member or operator")
        token = self._book.issue(self._identity(), self._addresses(), role=role, labels=labels, uses=uses, lifetime=ttl)
        text = token.encode()
        return results.NewToken(
            token.id, text, when(token.expires), uses, role, dict(labels), f"edge-agent serve --join {text}"
        )

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
            for r in self._book.list()
        ]

    async def revoke(self, ident: str) -> results.Id:
        """End a token; nodes that joined with it stay. Raises NotFound."""
        return results.Id(self._book.revoke(ident).id)
