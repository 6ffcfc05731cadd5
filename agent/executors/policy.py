"""The owner's policy: the one place that refuses a program on this node."""

from __future__ import annotations

import os
from typing import TypeAlias

import msgspec
import psutil

from agent.config import PolicyConfig
from agent.errors import Refused
from agent.model.task import DockerTask, ProcessTask, WasmTask

ProgramTask: TypeAlias = WasmTask | DockerTask | ProcessTask


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """The kinds of programs that this node runs; `cpus` and `memory` (bytes) bound one container, 0 is no bound."""

    wasm: bool = True
    docker: bool = True
    process: bool = False
    cpus: float = 0.0
    memory: int = 0

    @classmethod
    def of(cls, config: PolicyConfig) -> Policy:
        """The configured policy, its shares of this machine as CPUs (at least one) and bytes."""
        return cls(
            wasm=config.wasm,
            docker=config.docker,
            process=config.process,
            cpus=max(1.0, config.cpus * (os.cpu_count() or 1)),
            memory=int(config.memory * psutil.virtual_memory().total),
        )

    def check(self, task: ProgramTask) -> ProgramTask:
        """The task, with no more CPUs than this node gives, which only makes it slower; raises Refused for the rest."""
        if isinstance(task, WasmTask):
            if not self.wasm:
                raise Refused("this node runs no WASM", code="policy.wasm", hint="set policy.wasm on this node")
            return task
        if isinstance(task, ProcessTask):
            if not self.process:
                raise Refused(
                    "this node runs no processes of pipelines (policy.process)",
                    code="policy.process",
                    hint="set policy.process on this node, or use a container",
                )
            return task
        return self._check_container(task)

    def _check_container(self, task: DockerTask) -> DockerTask:
        limits = task.limits
        if not self.docker:
            raise Refused("this node runs no containers", code="policy.docker", hint="set policy.docker on this node")
        if self.memory and limits.memory > self.memory:
            raise Refused(
                f"the step wants {limits.memory} bytes of memory, this node gives {self.memory} (policy.memory)",
                code="policy.memory",
                hint="lower docker.memory of the step, or raise policy.memory on this node",
            )
        if self.cpus and limits.cpus > self.cpus:
            return msgspec.structs.replace(task, limits=msgspec.structs.replace(limits, cpus=self.cpus))
        return task
