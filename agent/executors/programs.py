"""The executors of a node together: from a task to a runner of its program, within the owner's policy."""

from __future__ import annotations

from pathlib import Path

from agent.executors.docker.executor import DockerExecutor
from agent.executors.policy import Policy, ProgramTask
from agent.executors.process.executor import ProcessExecutor
from agent.executors.wasm.executor import WasmExecutor
from agent.model.task import BlobWriter, DockerTask, Runner, WasmTask


class Executors:
    """Makes the runner of any program; `blobs` takes the files that programs write."""

    def __init__(
        self, wasm: WasmExecutor, docker: DockerExecutor, process: ProcessExecutor, policy: Policy, blobs: BlobWriter
    ) -> None:
        self._wasm, self._docker, self._process = wasm, docker, process
        self._policy, self._blobs = policy, blobs

    def runner(self, task: ProgramTask, name: str, module: Path | None = None) -> Runner:
        """A runner of the task's program, not yet started; raises Refused where the policy forbids it.

        `name` is shown in a container's labels. `module` is the file of a WASM task's module.
        """
        task = self._policy.check(task)
        if isinstance(task, WasmTask):
            if module is None:
                raise ValueError(f"{name}: a WASM program needs the file of its module")
            return self._wasm.runner(module, task, self._blobs)
        if isinstance(task, DockerTask):
            return self._docker.runner(task, self._blobs, name)
        return self._process.runner(task, self._blobs)
