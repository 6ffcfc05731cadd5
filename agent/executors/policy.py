"""The owner's policy: the one place that refuses a step on this node, whatever its kind."""

from __future__ import annotations

import os
from typing import TypeVar

import msgspec
import psutil

from agent.config import PolicyConfig
from agent.errors import Refused
from agent.model.task import DockerTask, Task

T = TypeVar("T", bound=Task)

CODES = ("policy.wasm", "policy.docker", "policy.process", "policy.camera")
"""Codes of refusals that are made from the key of the policy; docs/errors.md has them all."""


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """The steps that this node runs, by the policy key of their task.

    `cpus` and `memory` (bytes) bound one container, 0 is no bound.
    """

    wasm: bool = True
    docker: bool = True
    process: bool = False
    camera: bool = True
    cpus: float = 0.0
    memory: int = 0

    @classmethod
    def of(cls, config: PolicyConfig) -> Policy:
        """The configured policy, its shares of this machine as CPUs (at least one) and bytes."""
        return cls(
            wasm=config.wasm,
            docker=config.docker,
            process=config.process,
            camera=config.camera,
            cpus=max(1.0, config.cpus * (os.cpu_count() or 1)),
            memory=int(config.memory * psutil.virtual_memory().total),
        )

    def check(self, task: T) -> T:
        """The task, with no more CPUs than this node gives, which only makes it slower; raises Refused for the rest.

        A program in its settings is checked like a step.
        """
        if task.policy and not getattr(self, task.policy):
            raise Refused(
                f"this node does not allow {task.policy} steps (policy.{task.policy})",
                code=f"policy.{task.policy}",
                hint=f"set policy.{task.policy} on this node, or run the step on nodes that allow it",
            )
        inner = {f: v for f in task.__struct_fields__ if isinstance(v := getattr(task, f), Task)}
        if inner:
            task = msgspec.structs.replace(task, **{f: self.check(v) for f, v in inner.items()})
        return self._bounded(task) if isinstance(task, DockerTask) else task  # type: ignore[return-value]

    def _bounded(self, task: DockerTask) -> DockerTask:
        limits = task.limits
        if self.memory and limits.memory > self.memory:
            raise Refused(
                f"the step wants {limits.memory} bytes of memory, this node gives {self.memory} (policy.memory)",
                code="policy.memory",
                hint="lower docker.memory of the step, or raise policy.memory on this node",
            )
        if self.cpus and limits.cpus > self.cpus:
            return msgspec.structs.replace(task, limits=msgspec.structs.replace(limits, cpus=self.cpus))
        return task
