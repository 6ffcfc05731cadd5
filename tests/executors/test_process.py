"""Plain executables after the step contract."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import psutil
import pytest

from agent.blobs import BlobStore
from agent.errors import StepFailed
from agent.executors import ProcessExecutor
from agent.executors.record import HANDLE
from agent.model.task import MIB, Limits, ProcessTask, Runner
from tests.executors.conftest import Counting, Lines, MakeInput, runner_of
from tests.support import eventually

LIMITS = Limits(memory=256 * MIB, timeout=30.0, outputs=MIB, stdout=64 * 1024, stderr=4096, files=8)
HASTY = msgspec.structs.replace(LIMITS, timeout=1.0)
"""For programs that only their time stops."""
HEAD = """
import json, os, sys, time, subprocess, signal
def answer(event, *blobs):
    data = {"blobs": list(blobs)} if blobs else {}
    print(json.dumps({"id": event["id"], "events": [{"type": "t.out", "data": data}] if blobs else []}), flush=True)
for line in sys.stdin:
    event = json.loads(line)
    evil = event["data"].get("evil")
"""
MakeRunner = Callable[..., Runner]


@pytest.fixture
async def make_runner(tmp_path: Path, store: BlobStore, log: Lines) -> AsyncIterator[MakeRunner]:
    """Runners of a Python program's loop body; closed at the end."""
    executor = ProcessExecutor(tmp_path / "scratch")
    made: list[Runner] = []
    before = psutil.Process().children()  # a sink that other tests share

    def make(body: str, *, limits: Limits = LIMITS, **env: str) -> Runner:
        text = HEAD + "\n".join("    " + line for line in body.strip().splitlines())
        command = [sys.executable, "-S", "-E", "-c", text]
        task = ProcessTask(command=command, env=env, limits=limits, start_timeout=limits.timeout)
        made.append(runner_of(store, log, task, process=executor))
        return made[-1]

    yield make
    for runner in made:
        await runner.close()
    assert list((tmp_path / "scratch").iterdir()) == []
    assert psutil.Process().children() == before


async def test_reads_its_blob_and_its_file_becomes_one(
    make_runner: MakeRunner, make_input: MakeInput, store: BlobStore, log: Lines
) -> None:
    runner = make_runner("""
text = open(event["data"]["blobs"][0]["path"]).read()
open(os.environ["EDGE_OUTPUTS"] + "b.txt", "w").write(text.upper())
answer(event, {"name": "b.txt", "type": "text/plain"})
""")
    for text in (b"one", b"two"):
        (output,) = await runner.run(await make_input(("a.txt", text)))
        assert await store.read(output.blobs[0].cid) == text.upper()


async def test_knows_nothing_of_the_agent(
    make_runner: MakeRunner, make_input: MakeInput, log: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_SECRET", "s3cret")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/before")
    with open(os.devnull) as held:  # noqa: PTH123
        os.set_inheritable(held.fileno(), True)
        runner = make_runner(
            """
print(os.environ.get("EDGE_SECRET"), os.environ["LD_LIBRARY_PATH"], os.environ["MORE"], file=sys.stderr)
print(len(os.listdir("/proc/self/fd")), os.getpid() == os.getsid(0), file=sys.stderr)
answer(event)
""",
            MORE="yes",
        )
        await runner.run(await make_input())
    await eventually(lambda: len(log) == 2)
    # stdin, stdout, stderr, and the listing itself.
    assert log == ["None /before yes", "4 True"]


async def test_env_of_the_step_moves_no_place(make_runner: MakeRunner, make_input: MakeInput, log: Lines) -> None:
    runner = make_runner(
        'print(os.environ["EDGE_OUTPUTS"] == os.getcwd() + "/", file=sys.stderr)\nanswer(event)',
        EDGE_OUTPUTS="/nowhere/",
    )
    await runner.run(await make_input())
    await eventually(lambda: log)
    assert log == ["True"]


