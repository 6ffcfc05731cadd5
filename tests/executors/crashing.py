"""The executors of an agent that a test kills in the middle of a `once` program, and those of the agent's next run."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from agent.blobs import BlobStore
from agent.executors import DockerExecutor, Executors, Policy, ProcessExecutor, WasmExecutor
from agent.model.event import Event
from agent.model.task import (
    MIB,
    DockerTask,
    Limits,
    ProcessTask,
    Runner,
    StepInput,
    StepLog,
    StepOutput,
    Stream,
    WasmTask,
)

SHELL = """
run=$(cat /proc/sys/kernel/random/uuid)
echo "started $run"; echo "$run" > "$EDGE_OUTPUTS"run.txt
while [ ! -e "$EDGE_INPUTS"go ]; do sleep 0.05; done
[ "$1" != flood ] || while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done
echo finished; echo its last words >&2; exit "$1"
"""
"""A program that runs until the file `go` is in its inputs; the token in its first line tells one run from another."""


EVENT = StepInput(
    Event(id="e1", source="/n/p/s", type="t", time="2026-01-01T00:00:00Z", data={"camera": "door"}),
)


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """The program of a test; `kind` is wasm, wasm3, docker or process, and `code` the program's exit code or `flood`."""

    kind: str
    folder: str
    module: str = ""
    image: str = ""
    code: str = "0"
    timeout: float = 60.0

    @property
    def scratch(self) -> Path:
        """The folders of its programs."""
        return Path(self.folder) / "scratch"

    @property
    def owner(self) -> str:
        """The owner of its containers."""
        return f"adopt-{Path(self.folder).name}-{Path(self.folder).parent.name}"

    def task(self) -> WasmTask | DockerTask | ProcessTask:
        """The program."""
        limits = Limits(memory=64 * MIB, timeout=self.timeout, outputs=MIB)
        if self.kind == "docker":
            args = ["sh", "-c", SHELL, "sh", self.code]
            return DockerTask(image=self.image, args=args, limits=limits, once=True)
        if self.kind == "process":
            return ProcessTask(command=["/bin/sh", "-c", SHELL, "sh", self.code], limits=limits, once=True)
        return WasmTask(module="once", args=["wait", self.code], limits=limits, once=True)


class Run:
    """One run of the agent's executors."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        folder, none = Path(setup.folder), Path(setup.folder) / "none"
        self.store = BlobStore(folder / "blobs", 1 << 30)
        wasm = "wasm" in setup.kind
        engine = "wasm3" if setup.kind == "wasm3" else ""
        self.wasm = WasmExecutor(folder / "cache", setup.scratch if wasm else none / "w", workers=1, engine=engine)
        docker = setup.kind == "docker"
        self.docker = DockerExecutor(setup.owner, setup.scratch if docker else none / "d")
        self.process = ProcessExecutor(setup.scratch if setup.kind == "process" else none / "p")
        self.all = Executors(self.wasm, self.docker, self.process, Policy(process=True), self.store)

    def runner(self, log: StepLog) -> Runner:
        """A runner of the program."""
        return self.all.runner(self.setup.task(), "adopted", log, Path(self.setup.module))

    async def run(self, log: StepLog) -> list[StepOutput]:
        """Run the one event."""
        runner = self.runner(log)
        try:
            await runner.start()
            return await runner.run(EVENT)
        finally:
            await runner.close()


@asynccontextmanager
async def run_of(setup: Setup) -> AsyncIterator[Run]:
    """A run of the agent, closed at the end."""
    run = Run(setup)
    if setup.kind == "docker":
        await run.docker.start()
    try:
        yield run
    finally:
        await run.wasm.close()
        await run.process.close()
        await run.docker.close()
        run.store.close()


class Printed:
    """A StepLog that prints its lines."""

    def begin(self) -> StepLog:
        """See StepLog."""
        return self

    def line(self, text: str, /, stream: Stream = "stderr", event: str = "") -> None:
        """Print it."""
        print(text, flush=True)


async def _main(setup: Setup) -> None:
    async with run_of(setup) as run:
        await run.run(Printed())


if __name__ == "__main__":
    asyncio.run(_main(msgspec.json.decode(sys.argv[1], type=Setup)))
    os._exit(0)
