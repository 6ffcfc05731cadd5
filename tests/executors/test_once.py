"""`once`: a fresh program for each event, with files in, files and an exit code out. WASM, containers and processes alike."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.blobs import BlobStore
from agent.errors import NotFound, StepFailed
from agent.executors import DockerExecutor, ProcessExecutor, WasmExecutor
from agent.executors.once import LINE, MAX_LOG
from agent.logs import LogStore
from agent.model.event import MAX_BLOBS
from agent.model.task import MIB, DockerTask, Limits, ProcessTask, Runner, StepLog, WasmTask
from tests.executors.conftest import Counting, Lines, MakeInput, runner_of
from tests.support import eventually

LIMITS = Limits(memory=256 * MIB, timeout=30.0, outputs=MIB, files=8)
SHELL = """
case "$1" in
copy) cp "$EDGE_INPUTS"a.txt "$EDGE_OUTPUTS"b.txt; cp "$EDGE_EVENT" "$EDGE_OUTPUTS"event.json; echo copied
      echo "$EDGE_INPUTS $EDGE_OUTPUTS" >&2;;
exit) echo it broke >&2; exit 3;;
slow) echo first; sleep 1; echo second;;
loop) while :; do :; done;;
long-line) head -c 2000000 /dev/zero; echo; echo second; sleep 1;;
newlines) yes '';;
files) for i in $(seq 33); do touch "$EDGE_OUTPUTS$i"; done;;
spoil) touch "$EDGE_INPUTS"new 2>/dev/null && exit 5; echo x 2>/dev/null >"$EDGE_INPUTS"a.txt && exit 6;
       echo x 2>/dev/null >"$EDGE_EVENT" && exit 7; echo 1;;
