"""WASM modules as steps: good modules, and hostile modules that are stopped within their limits."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import msgspec
import psutil
import pytest

from agent.blobs import BlobStore
from agent.errors import StepFailed
from agent.executors import WasmExecutor
from agent.model.task import MIB, Limits, Runner, WasmTask
from tests.executors.conftest import Counting, Lines, MakeInput, runner_of
from tests.support import eventually

LIMITS = Limits(memory=16 * MIB, timeout=30.0, outputs=MIB, stdout=64 * 1024, stderr=4096, files=8)
HASTY = msgspec.structs.replace(LIMITS, timeout=0.5)
"""For programs that nothing but their time ends; the others must meet another limit first, on a busy machine too."""

MakeRunner = Callable[..., Runner]


@pytest.fixture
async def executor(tmp_path: Path) -> AsyncIterator[WasmExecutor]:
    made = WasmExecutor(tmp_path / "cache", tmp_path / "scratch", workers=2)
    yield made
    await made.close()


@pytest.fixture
def make_runner(executor: WasmExecutor, store: BlobStore, program: Callable[[str], Path], log: Lines) -> MakeRunner:
    def make(name: str, limits: Limits = LIMITS) -> Runner:
        return runner_of(store, log, WasmTask(module=name, limits=limits), wasm=executor, module=program(name))

    return make


def children() -> list[int]:
    """This process's WASM workers."""
    found = []
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):
            if "agent.executors.wasm.child" in child.cmdline():
                found.append(child.pid)
    return found


async def test_step_reads_its_blob_and_its_file_becomes_one(
    make_runner: MakeRunner, make_input: MakeInput, store: BlobStore, log: Lines
) -> None:
    runner = make_runner("files")
    await runner.start()
    (output,) = await runner.run(await make_input(("a.txt", b"hello"), copy=True))
    assert output.type == "t.out"
    assert output.data == {}
    assert [(b.name, b.size, b.path) for b in output.blobs] == [("b.txt", 5, "")]
    assert await store.read(output.blobs[0].cid) == b"hello"


async def test_several_events_at_once_never_mix(
    make_runner: MakeRunner, make_input: MakeInput, store: BlobStore, log: Lines
) -> None:
    runner = make_runner("files")
    items = [await make_input(("a.txt", f"file {n}".encode()), copy=True) for n in range(30)]
    outputs = await asyncio.gather(*(runner.run(item) for item in items))
    contents = [await store.read(output.blobs[0].cid) for (output,) in outputs]
    assert contents == [f"file {n}".encode() for n in range(30)]
    assert len(children()) <= 2


HOSTILE = {
    "loop": ("step.timeout", "longer than its limit of 0.5 s"),
    "sleep": ("step.exit", "exited with 7"),
    "memory": ("step.exit", "memory had reached the limit of 16777216 bytes"),
    "memory-trap": ("step.trap|step.exit", "memory had reached the limit|crashed"),
    "stdout": ("step.stdout|step.trap|step.timeout", ""),
    "stdout-text": ("step.stdout", "65536 bytes to stdout"),
    "stderr": ("step.stderr", "4096 bytes to stderr"),
    "bytes": ("step.outputs", "the outputs folder"),
    "one-big-file": ("step.exit|step.outputs", "exited with 6|the outputs folder"),
    "unlinked": ("step.exit", "exited with 6"),
    "files": ("step.outputs", "more than 8 files in the outputs folder"),
    "folders": ("step.outputs", "more than 8 files in the outputs folder"),
    "descriptors": ("step.exit", "exited with 5"),
    "crash": ("step.trap", "crashed"),
    "stack": ("step.trap", "crashed"),
    "exit": ("step.exit", "exited with 3"),
    "exit-high": ("step.failed|step.exit", ""),
    "silence": ("step.answer", "without an answer"),
    "only-ready": ("step.answer", "without an answer"),
    "garbage": ("step.answer", "may answer"),
    "nul": ("step.answer", "may answer"),
    "two": ("step.answer", "with 2 lines"),
    "other": ("step.order", "other"),
    "shape": ("step.answer", "may answer"),
    "foreign-blob": ("step.answer", "bafy"),
}


@pytest.mark.parametrize("evil", HOSTILE)
async def test_hostile_module_is_stopped_and_nothing_else_notices(
    evil: str, make_runner: MakeRunner, make_input: MakeInput, log: Lines, tmp_path: Path
) -> None:
    codes, text = HOSTILE[evil]
    hangs = evil in ("loop", "stdout", "stdout-text", "stderr")
    runner = make_runner("hostile", HASTY if hangs else LIMITS)
    # A neighbour is under way in the other child all the while.
    neighbour = make_runner("files")
    good = await make_input(("a.txt", b"hello"), copy=True)
    bad = await make_input(evil=evil)
    results = await asyncio.gather(runner.run(bad), neighbour.run(good), return_exceptions=True)
    failure, neighbours = results
    assert isinstance(failure, StepFailed), failure
    assert failure.code in codes.split("|")
    assert any(part in failure.message for part in text.split("|")), failure.message
    assert not failure.final
    assert not isinstance(neighbours, BaseException)
    assert await make_runner("hostile").run(await make_input()) == []
    assert list((tmp_path / "scratch").iterdir()) == []


