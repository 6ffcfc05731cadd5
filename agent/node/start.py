"""How a node begins: with its old identity, by a token, as the first of a new mesh, or waiting to be let in."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from agent.config import Config
from agent.discovery import listen_for_meshes
from agent.errors import ConfigError, EdgeError
from agent.files import write_private
from agent.identity import Identity, IdentityStore, clean_name, join, wait_as_pending
from agent.mesh.handshakes import watch_handshakes
from agent.model.decoding import DAMAGED
from agent.model.labels import check_label
from agent.node.agent import Agent, cameras_file, interfaces_of
from agent.platforms import detect

log = logging.getLogger(__name__)

LISTEN = 3.0
"""Seconds that a node without state listens for a mesh before it makes one (DESIGN.md, "Making one")."""
SWITCH_INTERVAL = 0.0005
"""A WASM call that returns waits for the interpreter lock; this keeps that wait short beside a busy thread."""
Out = Callable[[str], None]
Api = Callable[[Any], Awaitable[None]]


class Beginning(msgspec.Struct):
    """What the start found out, for the agent."""

    identity: Identity
    labels: dict[str, str]
    """Labels to ask for: detected ones and the configuration's."""
    endpoints: list[str] = []
    made: bool = False
    had_state: bool = True


async def run_agent(
    config: Config, *, join: str | None = None, new: bool = False, out: Out = print, api: Api | None = None
) -> int:
    """Run this node until SIGTERM or SIGINT; returns the exit code. Raises EdgeError for what cannot start at all."""
    sys.setswitchinterval(SWITCH_INTERVAL)
    os.umask(0o077)
    config.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    watch_handshakes()
    with _locked(config.state):
        life = asyncio.create_task(_life(config, join, new, out, api))
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait({life, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        life.cancel()
        try:
            await life
        except asyncio.CancelledError:
            log.info("stopped")
        except BaseExceptionGroup as group:
            first = _first(group)
            if not isinstance(first, EdgeError):
                log.critical("the agent ends by a fault of its own", exc_info=first)
            raise first from group
    return 0


async def _life(config: Config, token: str | None, new: bool, out: Out, api: Api | None) -> None:
    begun = await begin(config, token, new, out)
    agent = Agent(config, begun.identity, wanted=begun.labels, endpoints=begun.endpoints, had_state=begun.had_state)
    if begun.identity.is_operator and begun.made:
        out(f"this is the first node of mesh {begun.identity.mesh_id}; the line for the next device:")
        out(f"  {agent.join_line()}")
    await agent.run(api)


async def begin(config: Config, token: str | None, new: bool, out: Out) -> Beginning:
    """The node's identity, from its state or by one of the ways in; raises JoinRefused, ConfigError, IdentityError."""
    store = IdentityStore(config.state / "identity")
    labels = wanted_labels(config)
    name = clean_name(config.name)
    identity = store.load()
    remembered = config.state / "join.json"
    if identity is not None:
        if token:
            out("this node is in a mesh already; the token is not used")
        return Beginning(identity, labels, _read(remembered))
    if token:
        joined = await join(token, store, name, out, labels=labels)
    elif new:
        return Beginning(store.create_mesh(name), labels, made=True, had_state=False)
    else:
        out(f"no state in {config.state}; listening {LISTEN:.0f} s for a mesh")
        interfaces = interfaces_of(config)
        found = await listen_for_meshes(LISTEN, interfaces=interfaces) if config.mesh.mdns else []
        if not found:
            out("none heard; making one")
            return Beginning(store.create_mesh(name), labels, made=True, had_state=False)
        near = found[0]
        out(f"mesh {near.mesh} is here ({near.name}); this node waits to be let in (--new makes another mesh)")
        joined = await wait_as_pending(
            [a for f in found if f.mesh == near.mesh for a in f.enrol_addresses][:8],
            near.mesh,
            store,
            name,
            out,
            on_code=lambda code: out(f"code: {code}"),
            labels=labels,
        )
    out(f"joined mesh {joined.identity.mesh_id} as {joined.identity.name}")
    write_private(remembered, msgspec.json.encode(joined.endpoints))
    return Beginning(joined.identity, labels, joined.endpoints, had_state=False)


def wanted_labels(config: Config) -> dict[str, str]:
    """Labels that this node would like: what its hardware shows, then what its owner wrote."""
    found = dict(detect(docker_host=config.docker.host).labels)
    if not config.policy.docker:
        found.pop("docker", None)
    if _has_cameras(config):
        found["camera"] = "true"
    found |= config.labels
    for key in ("node", "id", "arch"):
        found.pop(key, None)
    for key, value in found.items():
        check_label(key, value)
    return found


def _has_cameras(config: Config) -> bool:
    from agent.cameras import CameraBook

    path = cameras_file(config)
    return path.exists() and bool(CameraBook(path).list())


def _read(path: Path) -> list[str]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[str])
    except FileNotFoundError:
        return []
    except DAMAGED as e:
        log.warning("%s is damaged and not used: %s", path, e)
        return []


class _locked:
    """One agent for a state folder."""

    def __init__(self, state: Path) -> None:
        self._path = state / "lock"

    def __enter__(self) -> None:
        import fcntl

        self._file = self._path.open("a")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise ConfigError(
                f"another agent uses {self._path.parent}",
                hint="stop it, or give this one its own --state",
                code="state.locked",
            ) from None

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error to show: an EdgeError where there is one."""
    leaves: list[BaseException] = []

    def walk(g: BaseException) -> None:
        if isinstance(g, BaseExceptionGroup):
            for e in g.exceptions:
                walk(e)
        else:
            leaves.append(g)

    walk(group)
    return next((e for e in leaves if isinstance(e, EdgeError)), leaves[0])
