"""The output files of `once` programs: which of them become blobs, and which fail the event."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

from agent.blobs import BlobStore
from agent.errors import StepFailed
from agent.executors import ProcessExecutor
from agent.model.event import MAX_EVENT
from agent.model.task import ProcessTask, Runner
from tests.executors.conftest import Lines, MakeInput, runner_of

Make = Callable[[str], Runner]


@pytest.fixture
async def make(tmp_path: Path, store: BlobStore, log: Lines) -> AsyncIterator[Make]:
    """Makes a runner of a script that starts in its outputs folder."""
    process = ProcessExecutor(tmp_path / "scratch")
    yield lambda script: runner_of(
        store, log, ProcessTask(command=["/bin/sh", "-c", script], once=True), process=process
    )
    assert not list((tmp_path / "scratch").iterdir())
    await process.close()


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ("printf x > \"$(printf '\\377.jpg')\"", "is not a blob's name"),
        ("printf x > \"$(printf 'a\\nb.txt')\"", "is not a blob's name"),
        ("mkdir -p 1/2/3/4/5/6/7/8; echo x > 1/2/3/4/5/6/7/8/x", "at most 8 parts"),
        ("for i in $(seq 33); do echo > $i; done", "more than 32 files"),
    ],
)
async def test_files_that_cannot_be_blobs_fail_the_event(
    make: Make, make_input: MakeInput, log: Lines, script: str, text: str
) -> None:
    with pytest.raises(StepFailed, match=text) as failure:
        await make(script).run(await make_input())
    assert failure.value.code == "step.outputs"
    assert failure.value.message in log.agent[-1]
    msgspec.json.encode(failure.value.message)


async def test_media_type_comes_from_the_last_part_of_the_path(make: Make, make_input: MakeInput) -> None:
    script = "mkdir 'data:text'; printf x > 'data:text/ht\nml,x'; mkdir -p 1/2/3/4/5/6/7; echo x > 1/2/3/4/5/6/7/a.jpg"
    (output,) = await make(script.replace("\n", "")).run(await make_input())
    assert [(b.name, b.type) for b in output.blobs] == [("a.jpg", "image/jpeg"), ("html,x", "application/octet-stream")]


async def test_only_regular_files_become_blobs(make: Make, make_input: MakeInput) -> None:
    (output,) = await make("mkfifo pipe; ln -s /etc/passwd link; mkdir folder; echo x > a").run(await make_input())
    assert [b.name for b in output.blobs] == ["a"]


async def test_event_that_becomes_too_large_fails(make: Make, make_input: MakeInput, log: Lines) -> None:
    with pytest.raises(StepFailed, match=f"larger than {MAX_EVENT} bytes") as failure:
        await make("true").run(await make_input(text="y" * (MAX_EVENT - 20)))
    assert failure.value.message in log.agent[-1]


async def test_program_that_does_not_start_is_in_the_log(
    make: Make, store: BlobStore, make_input: MakeInput, tmp_path: Path, log: Lines
) -> None:
    process = ProcessExecutor(tmp_path / "none")
    runner = runner_of(store, log, ProcessTask(command=["/no/such"], once=True), process=process)
    with pytest.raises(StepFailed, match="/no/such does not start"):
        await runner.run(await make_input())
    await process.close()
    assert "/no/such does not start" in log.agent[-1]
    assert log.begun == 0
