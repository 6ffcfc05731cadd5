"""Nodes as the mesh sees them: presence records, cameras, capacity."""

from __future__ import annotations

import msgspec

from agent.model.health import HealthCount

ROLE_OPERATOR = "operator"
ROLE_MEMBER = "member"
MAX_PROGRAMS = 64


class CameraInfo(msgspec.Struct, omit_defaults=True):
    """A camera that a node announces: its name, kind (`v4l2`, `rtsp`, `http`, `file`) and whether it works.

    `ok`: its last use did not fail. `worked`: it has given a picture since it was added and since its node's start;
    nodes of versions before this field do not say so.
    """

    name: str
    kind: str
    ok: bool = True
    worked: bool = True


class Capacity(msgspec.Struct, omit_defaults=True, frozen=True):
    """Free capacity of a node: CPU cores, bytes of memory (0: not known), hundreds of free places in its queue, GPUs.

    `all_gpus` counts the GPUs in use too. `programs` are the running programs that have reserved something, at most
    MAX_PROGRAMS, as `PIPELINE-STEP`.
    """

    cpus: float = 1.0
    memory: int = 0
    free: int = 0
    gpus: int = 0
    all_gpus: int = 0
    programs: list[str] = []


class Reserved(msgspec.Struct, frozen=True):
    """A reservation, or the sum of the reservations of all programs that run on a node: CPU cores, bytes of memory, GPUs."""

    cpus: float = 0.0
    memory: int = 0
    gpus: int = 0


class NodeRecord(msgspec.Struct, omit_defaults=True, kw_only=True):
    """The signed presence record of one node, published on change and every 10 s.

    `labels` holds the reserved labels (node, id, arch) and the labels that an operator signed. `boot` is the
    node's boot epoch: random at each start of the agent, and part of every signature that is meant for this node. `health`
    has the codes of its warnings; their texts are asked for.
    """

    id: str
    name: str
    role: str = ROLE_MEMBER
    labels: dict[str, str] = {}
    capacity: Capacity = Capacity()
    cameras: list[CameraInfo] = []
    version: str = ""
    boot: str = ""
    sequence: int = 0
    endpoints: list[str] = []
    certificate: bytes = b""
    health: list[HealthCount] = []
    protocol: int = 1
