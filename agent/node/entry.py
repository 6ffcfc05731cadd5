"""The process of an agent: its signals, its lock, its exit code."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.config import Config
from agent.errors import ConfigError, EdgeError
from agent.mesh import watch_handshakes
from agent.node.build import build_node
from agent.node.run import Api, run_node
from agent.node.start import begin
from agent.platforms import placed, use_host_zone

log = logging.getLogger(__name__)

SWITCH_INTERVAL = 0.0005
"""A WASM call that returns waits for the interpreter lock; this keeps that wait short beside a busy thread."""
Out = Callable[[str], None]


async def run_agent(
    config: Config, *, join: str | None = None, new: bool = False, out: Out = print, api: Api | None = None
) -> int:
    """Run this node until SIGTERM or SIGINT; returns the exit code. Raises EdgeError for a node that cannot start."""
    sys.setswitchinterval(SWITCH_INTERVAL)
    os.umask(0o077)
    if zone := use_host_zone():
        log.info("the time zone is %s, as this host's files say", zone)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    watch_handshakes()
    config = placed(config)
    with locked(config.state):
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
            if not isinstance(first, EdgeError | OSError):
                log.critical("internal error: the agent ends", exc_info=first)
            raise first from group
    return 0


async def _life(config: Config, token: str | None, new: bool, out: Out, api: Api | None) -> None:
    begun = await begin(config, token, new, out)
    node = build_node(config, begun.identity, wanted=begun.labels, endpoints=begun.endpoints)
    if begun.identity.is_operator and begun.made:
        first = f"this is the first node of mesh {begun.identity.mesh_id}"
        try:
            out(f"{first}; the line for the next device:\n  {node.admission.join_line()}")
        except ConfigError as e:  # without a network the mesh is made all the same
            out(f"{first}; {e.message}: {e.hint}")
    await run_node(node, api)


@contextmanager
def locked(state: Path) -> Iterator[None]:
    """Makes the state folder and holds its lock; raises ConfigError where another agent holds it, or it cannot be used."""
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = (state / "lock").open("a")
    except OSError as e:
        why = "it is not a folder" if isinstance(e, FileExistsError | NotADirectoryError) else e.strerror
        raise ConfigError(
            f"the state folder {state} cannot be used: {why}",
            hint="run the agent as the owner of that folder, or name another: --state FOLDER, or the key state",
            code="state.folder",
        ) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(
                f"another agent uses {state}", hint="stop it, or give this one its own --state", code="state.locked"
            ) from None
        yield


def _first(error: BaseException) -> BaseException:
    """The error to show: the first EdgeError in a group where there is one, else the first error."""
    leaves = list(_leaves(error))
    return next((e for e in leaves if isinstance(e, EdgeError)), leaves[0])


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if not isinstance(error, BaseExceptionGroup):
        yield error
        return
    for part in error.exceptions:
        yield from _leaves(part)
