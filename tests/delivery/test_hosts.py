"""Running steps: a fault of the agent's own costs one event, and what became of it is what the disk says."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.delivery.changes import Action
from agent.errors import EdgeError, NotFound, StepFailed
from agent.model.pipeline import Keep
from agent.model.task import StepInput, StepLog, StepOutput, Stream
from tests.delivery.story import Building, Program
from tests.support import eventually

Run = Callable[[StepInput], Awaitable[list[StepOutput]]]


class Own(Program):
    """A program of a test's own."""

    def __init__(self, building: Building, run: Run) -> None:
        super().__init__("wasm", building)
        self.own = run

    async def run(self, item: StepInput) -> list[StepOutput]:
        return await self.own(item)


def porch(tmp_path: Path, run: Run) -> Building:
    b = Building(tmp_path)
    b.start("porch", "gpu", "up")
    b.nodes["porch"].steps.parts.programs.executors.wasm = lambda module, task: Own(b, run)  # type: ignore[method-assign]
    return b


async def photo(b: Building, ident: str) -> Any:
    p = b.nodes["porch"].p
    await p.trigger(b.pipeline, "photos", "camera.photo", {"camera": "porch-cam"}, ident)
    return p.journal.find(ident, b.pipeline.name, "small", "")


async def test_outputs_that_cannot_be_journalled_fail_their_event(tmp_path: Path) -> None:
    async def run(item: StepInput) -> list[StepOutput]:
        data: dict[str, Any] = {"camera": "porch-cam"}
        if item.event.id == "bad":
            for _ in range(5000):
                data = {"a": data}
        return [StepOutput("image.rescaled", {"camera": "porch-cam"}), StepOutput("image.rescaled", data)]

    b = porch(tmp_path, run)
    bad, good = await photo(b, "bad"), await photo(b, "good")
    await eventually(lambda: bad.end and good.end)
    assert (bad.end, bad.attempts, good.end) == ("failed", 3, "delivered")
    assert "RecursionError" in bad.reason
    assert not b.nodes["porch"].p.journal.children.get(bad.n)
    await eventually(b.quiet)
    b.check_sums()
    await b.stop()


async def test_outputs_before_a_fault_go_on_and_nothing_runs_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = 0

    async def run(item: StepInput) -> list[StepOutput]:
        nonlocal runs
        runs += 1
        return [StepOutput("image.rescaled", {"camera": "porch-cam"})]

    b = porch(tmp_path, run)
    engine = b.nodes["porch"].p
    do = engine._do

    def faulty(action: Action) -> None:
        if action.row.step == "labels" and runs == 1:
            monkeypatch.setattr(engine, "_do", do)
            raise RuntimeError("a mistake of ours")
        do(action)

    monkeypatch.setattr(engine, "_do", faulty)
    row = await photo(b, "e")
    await eventually(lambda: row.end == "delivered")
    assert (runs, row.attempts) == (1, 0)
    await eventually(b.quiet)
    await b.stop()


async def test_an_event_does_not_fail_because_the_journal_broke(tmp_path: Path) -> None:
    accepted = asyncio.Event()

    async def run(item: StepInput) -> list[StepOutput]:
        await accepted.wait()
        with contextlib.suppress(EdgeError):
            await b.nodes["porch"].p.journal.storage.write(lambda db: db.execute("INSERT INTO nothing VALUES (1)"))
        return [StepOutput("image.rescaled", {"camera": "porch-cam"})]

    b = porch(tmp_path, run)
    row = await photo(b, "e")
    accepted.set()
    task = b.nodes["porch"].task
    assert task is not None
    await eventually(task.done)
    assert (row.end, row.attempts) == (None, 0)
    await b.stop()


