"""A `once` program outlives a crash of its agent, and the agent's next run adopts it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

from agent.blobs import BlobStore
from agent.errors import StepFailed, Unreachable
from agent.executors import OWNER_LABEL, WasmExecutor
from agent.executors.once import ADOPTED, MAX_LOG
from agent.executors.record import HANDLE, RESULT, Handle, ProcessId, read_handle, write_record
from agent.model.task import WasmTask
from tests.executors.conftest import Lines, MakeInput, runner_of
from tests.executors.crashing import EVENT, Run, Setup, run_of
from tests.executors.wasm_programs import ROOT
from tests.support import eventually

KINDS = ("wasm", "wasm3", "docker", "process")


@pytest.fixture(params=KINDS)
async def setup(request: pytest.FixtureRequest, tmp_path: Path, program: Callable[[str], Path]) -> AsyncIterator[Setup]:
    """A program of each kind; nothing of it is left at the end."""
    kind: str = request.param
    image = request.getfixturevalue("busybox") if kind == "docker" else ""
    made = Setup(kind=kind, folder=str(tmp_path), module=str(program("once")), image=image)
    yield made
    await eventually(lambda: not list(made.scratch.iterdir()))
    assert not containers(made)


def containers(setup: Setup, *columns: str) -> list[str]:
    """The containers of this setup."""
    if setup.kind != "docker":
        return []
    shown = " ".join(columns) or "{{.ID}}"
    command = ["docker", "ps", "-a", "--filter", f"label={OWNER_LABEL}={setup.owner}", "--format", shown]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


class Crashed:
    """An agent that was killed while its program ran; `token` tells this run of the program from another."""

    def __init__(self, root: Path, token: str) -> None:
        self.root = root
        self.token = token

    @property
    def handle(self) -> Handle:
        found = read_handle(self.root)
        assert found is not None
        return found

    def go(self) -> None:
        """Let the program end."""
        (self.root / "program" / "inputs" / "go").touch()


async def crash(setup: Setup) -> Crashed:
    """Run the program in an agent that is killed."""
    command = [sys.executable, "-m", "tests.executors.crashing", msgspec.json.encode(setup).decode()]
    agent = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, cwd=ROOT)
    assert agent.stdout is not None
    async with asyncio.timeout(60):
        while (words := (await agent.stdout.readline()).decode().split()) and words[0] != "started":
            pass
    assert words, "the program did not start"
    agent.send_signal(signal.SIGKILL)
    assert await agent.wait() == -signal.SIGKILL
    (root,) = setup.scratch.iterdir()
    return Crashed(root, words[1])


async def ended(setup: Setup, crashed: Crashed) -> None:
    """Let the program end while no agent runs."""
    crashed.go()
    if setup.kind == "docker":
        await eventually(lambda: containers(setup, "{{.State}}") == ["exited"])
    else:
        await eventually((crashed.root / RESULT).exists)


async def test_next_run_adopts_a_running_program(setup: Setup) -> None:
    crashed, log = await crash(setup), Lines()
    async with run_of(setup) as run:
        task = asyncio.create_task(run.run(log))
        await eventually(lambda: log.stdout == [f"started {crashed.token}"])
        crashed.go()
        (output,) = await task
        assert (output.data["camera"], output.data["program"]["exit_code"]) == ("door", 0)
        assert [b.name for b in output.blobs] == ["run.txt"]
        assert (await run.store.read(output.blobs[0].cid)).decode().strip() == crashed.token
    assert log.begun == 1
    assert log.stdout == [f"started {crashed.token}", "finished"]
    assert log == ["its last words"]
    assert log.agent[0] == ADOPTED


async def test_next_run_adopts_a_program_that_has_ended(setup: Setup) -> None:
    setup = msgspec.structs.replace(setup, code="3")
    crashed, log = await crash(setup), Lines()
    await ended(setup, crashed)
    async with run_of(setup) as run:
        with pytest.raises(StepFailed, match="exited with 3") as failure:
            await run.run(log)
    assert failure.value.fields["stderr"] == ["its last words"]
    assert log.stdout == [f"started {crashed.token}", "finished"]


async def test_flood_without_an_agent_is_bounded_and_fails(setup: Setup) -> None:
    crashed = await crash(msgspec.structs.replace(setup, code="flood"))
    crashed.go()
    if setup.kind != "docker":
        await eventually(lambda: (crashed.root / "stdout").stat().st_size > MAX_LOG)
    async with run_of(msgspec.structs.replace(setup, code="flood")) as run:
        with pytest.raises(StepFailed, match="16777216 bytes to stdout") as failure:
            await run.run(Lines())
    assert failure.value.code == "step.stdout"


async def test_time_limit_counts_from_the_start_of_the_program(setup: Setup) -> None:
    crashed = await crash(setup)
    old = msgspec.structs.replace(crashed.handle, at=crashed.handle.at - 3600)
    write_record(crashed.root, HANDLE, old)
    async with run_of(setup) as run:
        with pytest.raises(StepFailed, match="longer than its limit") as failure:
            await run.run(Lines())
    assert failure.value.code == "step.timeout"
    assert not old.alive


@pytest.mark.parametrize("stop", [False, True], ids=["in time", "before the agent stops"])
async def test_program_that_nothing_adopts_is_ended(setup: Setup, stop: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.executors.programs.ADOPT_WITHIN", 0.0)
    crashed = await crash(setup)
    handle = crashed.handle
    async with run_of(setup) as run:
        assert crashed.root.exists()
        assert handle.alive or containers(setup, "{{.State}}") == ["running"]
        if not stop:
            await run.all.run()
            assert not crashed.root.exists()
            assert not containers(setup)
    assert not handle.alive


async def test_container_of_another_agent_is_not_adopted(tmp_path: Path, busybox: str) -> None:
    setup, other = (Setup(kind="docker", folder=str(tmp_path / name), image=busybox) for name in ("mine", "other"))
    crashed, foreign = await crash(setup), await crash(other)
    write_record(crashed.root, HANDLE, msgspec.structs.replace(crashed.handle, container=foreign.handle.container))
    async with run_of(setup) as run:
        await _runs_again(setup, crashed, run)
    assert containers(other, "{{.State}}") == ["running"]
    async with run_of(other):
        """Its own agent ends it."""
    assert not containers(other) + containers(setup)


@pytest.mark.parametrize("setup", ["docker"], indirect=True)
async def test_container_waits_for_an_engine_that_is_away(setup: Setup) -> None:
    crashed, log = await crash(setup), Lines()
    async with run_of(setup) as run:
        api = run.docker._api
        host, api.host = api.host, "unix:///no/such/engine"
        with pytest.raises(Unreachable):
            await run.runner(log).run(EVENT)
        api.host = host
        crashed.go()
        await run.runner(log).run(EVENT)
    assert log.stdout == [f"started {crashed.token}", "finished"]


@pytest.mark.parametrize("setup", ["docker"], indirect=True)
async def test_container_that_was_never_started_is_removed(setup: Setup) -> None:
    crashed = await crash(setup)
    command = ["docker", "create", "--label", f"{OWNER_LABEL}={setup.owner}", setup.image, "true"]
    created = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    write_record(crashed.root, HANDLE, msgspec.structs.replace(crashed.handle, container=created))
    async with run_of(setup) as run:
        await _runs_again(setup, crashed, run)


@pytest.mark.parametrize("engine", ["wasmtime", "wasm3"])
async def test_module_neither_changes_its_inputs_nor_sees_its_record(
    engine: str, tmp_path: Path, program: Callable[[str], Path], store: BlobStore, make_input: MakeInput, log: Lines
) -> None:
    executor = WasmExecutor(tmp_path / "cache", tmp_path / "scratch", workers=1, engine=engine)
    for mode in ("spoil", "record"):
        task = WasmTask(module="once", args=[mode], once=True)
        await runner_of(store, log, task, module=program("once"), wasm=executor).run(await make_input(("a.txt", b"x")))
    assert log.stdout == ["1", "0"]
    await executor.close()


async def _runs_again(setup: Setup, crashed: Crashed, run: Run) -> None:
    log = Lines()
    task = asyncio.create_task(run.run(log))
    await eventually(lambda: log.stdout)
    assert log.stdout != [f"started {crashed.token}"]
    assert ADOPTED not in log.agent
    crashed.go()  # the folder has the same name
    await task


async def test_program_of_an_earlier_boot_runs_again(setup: Setup) -> None:
    crashed = await crash(setup)
    handle = crashed.handle
    write_record(crashed.root, HANDLE, msgspec.structs.replace(handle, boot="another"))
    try:
        async with run_of(setup) as run:
            await _runs_again(setup, crashed, run)
    finally:
        handle.kill()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"boot": 1}', "\0\xff"])
@pytest.mark.parametrize("setup", ["docker", "process"], indirect=True)
async def test_program_with_a_damaged_handle_runs_again(setup: Setup, text: str) -> None:
    crashed = await crash(setup)
    handle = crashed.handle
    (crashed.root / HANDLE).write_text(text)
    try:
        async with run_of(setup) as run:
            await _runs_again(setup, crashed, run)
    finally:
        handle.kill()


async def test_program_that_died_without_an_agent_runs_again(setup: Setup) -> None:
    crashed = await crash(setup)
    for name in containers(setup):
        subprocess.run(["docker", "rm", "-f", name], check=True, capture_output=True)
    crashed.handle.kill()
    await eventually(lambda: not crashed.handle.alive)
    (crashed.root / RESULT).unlink(missing_ok=True)
    async with run_of(setup) as run:
        await _runs_again(setup, crashed, run)


@pytest.mark.parametrize("setup", ["process", "wasm"], indirect=True)
async def test_program_in_a_half_deleted_folder_runs_again(setup: Setup) -> None:
    crashed = await crash(setup)
    await ended(setup, crashed)
    handle = crashed.handle
    (crashed.root / HANDLE).unlink()  # the first deletion of Folders.remove
    async with run_of(setup) as run:
        await _runs_again(setup, crashed, run)
    assert not handle.alive


@pytest.mark.parametrize("setup", ["wasm", "wasm3", "process"], indirect=True)
async def test_worker_ends_a_program_that_no_agent_ends(setup: Setup) -> None:
    crashed = await crash(msgspec.structs.replace(setup, timeout=0.5))
    handle = crashed.handle
    await eventually(lambda: not handle.alive, timeout=30.0)
    async with run_of(setup) as run:
        await run.all.give_up_left()


@pytest.mark.parametrize("number", [-1, 0, 1])
def test_handle_that_names_other_processes_kills_none(number: int) -> None:
    started = ProcessId.of(1).started
    forged = Handle.now(worker=ProcessId(number, started), program=ProcessId(number, started))
    assert not forged.alive
    forged.kill()


def test_handle_with_a_number_used_again_is_not_alive() -> None:
    me = ProcessId.of(os.getpid())
    assert me.alive
    assert not ProcessId(me.number, str(int(me.started) + 1)).alive
