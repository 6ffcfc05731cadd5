"""A node's announcement by mDNS; only its addresses are used, since nothing proves the rest."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence

import msgspec

SERVICE = "_edge-agent._tcp.local."
MAX_HOSTS = 8

_ID = re.compile(r"[a-z2-7]{20}\Z")
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}\Z")
_VERSION = re.compile(r"[A-Za-z0-9.+-]{0,40}\Z")


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """An announced node. It is unproven: a node that connects to it checks its certificate."""

    mesh: str
    node: str
    name: str
    hosts: tuple[str, ...]
    port: int
    enrol_port: int
    version: str = ""

    @property
    def host(self) -> str:
        """Its first address."""
        return self.hosts[0]

    @property
    def mesh_addresses(self) -> list[str]:
        """`host:port` of its mesh listener, one for each of its addresses."""
        return [join_host(h, self.port) for h in self.hosts]

    @property
    def enrol_addresses(self) -> list[str]:
        """`host:port` of its enrolment server, one for each of its addresses."""
        return [join_host(h, self.enrol_port) for h in self.hosts]


def join_host(host: str, port: int) -> str:
    """`host:port`, with IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def properties(found: Found) -> dict[str, str]:
    """The TXT record: mesh, node, name, port, enrol, version."""
    return {
        "mesh": found.mesh,
        "node": found.node,
        "name": found.name,
        "port": str(found.port),
        "enrol": str(found.enrol_port),
        "version": found.version,
    }


def read(txt: Mapping[bytes, bytes | None], addresses: Sequence[str]) -> Found | None:
    """The node of a TXT record and its addresses; None where they are invalid."""
    try:
        text = {k.decode("ascii"): (v or b"").decode("ascii") for k, v in txt.items() if len(v or b"") <= 64}
        hosts = tuple(str(ipaddress.ip_address(a)) for a in addresses[:MAX_HOSTS] if "%" not in a)
        found = Found(
            mesh=text["mesh"],
            node=text["node"],
            name=text["name"],
            hosts=hosts,
            port=_port(text["port"]),
            enrol_port=_port(text["enrol"]),
            version=text.get("version", ""),
        )
    except (KeyError, ValueError):
        return None
    sound = _ID.match(found.mesh) and _ID.match(found.node) and _NAME.match(found.name)
    return found if sound and _VERSION.match(found.version) and hosts else None


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) < 65536):
        raise ValueError("not a port")
    return int(text)
