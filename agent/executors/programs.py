"""The executors of a node together: from a task to a runner of its program, within the owner's policy."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TypeAlias
from weakref import WeakKeyDictionary

import msgspec

from agent.executors.docker.executor import DockerExecutor
from agent.executors.once import Names, OnceRunner
from agent.executors.policy import Policy
from agent.executors.process.executor import ProcessExecutor
from agent.executors.warm import WarmRunner
from agent.executors.wasm.executor import WasmExecutor
from agent.executors.wasm.runner import WasmLauncher, WasmRunner
from agent.model.node import Reserved
from agent.model.task import (
    BlobWriter,
    DockerTask,
    FilterRunner,
    ProgramTask,
    Runner,
    StepLog,
    WasmTask,
    reserves,
)

AnyRunner: TypeAlias = WarmRunner | OnceRunner | WasmRunner
ONCE_AT_ONCE = os.cpu_count() or 1
"""How many `once` programs of one step run at a time."""
ADOPT_WITHIN = 120.0
"""Seconds after its start in which the agent adopts programs of its previous run: their events run again soon."""


class Executors:
    """Makes the runner of any program; `blobs` takes the files that programs write."""

    def __init__(
        self, wasm: WasmExecutor, docker: DockerExecutor, process: ProcessExecutor, policy: Policy, blobs: BlobWriter
    ) -> None:
        self._wasm, self._docker, self._process = wasm, docker, process
        self.policy, self._blobs = policy, blobs
        self._names = Names()
        self._made: WeakKeyDictionary[AnyRunner, tuple[str, Reserved]] = WeakKeyDictionary()

    def runner(self, task: ProgramTask, name: str, log: StepLog, module: Path | None = None) -> Runner:
        """A runner of the task's program, not yet started; raises Refused where the policy forbids it.

        `name` is shown in a container's labels, `log` gets the program's output. `module` is the file of a WASM module.
        """
        capped = self.policy.check(task)
        made = self._runner(capped, name, log, module)
        asked = reserves(task)  # of the task before the cap: a capped default reserves nothing
        self._made[made] = name, msgspec.structs.replace(asked, cpus=min(asked.cpus, capped.limits.cpus))
        return made

    def _runner(self, task: ProgramTask, name: str, log: StepLog, module: Path | None) -> AnyRunner:
        identity = f"{name} ".encode() + msgspec.json.encode(task)
        if isinstance(task, WasmTask):
            if module is None:
                raise ValueError(f"{name}: a WASM program needs the file of its module")
            work = self._wasm.work(module, task)
            if not task.once:
                return WasmRunner(work, self._blobs, log)
            limits = msgspec.structs.replace(task.limits, timeout=work.seconds)
            launch = WasmLauncher(work)
            return OnceRunner(launch, limits, self._blobs, log, identity, self._names, in_flight=work.width)
        launcher = self._docker.launcher(task, name) if isinstance(task, DockerTask) else self._process.launcher(task)
        if task.once:
            limits = task.limits
            return OnceRunner(launcher, limits, self._blobs, log, identity, self._names, in_flight=ONCE_AT_ONCE)
        return WarmRunner(name, launcher, task.limits, task.start_timeout, self._blobs, log)

    async def run(self) -> None:
        """Give up the `once` programs of the agent's previous run, when those that are still needed have been adopted."""
        await asyncio.sleep(ADOPT_WITHIN)
        await self.give_up_left()

    async def give_up_left(self) -> None:
        """End the `once` programs of the agent's previous run that no runner has adopted."""
        for executor in (self._wasm, self._docker, self._process):
            await executor.give_up_left()

    def filter(self, task: WasmTask, module: Path) -> FilterRunner:
        """A source filter over the module; raises Refused where the policy forbids WASM."""
        self.policy.check(task)
        return self._wasm.filter(module, task)

    def reserved(self) -> Reserved:
        """The reservations of the running programs; see `reserves`. None has more CPUs than the owner's policy gives it."""
        each = [(runner.running, r) for runner, (_, r) in list(self._made.items())]
        return Reserved(
            sum(n * r.cpus for n, r in each), sum(n * r.memory for n, r in each), sum(n * r.gpus for n, r in each)
        )

    def running(self) -> list[str]:
        """The names of the running programs that have reserved something."""
        made = list(self._made.items())
        return sorted({name for runner, (name, r) in made if runner.running and r != Reserved()})