async def test_an_old_versions_event_runs_while_programs_stop(tmp_path: Path) -> None:
    go = asyncio.Event()

    async def run(item: StepInput) -> list[StepOutput]:
        await go.wait()
        return []

    b = porch(tmp_path, run)
    p = b.nodes["porch"].p
    await p.trigger(b.pipeline, "arrived", "device.arrived", {"device": {"known": False}})
    await eventually(lambda: [k[2] for k in p.hosts.hosts] == ["photos", "small"])
    go.set()
    await eventually(b.quiet)
    go.clear()
    late: list[Any] = []

    async def stop(key: Any) -> None:
        if not late:
            late.append(await photo(b, "late"))

    newer = msgspec.structs.replace(b.pipeline, keep=Keep(unmatched=60.0))
    p.definitions.apply(newer.name, msgspec.json.encode(newer))
    p.steps.stop = stop  # type: ignore[method-assign]
    await p.hosts.retire()
    go.set()
    await eventually(lambda: late[0].end == "delivered")
    await p.hosts.retire()
    assert not p.hosts.hosts
    await b.stop()


class Noted:
    """A StepLog that notes its lines with its step."""

    def __init__(self, notes: list[tuple[str, str, str]], key: tuple[str, str, str]) -> None:
        self.notes, self.key = notes, key

    def begin(self) -> StepLog:
        return self

    def line(self, text: str, /, stream: Stream = "stderr", event: str = "") -> None:
        self.notes.append((self.key[0], self.key[2], text))


async def test_a_step_that_cannot_start_says_so_everywhere(tmp_path: Path) -> None:
    missing = NotFound("docker: no such image: edge/detector:1", hint="load, pull or build it on this node")
    notes: list[tuple[str, str, str]] = []

    class Missing(Program):
        async def start(self) -> None:
            raise missing

    b = Building(tmp_path)
    b.start("gpu", "up")
    engine = b.nodes["gpu"].p
    steps = b.nodes["gpu"].steps
    steps.parts = replace(steps.parts, log_of=lambda *key: Noted(notes, key))
    steps.parts.programs.executors.docker = lambda task, name: Missing("docker", b)  # type: ignore[method-assign]
    data = {"camera": "porch-cam"}
    await engine.trigger(b.pipeline, "small", "image.rescaled", data, "event-1")
    await eventually(lambda: engine.hosts.now(b.pipeline.name, "labels").failures >= 2)
    now = engine.hosts.now(b.pipeline.name, "labels")
    assert (now.state, now.error, now.hint, now.queued) == ("not-started", missing.message, missing.hint, 1)
    _, (row,) = await engine.traces.gather("Even")
    assert (row.state, row.reason) == ("queued", missing.message)
    assert notes == [(b.pipeline.name, "labels", f"cannot start here, will be tried again: {missing}")]
    steps.parts.programs.executors.docker = lambda task, name: Program("docker", b)  # type: ignore[method-assign]
    await eventually(lambda: b.alerts)
    now = engine.hosts.now(b.pipeline.name, "labels")
    assert (now.state, now.error, now.hint, now.queued) == ("ready", "", "", 0)
    await b.stop()


async def test_a_program_that_ends_before_it_is_ready_is_told(tmp_path: Path) -> None:
    b = Building(tmp_path)
    b.start("gpu", "up")
    program = Program("docker", b)
    b.nodes["gpu"].steps.parts.programs.executors.docker = lambda task, name: program  # type: ignore[method-assign]
    hosts = b.nodes["gpu"].p.hosts
    hosts.warm((b.pipeline.name, b.pipeline.version, "labels"))
    await eventually(lambda: hosts.now(b.pipeline.name, "labels").state == "ready")
    program.start_failure = StepFailed("the container exited with 127", hint="see its log")
    now = hosts.now(b.pipeline.name, "labels")
    assert (now.state, now.error, now.hint, now.failures) == (
        "failing",
        "the container exited with 127",
        "see its log",
        1,
    )
    program.start_failure = None
    assert hosts.now(b.pipeline.name, "labels").state == "ready"
    await b.stop()


async def test_a_step_that_was_never_needed_here_is_idle(tmp_path: Path) -> None:
    b = Building(tmp_path)
    b.start("gpu")
    assert b.nodes["gpu"].p.hosts.now(b.pipeline.name, "labels").state == "idle"
    await b.stop()