HOSTILE = {
    "endless loop": ("while True: pass", "step.timeout", "limit of 1 s"),
    "sleep": ("time.sleep(100)", "step.timeout", "limit of 1 s"),
    "a child that stays": ("subprocess.Popen(['sleep', '100']); os._exit(4)", "step.exit", "exited with 4"),
    "a child that holds stdout": ("subprocess.Popen(['sleep', '100']); time.sleep(100)", "step.timeout", ""),
    "memory bomb": ("x = []\n    while True: x.append(bytearray(1 << 24))", "step.exit", "exited with 1"),
    "stdout flood": ("while True: sys.stdout.write('x' * 65536)", "step.stdout", "65536 bytes to stdout"),
    "stderr flood": ("while True: sys.stderr.write('x' * 65536)", "step.stderr", "4096 bytes to stderr"),
    "large outputs": (
        "[open(os.environ['EDGE_OUTPUTS'] + str(n), 'w').write('x' * 900_000) for n in range(4)]; time.sleep(9)",
        "step.outputs",
        "bytes in the outputs folder",
    ),
    "many outputs": (
        "[open(os.environ['EDGE_OUTPUTS'] + str(n), 'w') for n in range(99)]; time.sleep(9)",
        "step.outputs",
        "more than 8 files",
    ),
    "descriptors": ("x = [open('/dev/null') for _ in range(9999)]", "step.exit", "exited with 1"),
    "crash": ("os.kill(os.getpid(), signal.SIGSEGV)", "step.exit", "killed by signal 11"),
    "garbage": ("print('hello', flush=True)", "step.answer", "may answer"),
    "other": ("answer({'id': 'other'})", "step.order", "other"),
    "link": (
        "os.symlink('/etc/passwd', os.environ['EDGE_OUTPUTS'] + 'f'); answer(event, {'name': 'f'})",
        "step.outputs",
        "a link",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_process_is_stopped_and_the_next_event_works(
    name: str, make_runner: MakeRunner, make_input: MakeInput, log: Lines
) -> None:
    body, code, text = HOSTILE[name]
    runner = make_runner(f"if evil:\n    {body}\nanswer(event)", limits=HASTY if code == "step.timeout" else LIMITS)
    with pytest.raises(StepFailed) as failure:
        await runner.run(await make_input(evil=True))
    assert failure.value.code == code
    assert text in failure.value.message
    assert not failure.value.final
    assert await runner.run(await make_input()) == []


async def test_empty_log_lines_do_not_keep_the_agent_busy(
    tmp_path: Path, store: BlobStore, make_input: MakeInput
) -> None:
    executor, log = ProcessExecutor(tmp_path / "scratch"), Counting()
    pulse = asyncio.create_task(log.pulse())
    script = 'read -r line; yes \'\' | head -c 60000 >&2; echo \'{"id":"e1","events":[]}\'; read -r line'
    runner = runner_of(store, log, ProcessTask(command=["/bin/sh", "-c", script]), process=executor)
    await runner.run(await make_input())
    await eventually(lambda: log.lines == 60000)
    pulse.cancel()
    await runner.close()
    await executor.close()
    assert log.most <= 5000


async def test_blob_is_a_copy_that_the_process_cannot_spoil(
    make_runner: MakeRunner, make_input: MakeInput, store: BlobStore, log: Lines
) -> None:
    runner = make_runner("""
path = event["data"]["blobs"][0]["path"]
os.chmod(path, 0o644)
open(path, "w").write("spoiled")
answer(event)
""")
    item = await make_input(("a.txt", b"good"))
    await runner.run(item)
    assert await store.read(item.blobs[0].cid) == b"good"


async def test_missing_program_is_named(tmp_path: Path, store: BlobStore) -> None:
    runner = runner_of(store, Lines(), ProcessTask(command=["/no/such"]), process=ProcessExecutor(tmp_path / "s"))
    with pytest.raises(StepFailed, match="/no/such does not start"):
        await runner.start()
    await runner.close()


async def test_close_does_not_wait_for_the_backoff_after_failures(
    make_runner: MakeRunner, make_input: MakeInput, log: Lines
) -> None:
    runner = make_runner("os._exit(1)")
    for _ in range(2):
        with pytest.raises(StepFailed):
            await runner.run(await make_input())
    runner._tries.failures = 30  # type: ignore[attr-defined]
    runner._tries.failed()  # type: ignore[attr-defined]
    assert 30 < runner._tries.left() <= 60  # type: ignore[attr-defined]
    waiting = asyncio.create_task(runner.run(await make_input()))
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await runner.close()
        with pytest.raises(StepFailed, match="being stopped"):
            await waiting


async def test_next_run_kills_a_warm_program_of_a_killed_agent(
    make_runner: MakeRunner, make_input: MakeInput, tmp_path: Path, log: Lines
) -> None:
    await make_runner("print(os.getpid(), file=sys.stderr); answer(event)").run(await make_input())
    await eventually(lambda: log)
    (folder,) = (tmp_path / "scratch").iterdir()
    left = tmp_path / "left" / "it"
    left.mkdir(parents=True)
    (left / HANDLE).write_bytes((folder / HANDLE).read_bytes())
    executor = ProcessExecutor(left.parent)
    await eventually(lambda: gone(int(log[0])))
    assert list(left.parent.iterdir()) == []
    await executor.close()


@pytest.fixture
async def once(tmp_path: Path, store: BlobStore, log: Lines) -> AsyncIterator[Callable[..., Runner]]:
    """Runners of `once` programs by their commands; closed at the end, with nothing left behind."""
    executor = ProcessExecutor(tmp_path / "scratch")
    made: list[Runner] = []
    before = psutil.Process().children()

    def make(*command: str) -> Runner:
        made.append(
            runner_of(store, log, ProcessTask(command=list(command), limits=LIMITS, once=True), process=executor)
        )
        return made[-1]

    yield make
    for runner in made:
        await runner.close()
    await executor.close()
    assert list((tmp_path / "scratch").iterdir()) == []
    assert psutil.Process().children() == before


@pytest.mark.parametrize(
    ("text", "mode", "why"),
    [(None, 0, "No such file"), ("#!/bin/sh", 0o600, "Permission denied"), ("no program", 0o700, "Exec format error")],
)
async def test_once_program_that_cannot_start_says_why(
    once: Callable[..., Runner], make_input: MakeInput, tmp_path: Path, text: str | None, mode: int, why: str
) -> None:
    program = tmp_path / "program"
    if text is not None:
        program.write_text(text)
        program.chmod(mode)
    with pytest.raises(StepFailed, match=f"program does not start: .*{why}") as failure:
        await once(str(program)).run(await make_input())
    assert failure.value.code == "step.start"
    assert not failure.value.final


async def test_once_program_gets_nothing_from_its_worker(
    once: Callable[..., Runner], make_input: MakeInput, log: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_SECRET", "s3cret")
    text = """
import os, signal, sys
print(os.environ.get("EDGE_SECRET"), len(os.listdir("/proc/self/fd")), os.getpid() == os.getsid(0))
print([s.name for s in (signal.SIGINT, signal.SIGALRM, signal.SIGTERM) if signal.getsignal(s) == signal.SIG_IGN])
print(repr(sys.stdin.read()))
"""
    await once(sys.executable, "-S", "-E", "-c", text).run(await make_input())
    assert log.stdout == ["None 4 True", "[]", "''"]


async def test_program_ends_with_its_killed_worker(
    once: Callable[..., Runner], make_input: MakeInput, log: Lines
) -> None:
    task = asyncio.create_task(once("/bin/sh", "-c", "echo $$ $PPID; exec sleep 1000").run(await make_input()))
    await eventually(lambda: log.stdout)
    program, worker = map(int, log.stdout[0].split())
    os.kill(worker, signal.SIGKILL)
    with pytest.raises(StepFailed) as failure:
        await task
    assert failure.value.code == "process.worker"
    assert gone(program)
    (output,) = await once("/bin/true").run(await make_input())
    assert output.data["program"]["exit_code"] == 0


async def test_child_of_an_ended_once_program_is_killed(
    once: Callable[..., Runner], make_input: MakeInput, log: Lines
) -> None:
    await once("/bin/sh", "-c", "sleep 1000 & echo $!").run(await make_input())
    await eventually(lambda: gone(int(log.stdout[0])))


def gone(number: int) -> bool:
    """Whether the process has ended."""
    try:
        return psutil.Process(number).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
