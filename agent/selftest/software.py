"""The installed software: every module can be imported, and every kind of worker process starts."""

from __future__ import annotations

import importlib
import pkgutil
from importlib.util import find_spec
from pathlib import Path

import agent
from agent.children import check_worker
from agent.config import Config
from agent.errors import StepFailed
from agent.terminal import extra_of

LAZY = (
    "cryptography.hazmat.primitives.asymmetric.ec", "httpx", "uvicorn.lifespan.off", "uvicorn.loops.asyncio",
    "uvicorn.protocols.http.h11_impl", "zeroconf.asyncio", "paho.mqtt.client", "docker.transport", "ruamel.yaml", "zenoh",
)  # fmt: skip
"""Modules of libraries that are imported when they are first needed."""
WORKERS = (
    ("agent.executors.wasm.child", ("wasm-child", "serve")),
    ("agent.executors.process.child", ("process-child",)),
    ("agent.cameras.worker", ("camera-worker",)),
)
"""The module of each kind of worker, and the frozen agent's subcommand with its arguments."""


async def modules(config: Config, scratch: Path) -> str:
    """Import every module of the agent; raises StepFailed with the names of those that cannot be imported."""
    names = [m.name for m in pkgutil.walk_packages(agent.__path__, "agent.")]
    missing = []
    for name in (*names, *LAZY):
        try:
            importlib.import_module(name)
        except ImportError as e:
            if not (e.name and extra_of(e.name)) and not _other_engine(name):
                missing.append(f"{name} ({e})")
    if missing or not names:
        raise StepFailed(
            f"{len(missing)} modules cannot be imported: {', '.join(missing[:4]) or 'none was found'}",
            code="selftest.modules",
            hint="install the whole package again",
        )
    return f"{len(names)} modules are there"


def _other_engine(name: str) -> bool:
    """Whether this module belongs to the WASM engine that this machine does not use."""
    engine = name.removeprefix("agent.executors.wasm.sandbox_")
    return engine != name and find_spec(engine) is None


async def workers(config: Config, scratch: Path) -> str:
    """Start every kind of worker process; raises StepFailed where one does not start and end as it must."""
    from agent.executors import engine_name

    seen = []
    for module, (subcommand, *arguments) in WORKERS:
        if subcommand == "camera-worker" and find_spec("cv2") is None:
            continue
        more = [*arguments, engine_name()] if arguments else []
        if problem := await check_worker(module, subcommand, *more):
            raise StepFailed(
                f"the {subcommand} does not start: {problem}", code="selftest.worker", hint="is the memory full?"
            )
        seen.append(subcommand)
    return f"{', '.join(seen)} start"
