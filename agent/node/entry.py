"""The process of an agent: its signals, its lock, its exit code."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from agent import ticks
from agent.config import Config
from agent.errors import ConfigError, EdgeError
from agent.mesh import watch_handshakes
from agent.node.build import build_node
from agent.node.memory_state import MemoryState, copy_of, memory_state, unwritable
from agent.node.node import Node
from agent.node.reload import Reload, Reread
from agent.node.run import Api, run_node
from agent.node.start import begin
from agent.platforms import placed, use_host_zone
from agent.service_manager import ServiceManager

log = logging.getLogger(__name__)

SWITCH_INTERVAL = 0.0005
"""A WASM call that returns waits for the interpreter lock; this keeps that wait short beside a busy thread."""
Out = Callable[[str], None]


async def run_agent(
    config: Config,
    *,
    join: str | None = None,
    new: bool = False,
    out: Out = print,
    api: Api | None = None,
    reread: Reread | None = None,
) -> int:
    """Run this node until SIGTERM or SIGINT; returns the exit code. Raises EdgeError for a node that cannot start.

    SIGHUP reads the configuration again with `reread`. Without `reread`, or on a terminal, whose end it means, it ends the node.
    """
    sys.setswitchinterval(SWITCH_INTERVAL)
    manager = ServiceManager.take()
    os.umask(0o077)
    if zone := use_host_zone():
        log.info("the time zone is %s, as this host's files say", zone)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    hangup = asyncio.Event()
    reloads = reread is not None and not (sys.stdin and sys.stdin.isatty())
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, hangup.set if reloads else stop.set)

    watch_handshakes()
    config = placed(config)
    with locked(config) as memory:

        async def reload(node: Node) -> None:
            assert reread is not None
            await Reload(node, lambda: memory.moved(placed(reread())) if memory else placed(reread()), manager).run(
                hangup
            )

        life = asyncio.create_task(_life(config, join, new, out, api, manager, reload if reloads else None, memory))
        stopped = asyncio.create_task(stop.wait())
        beat = asyncio.create_task(keep_alive(manager))
        await asyncio.wait({life, stopped}, return_when=asyncio.FIRST_COMPLETED)
        manager.stopping()
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
        finally:
            beat.cancel()
    return 0


async def keep_alive(manager: ServiceManager) -> None:
    """Tell the watchdog of the service manager that this loop turns, until cancelled."""
    while manager.watchdog:
        manager.alive()
        await ticks.sleep(manager.watchdog / 2)


async def _life(
    config: Config,
    token: str | None,
    new: bool,
    out: Out,
    api: Api | None,
    manager: ServiceManager,
    reload: Callable[[Node], Awaitable[None]] | None,
    memory: MemoryState | None,
) -> None:
    config = memory.config if memory else config
    begun = await begin(config, token, new, out, manager)
    node = build_node(config, begun.identity, wanted=begun.labels, endpoints=begun.endpoints)
    if begun.identity.is_operator and begun.made:
        first = f"this is the first node of mesh {begun.identity.mesh_id}"
        try:
            out(f"{first}; the line for the next device:\n  {node.admission.join_line()}")
        except ConfigError as e:  # without a network the mesh is made all the same
            out(f"{first}; {e.message}: {e.hint}")
    await run_node(node, api, manager=manager, reload=reload, memory=memory)


@contextmanager
def locked(config: Config) -> Iterator[MemoryState | None]:
    """Makes the state folder and holds its lock; gives the state in memory where the folder takes no writes.

    Raises ConfigError where another agent holds it, or it cannot be used.
    """
    state = config.state
    try:
        cause = unwritable(config)
        file = (copy_of(config).with_name("state.lock") if cause else state / "lock").open("a")
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
        yield memory_state(config, cause) if cause else None


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
