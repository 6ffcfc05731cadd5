"""`once` containers: what their start finds out, their volumes, their end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from agent.blobs import BlobStore
from agent.errors import StepFailed, Unreachable
from agent.executors import DockerExecutor
from agent.executors.docker import container as module
from agent.model.task import MIB, DockerTask, Limits, Runner
from tests.executors.conftest import Lines, MakeInput, runner_of
from tests.executors.test_docker import Relay, containers_of
from tests.support import eventually

pytestmark = [pytest.mark.docker, pytest.mark.timeout(60)]
LIMITS = Limits(memory=32 * MIB, timeout=20.0, outputs=200 * MIB, cpus=1.0)
Make = Callable[..., Runner]


@pytest.fixture
async def executor(tmp_path: Path) -> AsyncIterator[DockerExecutor]:
    made = DockerExecutor(f"once-{tmp_path.name}-{os.getpid()}", tmp_path / "scratch")
    await made.start()
    yield made
    assert not containers_of(made.owner)
    assert not list((tmp_path / "scratch").iterdir())
    await made.close()


@pytest.fixture
def make(executor: DockerExecutor, store: BlobStore, busybox: str, log: Lines) -> Make:
    def make(script: str, image: str = busybox, **more: Any) -> Runner:
        task = DockerTask(image=image, args=["sh", "-c", script], limits=LIMITS, once=True, **more)
        return runner_of(store, log, task, docker=executor)

    return make


@pytest.fixture
def with_volumes(busybox: str) -> Iterator[str]:
    """An image that declares every folder of a program as a volume."""
    client = docker.from_env()
    try:
        base = client.containers.create(busybox, ["true"])
        image = base.commit(changes='VOLUME ["/inputs", "/blobs", "/outputs", "/event.json"]')
        base.remove()
        assert image.id is not None
        yield image.id
        client.images.remove(image.id, force=True)
    finally:
        client.close()


@pytest.mark.parametrize("once", [True, False])
async def test_volumes_at_the_places_of_files_are_in_memory(
    once: bool, executor: DockerExecutor, store: BlobStore, make_input: MakeInput, log: Lines, with_volumes: str
) -> None:
    script = "grep -E ' /(inputs|blobs|event.json) ' /proc/mounts >&2"
    if not once:
        script = f'read -r line; {script}; echo \'{{"id":"e1","events":[]}}\'; read -r line'
    task = DockerTask(image=with_volumes, args=["sh", "-c", script], limits=LIMITS, once=once)
    runner = runner_of(store, log, task, docker=executor)
    try:
        await runner.run(await make_input())
        await eventually(lambda: len(log) == 3)
    finally:
        await runner.close()
    in_memory = {place for kind, place, *_ in (line.split() for line in log) if kind == "tmpfs"}
    assert in_memory == ({"/blobs"} if once else {"/inputs", "/event.json"})


async def test_program_whose_child_ran_out_of_memory_may_end_well(
    make: Make, make_input: MakeInput, log: Lines
) -> None:
    script = "sh -c 'x=x; while :; do x=$x$x; done' || echo its child was killed; exit 0"
    (output,) = await make(script).run(await make_input())
    assert output.data["program"]["exit_code"] == 0
    assert log.stdout == ["its child was killed"]


async def test_missing_gpu_is_found_at_the_start(executor: DockerExecutor, make: Make) -> None:
    if await executor.gpu():
        pytest.skip("this machine has a GPU for containers")
    with pytest.raises(StepFailed) as failure:
        await make("true", gpus=1).start()
    assert "GPU" in failure.value.hint


async def test_container_removed_before_its_start_is_no_missing_image(
    make: Make, make_input: MakeInput, log: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    attach = module.attach

    def removed(container: Any, *, stdin: bool) -> Any:
        container.remove(force=True)
        return attach(container, stdin=stdin)

    monkeypatch.setattr(module, "attach", removed)
    with pytest.raises(StepFailed, match="removed before its start") as failure:
        await make("true").run(await make_input())
    assert failure.value.code == "docker.refused"
    assert "image" not in failure.value.message + failure.value.hint
    assert failure.value.message in log.agent[-1]


async def test_engine_that_is_away_begins_no_execution(
    tmp_path: Path, store: BlobStore, busybox: str, make_input: MakeInput, log: Lines
) -> None:
    relay = Relay(tmp_path / "docker.sock")
    await relay.open()
    executor = DockerExecutor(f"away-{os.getpid()}", tmp_path / "scratch", host=relay.host)
    await executor.start()
    runner = runner_of(store, log, DockerTask(image=busybox, args=["true"], once=True), docker=executor)
    await runner.start()
    assert executor.available
    await relay.close()
    with pytest.raises(Unreachable):
        await runner.start()
    assert not executor.available
    for _ in range(2):
        with pytest.raises(Unreachable):
            await runner.run(await make_input())
    assert log.begun == 0
    assert "no Docker engine answers" in log.agent[-1]
    await executor.close()


@pytest.mark.parametrize("how", ["close", "cancel"])
async def test_container_that_is_being_made_is_removed(
    how: str, executor: DockerExecutor, make: Make, make_input: MakeInput
) -> None:
    runner = make("sleep 100")
    task = asyncio.create_task(runner.run(await make_input()))
    await eventually(lambda: executor._opening)
    if how == "cancel":
        task.cancel()
    await runner.close()
    with pytest.raises((StepFailed, asyncio.CancelledError)):
        await task
    assert not containers_of(executor.owner)