flood) while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done;;
limit) trap '' XFSZ; dd if=/dev/zero of="$EDGE_OUTPUTS"full bs=64k count=999 2>/dev/null; exit 0;;
crash) kill -SEGV $$;;
esac
"""
Make = Callable[..., Runner]
KINDS = ("wasm", "docker", "process")


@pytest.fixture(params=KINDS)
async def make(
    request: pytest.FixtureRequest, tmp_path: Path, store: BlobStore, program: Callable[[str], Path], log: Lines
) -> AsyncIterator[Make]:
    """Runners of the program in this mode, for each way to run one; closed at the end, with nothing left behind."""
    kind: str = request.param
    made: list[Runner] = []
    wasm = WasmExecutor(tmp_path / "cache", tmp_path / "wasm", workers=2)
    process = ProcessExecutor(tmp_path / "process")
    containers = DockerExecutor(f"once-{tmp_path.name}-{os.getpid()}", tmp_path / "docker")
    image = request.getfixturevalue("busybox") if kind == "docker" else ""
    if kind == "docker":
        await containers.start()

    def make(mode: str, log: StepLog = log, *, env: dict[str, str] = {}, **limits: Any) -> Runner:
        given = msgspec.structs.replace(LIMITS, **limits)
        task: Any = WasmTask(module="once", args=[mode], env=env, limits=given, once=True)
        if kind == "docker":
            task = DockerTask(image=image, args=["sh", "-c", SHELL, "sh", mode], env=env, limits=given, once=True)
        elif kind == "process":
            task = ProcessTask(command=["/bin/sh", "-c", SHELL, "sh", mode], env=env, limits=given, once=True)
        made.append(runner_of(store, log, task, module=program("once"), wasm=wasm, docker=containers, process=process))
        return made[-1]

    yield make
    for runner in made:
        await runner.close()
    assert not [p for scratch in ("wasm", "process", "docker") for p in (tmp_path / scratch).glob("*")]
    await wasm.close()
    await process.close()
    if kind == "docker":
        assert await containers.sweep() == 0
    await containers.close()


async def test_files_and_the_event_go_in_and_come_out(
    make: Make, make_input: MakeInput, store: BlobStore, log: Lines
) -> None:
    item = await make_input(("a.txt", b"hello"), camera="door")
    (output,) = await make("copy").run(item)
    assert output.type == "program.done"
    assert output.data["camera"] == "door"
    assert output.data["program"]["exit_code"] == 0
    assert [(b.name, b.type) for b in output.blobs] == [("b.txt", "text/plain"), ("event.json", "application/json")]
    assert await store.read(output.blobs[0].cid) == b"hello"
    event = json.loads(await store.read(output.blobs[1].cid))
    assert (event["id"], event["data"]["camera"]) == (item.event.id, "door")
    assert event["data"]["blobs"][0]["path"] == f"{log[0].split()[0]}a.txt"
    assert log.stdout == ["copied"]
    assert log.begun == 1


async def test_env_of_the_step_moves_no_place(make: Make, make_input: MakeInput, log: Lines) -> None:
    (output,) = await make("copy", env={"EDGE_INPUTS": "/nowhere/"}).run(await make_input(("a.txt", b"hello")))
    assert [b.name for b in output.blobs] == ["b.txt", "event.json"]
    assert "nowhere" not in log[0]


async def test_each_event_gets_a_fresh_program(make: Make, make_input: MakeInput, store: BlobStore, log: Lines) -> None:
    runner = make("copy")
    for text in (b"one", b"two"):
        (output,) = await runner.run(await make_input(("a.txt", text)))
        assert await store.read(output.blobs[0].cid) == text
    assert log.begun == 2


async def test_same_event_twice_at_once_runs_two_programs(
    make: Make, make_input: MakeInput, store: BlobStore, log: Lines
) -> None:
    item = await make_input(("a.txt", b"hello"))
    runner = make("copy")
    outputs = await asyncio.gather(runner.run(item), runner.run(item))
    assert [await store.read(output.blobs[0].cid) for (output,) in outputs] == [b"hello", b"hello"]
    assert log.begun == 2


async def test_an_exit_code_fails_the_event_with_the_last_lines(make: Make, make_input: MakeInput, log: Lines) -> None:
    with pytest.raises(StepFailed, match="exited with 3") as failure:
        await make("exit").run(await make_input())
    assert failure.value.code == "step.exit"
    assert failure.value.fields["stderr"] == ["it broke"]
    assert not failure.value.final
    assert "exited with 3" in log.agent[-1]


async def test_output_comes_while_the_program_runs(make: Make, make_input: MakeInput, log: Lines) -> None:
    task = asyncio.create_task(make("slow").run(await make_input()))
    await eventually(lambda: log.stdout == ["first"])
    assert not task.done()
    await task
    assert log.stdout == ["first", "second"]


async def test_two_programs_at_a_time_have_two_logs(make: Make, make_input: MakeInput, tmp_path: Path) -> None:
    logs = LogStore(tmp_path / "logs", 1 << 24)
    runner = make("slow", logs.of("p", "v", "s"))
    await asyncio.gather(runner.run(await make_input()), runner.run(await make_input()))
    lines: dict[str, list[str]] = {}
    for line in logs.recent("p", "s", 0):
        lines.setdefault(line.execution, []).append(f"{line.event} {line.text}")
    assert len(lines) == 2
    for texts in lines.values():
        event = texts[0].split()[0]
        assert texts[:2] == [f"{event} first", f"{event} second"]
        assert f"{event} " in texts[2]


async def test_output_that_comes_before_the_start_ends_is_kept(
    make: Make, make_input: MakeInput, log: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner: Any = make("exit")
    start = runner._launcher.open

    async def late(*args: Any, **more: Any) -> Any:
        program = await start(*args, **more)
        await eventually(lambda: log == ["it broke"])
        return program

    monkeypatch.setattr(runner._launcher, "open", late)
    with pytest.raises(StepFailed) as failure:
        await runner.run(await make_input())
    assert failure.value.fields["stderr"] == ["it broke"]
    assert log.begun == 1


async def test_empty_lines_do_not_keep_the_agent_busy(make: Make, make_input: MakeInput) -> None:
    log = Counting()
    pulse = asyncio.create_task(log.pulse())
    with pytest.raises(StepFailed, match="16777216 bytes to stdout") as failure:
        await make("newlines", log).run(await make_input())
    pulse.cancel()
    assert failure.value.code == "step.stdout"
    assert log.lines <= MAX_LOG // LINE + 10
    assert log.most <= 5000


async def test_output_comes_after_a_line_without_an_end(make: Make, make_input: MakeInput, log: Lines) -> None:
    task = asyncio.create_task(make("long-line").run(await make_input()))
    await eventually(lambda: "second" in log.stdout)
    assert not task.done()
    await task


HOSTILE = {
    "loop": ("step.timeout", "longer than its limit of 1 s"),
    "flood": ("step.stdout", "more than 16777216 bytes to stdout"),
    "limit": ("step.outputs", "limit of 1048576 bytes"),
    "crash": ("step.exit|step.trap", ""),
}


@pytest.mark.parametrize("mode", HOSTILE)
async def test_a_hostile_program_fails_its_event_only(make: Make, make_input: MakeInput, log: Lines, mode: str) -> None:
    codes, text = HOSTILE[mode]
    with pytest.raises(StepFailed) as failure:
        await make(mode, timeout=1.0 if mode == "loop" else 30.0).run(await make_input())
    assert failure.value.code in codes.split("|"), failure.value
    assert text in failure.value.message
    assert not failure.value.final
    assert failure.value.message in log.agent[-1]
    (output,) = await make("copy").run(await make_input(("a.txt", b"fine")))
    assert output.blobs


async def test_hints_name_the_key_of_the_kind(
    make: Make, make_input: MakeInput, request: pytest.FixtureRequest
) -> None:
    kind = request.node.callspec.params["make"]
    with pytest.raises(StepFailed) as failure:
        await make("loop", timeout=0.5).run(await make_input())
    assert f"{kind}.timeout" in failure.value.hint
    with pytest.raises(StepFailed) as failure:
        await make("limit").run(await make_input())
    assert f"{kind}.outputs" in failure.value.hint


async def test_more_files_than_an_event_holds_are_named(make: Make, make_input: MakeInput, log: Lines) -> None:
    with pytest.raises(StepFailed, match=f"wrote {MAX_BLOBS + 1} files") as failure:
        await make("files", files=100).run(await make_input())
    assert "archive" in failure.value.hint
    assert failure.value.message in log.agent[-1]


async def test_inputs_and_the_event_cannot_be_changed(
    make: Make, make_input: MakeInput, log: Lines, request: pytest.FixtureRequest
) -> None:
    if request.node.callspec.params["make"] == "process":
        pytest.skip("a process has the rights of its user; it gets copies")
    await make("spoil").run(await make_input(("a.txt", b"hello")))
    assert log.stdout == ["1"]


async def test_crash_hints_at_the_memory_of_the_kind(
    make: Make, make_input: MakeInput, request: pytest.FixtureRequest
) -> None:
    kind = request.node.callspec.params["make"]
    with pytest.raises(StepFailed) as failure:
        await make("crash").run(await make_input())
    assert f"{kind}.memory" in failure.value.hint


async def test_close_ends_a_running_program(make: Make, make_input: MakeInput, log: Lines) -> None:
    runner = make("loop")
    task = asyncio.create_task(runner.run(await make_input()))
    await eventually(lambda: log.begun)
    await runner.close()
    with pytest.raises(StepFailed, match="being stopped"):
        await task


async def test_what_is_used_is_in_the_event(make: Make, make_input: MakeInput) -> None:
    (output,) = await make("slow").run(await make_input())
    measured = output.data["program"]
    assert measured["run_ms"] > 0
    assert measured["memory"] > 0
    assert measured["cpu_ms"] >= 0


async def test_a_missing_image_is_found_at_the_start(tmp_path: Path, store: BlobStore, log: Lines) -> None:
    containers = DockerExecutor("once", tmp_path / "docker")
    runner = runner_of(store, log, DockerTask(image="edge/none:1", once=True), docker=containers)
    with pytest.raises(NotFound, match="edge/none"):
        await runner.start()
    await containers.close()
