"""Warm programs: the time of their start, the ready line, and what the step's log says of a program that breaks the contract."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from agent.blobs import BlobStore
from agent.errors import StepFailed
from agent.executors import ProcessExecutor
from agent.model.task import MIB, Limits, ProcessTask, Runner
from tests.executors.conftest import Lines, MakeInput, runner_of
from tests.support import eventually

HEAD = """
import json, sys, time
def say(text):
    print(text, flush=True)
def answer(event):
    say(json.dumps({"id": event["id"], "events": []}))
"""
LOOP = """
for line in sys.stdin:
    event = json.loads(line)
    answer(event)
"""
Make = Callable[..., Runner]


@pytest.fixture
async def make(tmp_path: Path, store: BlobStore, log: Lines) -> AsyncIterator[Make]:
    """Runners of a Python program; closed at the end, with nothing left behind."""
    executor = ProcessExecutor(tmp_path / "scratch")
    made: list[Runner] = []
    before = psutil.Process().children()

    def make(body: str, *, timeout: float = 30.0, start_timeout: float = 30.0) -> Runner:
        task = ProcessTask(
            command=[sys.executable, "-S", "-E", "-c", HEAD + body],
            limits=Limits(memory=256 * MIB, timeout=timeout),
            start_timeout=start_timeout,
        )
        made.append(runner_of(store, log, task, process=executor))
        return made[-1]

    yield make
    for runner in made:
        await runner.close()
    assert list((tmp_path / "scratch").iterdir()) == []
    assert psutil.Process().children() == before


@pytest.mark.parametrize("ready", ["", "say('{\"ready\": true}')"], ids=["first answer", "ready line"])
async def test_a_slow_start_is_not_counted_as_a_slow_answer(make: Make, make_input: MakeInput, ready: str) -> None:
    runner = make(f"time.sleep(1.0)\n{ready}\n{LOOP}", timeout=0.4)
    assert await runner.run(await make_input()) == []
    assert await runner.run(await make_input()) == []


async def test_a_start_beyond_its_own_limit_fails(make: Make, make_input: MakeInput, log: Lines) -> None:
    with pytest.raises(StepFailed, match=r"after its start limit of 0\.2 s") as failure:
        await make(f"time.sleep(60)\n{LOOP}", timeout=0.2, start_timeout=0.2).run(await make_input())
    assert failure.value.code == "step.timeout"
    assert "process.start_timeout" in failure.value.hint
    assert "start limit" in log.agent[-1]


async def test_a_ready_program_has_its_usual_time(make: Make, make_input: MakeInput) -> None:
    body = "say('{\"ready\": true}')\nsys.stdin.readline()\ntime.sleep(60)"
    with pytest.raises(StepFailed, match=r"within its limit of 0\.3 s$") as failure:
        await make(body, timeout=0.3).run(await make_input())
    assert "process.timeout" in failure.value.hint


async def test_a_second_answer_is_in_the_log_with_its_line(make: Make, make_input: MakeInput, log: Lines) -> None:
    runner = make("event = json.loads(sys.stdin.readline())\nanswer(event)\nsay('once more')\n" + LOOP)
    await runner.run(await make_input())
    await eventually(lambda: any("more than one line" in line or "without being asked" in line for line in log.agent))
    assert any(line.endswith(": once more") for line in log.agent)
    assert await runner.run(await make_input()) == []
    assert log.begun == 2


async def test_a_line_that_is_no_answer_is_in_the_log(make: Make, make_input: MakeInput, log: Lines) -> None:
    with pytest.raises(StepFailed, match="may answer"):
        await make("sys.stdin.readline()\nsay('Loading model ' + 'x' * 500)").run(await make_input())
    (told,) = [line for line in log.agent if "Loading model" in line]
    assert "x" * 150 in told
    assert len(told) < 400


async def test_an_error_of_the_program_is_in_its_log(make: Make, make_input: MakeInput, log: Lines) -> None:
    body = "event = json.loads(sys.stdin.readline())\nsay(json.dumps({'id': event['id'], 'error': 'no such label'}))\n"
    with pytest.raises(StepFailed, match="no such label"):
        await make(body + LOOP).run(await make_input())
    assert log.agent == ["the program reports: no such label"]


async def test_the_end_of_a_program_is_in_its_log(make: Make, make_input: MakeInput, log: Lines) -> None:
    with pytest.raises(StepFailed, match="exited with 7"):
        await make("sys.stdin.readline()\nsys.exit(7)").run(await make_input())
    assert log.agent == ["the process exited with 7"]


async def test_the_making_of_a_program_is_no_part_of_its_start(
    make: Make, make_input: MakeInput, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    clock = SimpleNamespace(monotonic=lambda: now)
    monkeypatch.setattr("agent.executors.dialogue.time", clock)
    runner: Any = make(f"time.sleep(1.0)\n{LOOP}", timeout=0.05)
    open_now = runner._launcher.open

    async def slowly(*args: Any, **more: Any) -> Any:
        nonlocal now
        now += 1000.0
        return await open_now(*args, **more)

    monkeypatch.setattr(runner._launcher, "open", slowly)
    assert await runner.run(await make_input()) == []


ANSWERED = """
import os
open("x", "w").close()
event = json.loads(sys.stdin.readline())
answer(event)
while os.path.exists("x"):
    time.sleep(0.01)
