"""Threads: a cancelled caller waits until the work is done."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from agent.threads import finished, in_thread


async def test_work_gives_its_result_and_its_error() -> None:
    def fail() -> None:
        raise OSError("no disk")

    assert await in_thread(lambda: 7) == 7
    with pytest.raises(OSError, match="no disk"):
        await in_thread(fail)


async def test_work_runs_in_the_threads_that_are_given() -> None:
    with ThreadPoolExecutor(1, thread_name_prefix="mine") as threads:
        name = await in_thread(lambda: threading.current_thread().name, threads)
    assert name.startswith("mine")


@pytest.mark.parametrize("fails", [False, True])
async def test_a_cancelled_caller_waits_for_the_end_of_its_work(fails: bool) -> None:
    begun, go, ended = threading.Event(), threading.Event(), []

    def work() -> None:
        begun.set()
        go.wait(10)
        ended.append(True)
        if fails:
            raise OSError("dropped: the caller is gone")

    task = asyncio.create_task(in_thread(work))
    await asyncio.to_thread(begun.wait, 10)
    task.cancel()
    await asyncio.sleep(0.02)
    assert not task.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [True]


async def test_work_that_cancels_itself_cancels_the_caller() -> None:
    async def work() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await finished(work())
