"""The switch to a renewed certificate: at the enrolment server, then in the mesh."""

from __future__ import annotations

import asyncio

from agent.identity import EnrolmentServer, Identity
from agent.mesh import Mesh


class RenewedCertificate:
    """Reopens the mesh session with each renewed certificate.

    It does so apart from the renewal: the answer to a request to renew leaves by the session that closes here.
    """

    def __init__(self, mesh: Mesh, enrolment: EnrolmentServer) -> None:
        self._mesh, self._enrolment = mesh, enrolment
        self._unused: Identity | None = None
        self._some = asyncio.Event()

    def renewed(self, identity: Identity) -> None:
        """Use this identity from now on."""
        self._enrolment.update(identity)
        self._unused = identity
        self._some.set()

    @property
    def in_use(self) -> bool:
        """Whether the mesh uses the newest certificate."""
        return self._unused is None

    async def run(self) -> None:
        """Use renewed certificates until cancelled; after a failure the next run uses the certificate."""
        while True:
            await self._some.wait()
            if (identity := self._unused) is not None:
                await self._mesh.use(identity)
            if identity is self._unused:
                self._unused = None
                self._some.clear()
