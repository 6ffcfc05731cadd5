"""Settings of this node's part in the mesh: addresses, intervals, limits."""

from __future__ import annotations

import msgspec

PORT = 7946
"""The one documented TCP port of the mesh."""


class MeshSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a node's part in the mesh; durations are seconds.

    `listen` is a host address and `port` a fixed TCP port. `advertise` lists the `host:port` (or hosts)
    that other nodes should dial; empty means the addresses of this host's interfaces. `join` lists
    `host:port` of nodes to dial besides the remembered nodes. `lease` is the time after which a silent link
    counts as lost.
    """

    listen: str = "0.0.0.0"  # noqa: S104  the mesh is for the whole building; every link is mutually authenticated
    port: int = PORT
    advertise: list[str] = []
    join: list[str] = []
    version: str = ""
    publish_every: float = 10.0
    stale_after: float = 35.0
    lease: float = 6.0
    redial_min: float = 1.0
    redial_max: float = 60.0
    exchange_every: float = 60.0
    call_rate: float = 4000.0
    calls_at_once: int = 128
