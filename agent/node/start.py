"""The start of a node: with its old identity, by a token, as the first of a new mesh, or after an operator's approval."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from pathlib import Path

import msgspec

from agent.cameras import CameraBook
from agent.config import Config
from agent.discovery import Found, listen_for_meshes
from agent.errors import CannotListen, ConfigError, in_words, listen_hint
from agent.files import read_private, write_private
from agent.identity import Identity, IdentityStore, Joined, clean_name, join, wait_as_pending
from agent.model.decoding import DAMAGED
from agent.model.labels import RESERVED, check_label
from agent.node.configured import cameras_file, mdns_interfaces
from agent.node.removal import removal_of, removed_error, set_aside
from agent.platforms import detect
from agent.service_manager import ServiceManager

log = logging.getLogger(__name__)

LISTEN = 3.0
"""Seconds that a node without state listens for a mesh before it makes one."""
JOIN_TOKEN = "join-token"  # noqa: S105 - the name of a file
"""File in the state folder from which the first start takes its token; an installer writes it."""
MAKE_MESH = "new"
"""Content of that file which makes a new mesh, as `--new` does."""
_MOST = 8192
"""Most bytes of that file; a token with all its addresses and labels has fewer."""
Out = Callable[[str], None]


class Beginning(msgspec.Struct):
    """The result of the start."""

    identity: Identity
    labels: dict[str, str]
    """Labels to ask for: detected labels and those of the configuration."""
    endpoints: list[str] = []
    """`host:port` of nodes of the mesh, as heard when this node joined."""
    made: bool = False
    """Whether this start made the mesh."""


async def begin(
    config: Config, token: str | None, new: bool, out: Out, manager: ServiceManager | None = None
) -> Beginning:
    """The node's identity, from its state or by joining; raises JoinRefused, ConfigError, IdentityError.

    `manager` is told what it waits for. A node that waits for a person is ready: the boot must not wait for it. Without `token`
    and `new` the file `join-token` in the state folder may hold a token. It is deleted when the node is in a mesh.
    """
    stored = config.state / JOIN_TOKEN
    if not token and not new:
        token, new = _stored(stored)
    begun = await _begin(config, token, new, out, manager or ServiceManager())
    stored.unlink(missing_ok=True)
    return begun


async def _begin(config: Config, token: str | None, new: bool, out: Out, manager: ServiceManager) -> Beginning:
    store, remembered = IdentityStore(config.state / "identity"), config.state / "join.json"
    labels, name = wanted_labels(config), clean_name(config.name)
    removed = removal_of(config.state)
    if removed is not None and removed.told and not token and not new:
        raise removed_error(removed)
    if removed is not None and (token or new):
        out(f"removed from the mesh by {removed.by} on {removed.at}; the old identity is in {set_aside(config.state)}")
    identity = store.load()
    if identity is not None:
        if token:
            out("this node is in a mesh already; the token is not used")
        return Beginning(identity, labels, _read(remembered))
    check_ports(config)
    if token:
        manager.status("joins a mesh with a token")
        joined = await join(token, store, name, out, labels=labels)
    else:
        manager.status("listens for a mesh")
        found = [] if new else await _listen(config, out)
        if not found and config.mesh.join and not new:
            raise ConfigError(
                f"an address ({config.mesh.join[0]}) lets no new node in, and no mesh is heard nearby",
                hint="join with edge-agent serve --join TOKEN, or make a mesh with edge-agent serve --new",
                code="join.address",
            )
        if not found:
            return Beginning(store.create_mesh(name), labels, made=True)
        joined = await _wait(found, store, name, labels, out, manager)
    out(f"joined mesh {joined.identity.mesh_id} as {joined.identity.name}")
    write_private(remembered, msgspec.json.encode(joined.endpoints))
    return Beginning(joined.identity, labels, joined.endpoints)


def _stored(file: Path) -> tuple[str | None, bool]:
    """The token of the file and whether it asks for a new mesh; (None, False) where there is no file."""
    text = (read_private(file, limit=_MOST) or b"").decode("ascii", "replace").strip()
    return (None, True) if text == MAKE_MESH else (text or None, False)


def check_ports(config: Config) -> None:
    """Raise CannotListen where a port of this node is not free: before a token is used, or a person asked to admit it."""
    host = config.mesh.listen
    for key, port in (("mesh.port", config.mesh.port), ("mesh.enrol_port", config.mesh.enrol_port)):
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            socket.create_server((host, port), family=family).close()
        except OSError as e:
            text = f"{key}: cannot listen on {host}, port {port}: {in_words(e)}"
            raise CannotListen(text, hint=listen_hint(e.errno or 0, key, "mesh.listen")) from None


async def _listen(config: Config, out: Out) -> list[Found]:
    """Enrolment servers of meshes nearby."""
    out(f"no state in {config.state}; listening {LISTEN:.0f} s for a mesh")
    found = await listen_for_meshes(LISTEN, interfaces=mdns_interfaces(config)) if config.mesh.mdns else []
    if not found and not config.mesh.join:
        out("none heard; making one")
    return found


async def _wait(
    found: list[Found], store: IdentityStore, name: str, labels: dict[str, str], out: Out, manager: ServiceManager
) -> Joined:
    """Wait until an operator of the first mesh admits this node."""
    near = found[0]

    def show(code: str) -> None:
        out(f"code: {code}")
        manager.status(f"waits to be let into mesh {near.mesh}: on an operator, edge-agent node approve {code}")
        manager.ready()

    out(f"mesh {near.mesh} is here ({near.name}); this node waits to be let in (--new makes another mesh)")
    return await wait_as_pending(
        [a for f in found if f.mesh == near.mesh for a in f.enrol_addresses][:8],
        near.mesh,
        store,
        name,
        out,
        on_code=show,
        labels=labels,
    )


def wanted_labels(config: Config) -> dict[str, str]:
    """The labels to ask for: those of the hardware, then those of the configuration; raises ConfigError."""
    found = dict(detect(docker_host=config.docker.host).labels)
    if not config.policy.docker:
        found.pop("docker", None)
    if cameras_file(config).exists() and CameraBook(cameras_file(config)).list():
        found["camera"] = "true"
    wanted = {key: value for key, value in {**found, **config.labels}.items() if key not in RESERVED}
    for key, value in wanted.items():
        check_label(key, value)
    return wanted


def _read(path: Path) -> list[str]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[str])
    except FileNotFoundError:
        return []
    except DAMAGED as e:
        log.warning("%s is damaged; ignoring it: %s", path, e)
        return []
