"""The programs of the agent's previous run that are kept for adoption."""

from __future__ import annotations

import asyncio
import ctypes
import os
from pathlib import Path

from agent.executors.kept import Kept
from agent.executors.record import HANDLE, RESULT, Ended, Handle, ProcessId, Result, write_record

PR_SET_NAME = 15


def left(scratch: Path, name: str, handle: Handle) -> Path:
    """The folder of a program of the previous run."""
    folder = scratch / name
    folder.mkdir(parents=True)
    write_record(folder, HANDLE, handle)
    return folder


async def test_the_worker_of_an_ended_program_is_not_its_own(tmp_path: Path) -> None:
    worker = ProcessId.of(os.getpid())
    ended = left(tmp_path, "ended", Handle.now(worker=worker))
    write_record(ended, RESULT, Result(Ended("the process exited with 0", exit_code=0)))
    left(tmp_path, "running", Handle.now(worker=worker))
    kept = Kept(tmp_path)
    handles = [await kept.take(name) for name in ("ended", "running")]
    assert [h.worker for h in handles if h is not None] == [None, worker]


async def test_an_event_waits_for_a_program_that_is_given_up(tmp_path: Path) -> None:
    folders = [left(tmp_path, name, Handle.now(program=ProcessId(1, "0"))) for name in ("a", "b")]
    kept, ending, may_end = Kept(tmp_path), asyncio.Event(), asyncio.Event()

    async def end(_: Handle) -> None:
        ending.set()
        await may_end.wait()

    giving_up = asyncio.create_task(kept.give_up(end))
    await ending.wait()
    taking = asyncio.create_task(kept.take("a"))
    await asyncio.sleep(0)
    assert not taking.done()
    may_end.set()
    await giving_up
    assert await taking is None or not folders[0].exists()
    assert len([f for f in folders if f.exists()]) <= 1


async def test_a_name_of_any_bytes_is_no_obstacle(tmp_path: Path) -> None:
    name = ctypes.create_string_buffer(16)
    libc = ctypes.CDLL(None)
    libc.prctl(16, name, 0, 0, 0)  # PR_GET_NAME
    libc.prctl(PR_SET_NAME, b"bildverarbeitx\xc3", 0, 0, 0)
    try:
        assert ProcessId.of(os.getpid()).alive
    finally:
        libc.prctl(PR_SET_NAME, name, 0, 0, 0)
