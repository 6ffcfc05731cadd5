"""A program that a worker process carries out, seen from the agent."""

from __future__ import annotations

import asyncio
from pathlib import Path
from unittest.mock import Mock

from agent.executors.folders import Folders
from agent.executors.record import Ended, Result
from agent.executors.worker_program import WorkerProgram
from tests.support import eventually


async def test_interrupted_kill_does_not_lose_the_end_of_the_worker(tmp_path: Path) -> None:
    ending, may_end, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def end() -> None:
        ending.set()
        await may_end.wait()
        ended.set()

    async def run() -> Result:
        try:
            return await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.shield(end())

    program = WorkerProgram(Folders.of(tmp_path, "x", shared=False), Mock(), run())
    killing = asyncio.create_task(program.kill())
    await ending.wait()
    killing.cancel()
    closing = asyncio.create_task(program.close())
    for _ in range(50):
        await asyncio.sleep(0)
    assert not closing.done()
    may_end.set()
    await closing
    assert ended.is_set()


async def test_an_output_that_is_cut_off_is_followed_from_its_start(tmp_path: Path) -> None:
    folders = Folders.of(tmp_path, "x", shared=False)
    folders.root.mkdir(parents=True)
    stdout = folders.root / "stdout"
    stdout.write_bytes(b"one\ntwo\n")
    got: list[bytes] = []
    listener = Mock(stdout=got.append)
    done: asyncio.Future[Result] = asyncio.get_running_loop().create_future()

    async def run() -> Result:
        return await done

    program = WorkerProgram(folders, listener, run())
    await eventually(lambda: got == [b"one\ntwo\n"])
    stdout.write_bytes(b"new\n")
    await eventually(lambda: got[1:] == [b"new\n"])
    done.set_result(Result(Ended("the process exited with 0", exit_code=0)))
    await eventually(lambda: listener.ended.called)
    await program.close()


async def test_an_error_of_the_follower_fails_the_program(tmp_path: Path) -> None:
    folders = Folders.of(tmp_path, "x", shared=False)
    folders.root.mkdir(parents=True)
    (folders.root / "stdout").write_bytes(b"one")
    listener = Mock(stdout=Mock(side_effect=RuntimeError("a mistake")))

    async def run() -> Result:
        return await asyncio.get_running_loop().create_future()

    program = WorkerProgram(folders, listener, run())
    await eventually(lambda: listener.fail.called)
    assert "a mistake" in listener.fail.call_args.args[0].message
    await program.close()
