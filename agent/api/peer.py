"""The process at the other end of the unix socket, and its rights.

Source: unix(7), SO_PEERCRED: pid, uid and gid of the process that called connect(2), filled in by the kernel.
"""

from __future__ import annotations

import asyncio
import grp
import os
import pwd
import socket
import struct

import msgspec

from agent.api.light_uvicorn import H11Protocol

_CREDENTIALS = struct.Struct("3i")


class Peer(msgspec.Struct, frozen=True):
    """A local process that talks to the agent."""

    pid: int
    uid: int
    gid: int

    def may_change(self, group: str) -> bool:
        """Whether it may sign and change things: root, the agent's own user, or a member of the operators'
        group."""
        if self.uid in (0, os.geteuid()):
            return True
        try:
            wanted = grp.getgrnam(group).gr_gid
            user = pwd.getpwuid(self.uid).pw_name
        except KeyError:
            return False
        return wanted in os.getgrouplist(user, self.gid)


def peer_of(sock: socket.socket) -> Peer:
    """The process behind a connected unix socket."""
    return Peer(*_CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)))


class PeerProtocol(H11Protocol):
    """uvicorn's protocol, with the connection's peer in each request's `state["peer"]`.

    `app_state` is copied into the scope of every request of this connection, so the
    connection's peer reaches the handlers without a global table.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.app_state = {**self.app_state, "peer": peer_of(transport.get_extra_info("socket"))}
        super().connection_made(transport)