async def test_the_ready_line_is_no_answer(make_runner: MakeRunner, make_input: MakeInput) -> None:
    (output,) = await make_runner("hostile").run(await make_input(evil="ready"))
    assert output.type == "t.out"


async def test_damaged_compiled_module_is_compiled_again(
    tmp_path: Path, store: BlobStore, program: Callable[[str], Path], make_input: MakeInput, log: Lines
) -> None:
    for damaged in (False, True):
        for compiled in (tmp_path / "cache").glob("*.bin"):
            assert damaged
            compiled.write_bytes(b"damaged")
        executor = WasmExecutor(tmp_path / "cache", tmp_path / "scratch", workers=1)
        runner = runner_of(store, log, WasmTask(module="h"), wasm=executor, module=program("hostile"))
        assert await runner.run(await make_input()) == []
        await executor.close()


async def test_empty_log_lines_do_not_keep_the_agent_busy(
    executor: WasmExecutor, store: BlobStore, program: Callable[[str], Path], make_input: MakeInput
) -> None:
    log = Counting()
    pulse = asyncio.create_task(log.pulse())
    task = WasmTask(module="h", limits=Limits(timeout=30.0))
    await runner_of(store, log, task, wasm=executor, module=program("hostile")).run(
        await make_input(evil="empty-log-lines")
    )
    pulse.cancel()
    assert (log.lines, log.most <= 5000) == (60000, True)


async def test_log_comes_after_a_line_without_an_end(
    make_runner: MakeRunner, make_input: MakeInput, log: Lines
) -> None:
    runner = make_runner("hostile", Limits(timeout=60.0, stderr=8 * MIB))
    task = asyncio.create_task(runner.run(await make_input(evil="long-line")))
    await eventually(lambda: "next" in log)
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


WRONG_LINES = {
    "newlines": "not an answer: ",
    "banner": "not an answer: a library's banner",
    "two": 'a second answer: {"id":"e1",',
}


@pytest.mark.parametrize("evil", WRONG_LINES)
async def test_one_wrong_line_of_many_is_in_the_log(
    evil: str, make_runner: MakeRunner, make_input: MakeInput, log: Lines
) -> None:
    with pytest.raises(StepFailed, match="answered one event with"):
        await make_runner("hostile").run(await make_input(evil=evil))
    wrong, failure = log.agent
    assert wrong.startswith(WRONG_LINES[evil])
    assert "answered one event with" in failure


@pytest.mark.parametrize("engine", ["wasmtime", "wasm3"])
async def test_environment_of_the_step_reaches_every_module(
    engine: str, tmp_path: Path, program: Callable[[str], Path], store: BlobStore, make_input: MakeInput, log: Lines
) -> None:
    executor = WasmExecutor(tmp_path / "cache", tmp_path / "scratch", workers=1, engine=engine)
    env = {"HELLO": "there"}
    try:
        warm = runner_of(store, log, WasmTask(module="h", env=env), module=program("hostile"), wasm=executor)
        await warm.run(await make_input(evil="env"))
        once = WasmTask(module="o", args=["env"], env=env, once=True)
        await runner_of(store, log, once, module=program("once"), wasm=executor).run(await make_input())
        await executor.filter(program("count"), WasmTask(module="c", args=["env"], env=env)).feed(b"a\n", log)
    finally:
        await executor.close()
    assert (log, log.stdout) == (["there", "there"], ["there"])


async def test_descriptors_are_few(make_runner: MakeRunner, make_input: MakeInput, log: Lines) -> None:
    with pytest.raises(StepFailed):
        await make_runner("hostile").run(await make_input(evil="descriptors"))
    assert 8 <= int(log[0]) <= 96


async def test_unlinked_files_do_not_evade_the_limits(
    make_runner: MakeRunner, make_input: MakeInput, log: Lines
) -> None:
    """Open and unlinked files are bounded by descriptors times the largest file."""
    with pytest.raises(StepFailed):
        await make_runner("hostile").run(await make_input(evil="unlinked"))
    assert "errno" in log[0]


async def test_error_of_the_program_is_final(make_runner: MakeRunner, make_input: MakeInput, log: Lines) -> None:
    with pytest.raises(StepFailed, match="reports: no") as failure:
        await make_runner("hostile").run(await make_input(evil="error"))
    assert failure.value.final


async def test_module_cannot_get_out_of_its_folders(
    make_runner: MakeRunner, make_input: MakeInput, log: Lines, store: BlobStore
) -> None:
    item = await make_input(("a.txt", b"hello"))
    await make_runner("files").run(item)
    assert len(log) == 13
    assert [line for line in log if not line.endswith("refused")] == []
    assert await store.read(item.blobs[0].cid) == b"hello"


