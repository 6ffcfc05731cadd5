"""The life of a node: its services, their start, and the end of its parts."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable

import agent
from agent import ticks
from agent.api import Resources
from agent.model.documents import PIPELINE
from agent.node.capacity import announce_capacity
from agent.node.leftovers import sweep
from agent.node.memory_state import MemoryState
from agent.node.node import Node
from agent.node.removal import ask_when_alone
from agent.node.wanted_labels import keep_labels
from agent.service_manager import ServiceManager
from agent.supervise import supervised

log = logging.getLogger(__name__)

FORGET_EVERY = 60.0
"""Seconds until logs of removed pipelines are deleted, at most."""

Service = tuple[str, Callable[[], Awaitable[None]]]
Api = Callable[[Resources, Callable[[], None]], Awaitable[None]]
"""Serves the local API; calls its second argument when clients can connect."""
API_OPENS = 10.0
"""Seconds that the start waits for the API, at most: a node works without it."""


async def run_node(
    node: Node,
    api: Api | None = None,
    *,
    manager: ServiceManager | None = None,
    reload: Callable[[Node], Awaitable[None]] | None = None,
    memory: MemoryState | None = None,
) -> None:
    """Run until cancelled, then close the parts; raises the errors that end a node.

    `api` serves the local API, `reload` applies changes of the configuration, `manager` is told when the node is ready, `memory`
    is set where the disk takes no writes.
    """
    listening = asyncio.Event()
    try:
        node.delivery.engine.load()
        node.documents.load()
        await sweep(node.stores.blobs, node.stores.added)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(node.mesh.run())
            tasks.create_task(node.removal.run())
            if memory is not None:
                memory.warn(node.health)
                tasks.create_task(memory.wait(lambda: node.stores.journal.open_count))
            await node.mesh.ready.wait()
            await node.programs.docker.start()
            tasks.create_task(node.delivery.engine.run())
            services = _services(node)
            if api is not None:
                services.append(("api", lambda: api(node.api, listening.set)))
            if reload is not None:
                services.append(("reload", lambda: reload(node)))
            for name, run in services:
                tasks.create_task(supervised(name, run, node.health.restarted))
            me = node.admission.identity
            if node.discovery is not None:
                ports = node.config.mesh.port, node.config.mesh.enrol_port
                node.discovery.announce(me.mesh_id, me.node_id, me.name, *ports, version=agent.__version__)
            log.info("node %s (%s) is in mesh %s", me.name, me.node_id, me.mesh_id)
            if manager is not None:
                if api is not None:
                    await ticks.wait(listening, API_OPENS)
                show_status(node, manager)
                manager.ready()
    finally:
        await close_node(node)


def _services(node: Node) -> list[Service]:
    admission, delivery, cameras = node.admission, node.delivery, node.programs.cameras
    parts = delivery.engine.steps.parts
    services: list[Service] = [
        ("enrolment", admission.enrolment.run),
        ("renewal", admission.renewal.run),
        ("standing", lambda: ask_when_alone(node.config.state, node.mesh, node.health, admission.ask_standing)),
        ("certificate", admission.certificate.run),
        ("install server", node.handing_out.run),
        ("labels", lambda: keep_labels(node.labels, node.wanted, cameras, delivery.uplink)),
        ("sources", delivery.sources.run),
        ("learning", lambda: parts.devices.learning.run(parts.context)),
        ("cameras", cameras.run),
        ("uplink", delivery.uplink.run),
        ("fresh blobs", node.stores.fresh.run),
        ("images for other nodes", delivery.offers.run),
        ("step logs", delivery.logs.run),
        ("logs of removed pipelines", lambda: forget_logs(node)),
        ("capacity", lambda: announce_capacity(node.mesh, node.meter, cameras)),
        ("warmth", node.warm_programs.run),
        ("programs of the previous run", node.programs.all.run),
        ("health", node.self_checks.run),
    ]
    if node.discovery is not None:
        services.append(("discovery", node.discovery.run))
    return services


def show_status(node: Node, manager: ServiceManager) -> None:
    """Tell the service manager in one line how the node is, now and after each change."""

    def show() -> None:
        known, live = len(node.mesh.known()), len(node.mesh.live())
        bad = [w.code for w in node.health.list() if w.severity != "info"]
        warnings = f"; warnings: {', '.join(dict.fromkeys(bad))}" if bad else ""
        me = node.admission.identity
        manager.status(f"{me.name} is in mesh {me.mesh_id}, {live} of {max(known, live)} nodes are here{warnings}")

    node.mesh.on_change(lambda _record, _alive: show())
    node.health.on_change(show)
    show()


async def forget_logs(node: Node) -> None:
    """Delete the logs of pipelines that were removed and have no event here any more, until cancelled.

    A pipeline that this version cannot read keeps its logs: another version may read it again.
    """
    engine = node.delivery.engine
    while True:
        signed = {document.name for document in node.mesh.documents.list(PIPELINE)}
        in_flight = {name for name, _ in engine.journal.versions_in_use()}
        node.delivery.logs.forget({*signed, *in_flight, *engine.definitions.current})
        await ticks.sleep(FORGET_EVERY)


async def close_node(node: Node) -> None:
    """Close the parts that hold processes, containers, files and connections."""
    programs, stores = node.programs, node.stores
    executors = (programs.wasm, programs.docker, programs.process)
    images = (node.delivery.fetches, node.delivery.offers)
    parts = (*images, programs.cameras, *executors, stores.exchange, stores.blobs, stores.journal)
    await close_all(*(part.close for part in parts))


async def close_all(*closers: Callable[[], Awaitable[None] | None]) -> None:
    """Call each in turn, in a thread where it is not a coroutine function, even where an earlier one failed.

    Errors are logged and not raised, so that they do not replace the error that ended the node. A cancellation is raised
    when all have been called.
    """
    cancelled: asyncio.CancelledError | None = None
    for close in closers:
        try:
            if inspect.iscoroutinefunction(close):
                await close()
            else:
                await asyncio.to_thread(close)
        except asyncio.CancelledError as e:
            cancelled = e
        except Exception as e:
            log.error("a part of the agent could not be closed (%s)", close.__qualname__, exc_info=e)
    if cancelled is not None:
        raise cancelled