"""
"""Answers an event and goes on once the agent has the answer: it empties the outputs folder then."""
OUT_OF_STEP = {
    "flood": ("while True: say('y')", "without being asked"),
    "noise": ("while True: sys.stderr.write('x' * 65536)", "limit of 65536 bytes to stderr"),
    "end": ("sys.exit(3)", "exited with 3"),
    "second answer": ("answer(event)\ntime.sleep(1000)", "without being asked"),
    "closed stdout": ("os.close(1)\nos.close(2)\ntime.sleep(1000)", "closed its stdout"),
}


@pytest.mark.parametrize("name", OUT_OF_STEP)
async def test_a_program_out_of_step_ends_at_once(
    name: str, make: Make, make_input: MakeInput, log: Lines, tmp_path: Path
) -> None:
    body, why = OUT_OF_STEP[name]
    before = psutil.Process().children()
    runner: Any = make(f"{ANSWERED}\n{body}")
    assert await runner.run(await make_input()) == []
    await eventually(lambda: psutil.Process().children() == before and not list((tmp_path / "scratch").iterdir()))
    assert runner.running == 0
    assert len(log.agent) == 1
    assert why in log.agent[0]
    assert await runner.run(await make_input()) == []


async def test_an_end_before_readiness_is_a_failed_start(make: Make, make_input: MakeInput, tmp_path: Path) -> None:
    first = tmp_path / "first"
    runner = make(f"import os\nif not os.path.exists({str(first)!r}): open({str(first)!r}, 'w'); sys.exit(1)\n{LOOP}")
    assert runner.start_failure is None
    await runner.start()
    await eventually(lambda: runner.start_failure)
    assert runner.start_failure.message == "the process exited with 1"
    assert await runner.run(await make_input()) == []
    assert runner.start_failure is None


async def test_the_end_of_an_idle_ready_program_is_no_failed_start(make: Make, log: Lines) -> None:
    runner = make("say('{\"ready\": true}')\nsys.exit(1)")
    await runner.start()
    await eventually(lambda: log.agent)
    await runner.close()
    assert runner.start_failure is None


async def test_a_cancelled_run_still_ends_its_failed_program(make: Make, make_input: MakeInput) -> None:
    """The fixture finds a process or a folder that stays behind."""
    runner: Any = make("sys.stdin.readline()\nsay('no answer')\ntime.sleep(1000)")
    await runner.start()
    closing, go = asyncio.Event(), asyncio.Event()
    program = runner._warm.program
    close_now = program.close

    async def close() -> None:
        closing.set()
        await go.wait()
        await close_now()

    program.close = close
    run = asyncio.create_task(runner.run(await make_input()))
    await closing.wait()
    run.cancel()
    closed = asyncio.create_task(runner.close())
    await asyncio.sleep(0)
    go.set()
    await closed
    with pytest.raises(asyncio.CancelledError):
        await run