@pytest.mark.parametrize(
    "name", ["../blobs/a.txt", "/etc/passwd", "missing", "folder", "/blobs/a.txt", ".", "", "a//b"]
)
async def test_output_that_is_not_a_regular_file_is_refused(
    name: str, make_runner: MakeRunner, make_input: MakeInput, log: Lines
) -> None:
    with pytest.raises(StepFailed) as failure:
        await make_runner("files").run(await make_input(("a.txt", b"x"), name="!" + name))
    assert failure.value.code == "step.outputs"


async def test_killed_child_fails_its_event_only(
    make_runner: MakeRunner, make_input: MakeInput, log: Lines, executor: WasmExecutor
) -> None:
    runner = make_runner("hostile", Limits(timeout=30.0))
    await runner.start()
    (child,) = children()
    task = asyncio.create_task(runner.run(await make_input(evil="loop")))
    await eventually(lambda: psutil.Process(child).cpu_times().user > 0.3)
    os.kill(child, 9)
    with pytest.raises(StepFailed, match="worker died") as failure:
        await task
    assert failure.value.code == "wasm.worker"
    assert await runner.run(await make_input()) == []


async def test_child_that_died_while_idle_is_replaced(
    make_runner: MakeRunner, make_input: MakeInput, log: Lines
) -> None:
    runner = make_runner("hostile")
    await runner.start()
    (child,) = children()
    os.kill(child, 9)
    await eventually(lambda: child not in children())
    assert await runner.run(await make_input()) == []


async def test_cancelled_event_ends_its_child(
    make_runner: MakeRunner, make_input: MakeInput, log: Lines, tmp_path: Path
) -> None:
    runner = make_runner("hostile", Limits(timeout=30.0))
    await runner.start()
    (child,) = children()
    task = asyncio.create_task(runner.run(await make_input(evil="loop")))
    await eventually(lambda: psutil.Process(child).cpu_times().user > 0.3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert child not in children()
    assert list((tmp_path / "scratch").iterdir()) == []


async def test_leftovers_of_an_earlier_life_are_removed(
    tmp_path: Path, make_runner: MakeRunner, make_input: MakeInput, log: Lines
) -> None:
    deep = tmp_path / "scratch2" / "old"
    deep.mkdir(parents=True)
    (deep / "outputs").mkdir()
    (deep / "outputs" / "link").symlink_to("/etc")
    executor = WasmExecutor(tmp_path / "cache2", tmp_path / "scratch2")
    assert list((tmp_path / "scratch2").iterdir()) == []
    assert Path("/etc/passwd").exists()
    await executor.close()


async def test_close_ends_every_child(
    make_runner: MakeRunner, make_input: MakeInput, log: Lines, executor: WasmExecutor
) -> None:
    await make_runner("hostile").run(await make_input())
    assert children()
    await executor.close()
    assert children() == []


async def test_children_do_not_outlive_an_agent_that_is_killed(
    tmp_path: Path, program: Callable[[str], Path], store: BlobStore
) -> None:
    text = f"""
import asyncio, os, psutil
from pathlib import Path
from agent.executors import Executors, NoLog, Policy, WasmExecutor
from agent.model.event import Event
from agent.model.task import Limits, StepInput, WasmTask

async def main():
    executor = WasmExecutor(Path({str(tmp_path / "cache")!r}), Path({str(tmp_path / "scratch")!r}))
    task = WasmTask(module="hostile", limits=Limits(timeout=60.0))
    runner = Executors(executor, None, None, Policy(), None).runner(task, "s", NoLog(), Path({str(program("hostile"))!r}))
    await runner.start()
    event = Event(id="e", source="/n/p/s", type="t", time="2026-01-01T00:00:00Z", data={{"evil": "loop"}})
    asyncio.create_task(runner.run(StepInput(event)))
    (child,) = psutil.Process().children()
    while child.cpu_times().user < 0.5:
        await asyncio.sleep(0.01)
    print(child.pid, flush=True)
    os.kill(os.getpid(), 9)

asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", text, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert process.returncode == -9
    await eventually(lambda: not psutil.pid_exists(int(out)))


async def test_idle_worker_ends_and_the_next_event_starts_another(
    tmp_path: Path, store: BlobStore, program: Callable[[str], Path], make_input: MakeInput, log: Lines
) -> None:
    executor = WasmExecutor(tmp_path / "cache", tmp_path / "scratch", workers=2, rest=0.05)
    try:
        runner = runner_of(store, log, WasmTask(module="files", limits=LIMITS), wasm=executor, module=program("files"))
        await runner.start()
        await eventually(lambda: not children())
        (output,) = await runner.run(await make_input(("a.txt", b"hello"), copy=True))
        assert [blob.name for blob in output.blobs] == ["b.txt"]
        await eventually(lambda: not children())
    finally:
        await executor.close()


async def test_closing_with_idle_workers_leaves_no_worker(
    tmp_path: Path, store: BlobStore, program: Callable[[str], Path]
) -> None:
    executor = WasmExecutor(tmp_path / "cache", tmp_path / "scratch", workers=2, rest=3600.0)
    await runner_of(
        store, Lines(), WasmTask(module="files", limits=LIMITS), wasm=executor, module=program("files")
    ).start()
    assert len(children()) == 1
    await executor.close()
    assert not children()
