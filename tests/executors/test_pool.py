"""A pool of workers: its close leaves no process behind."""

from __future__ import annotations

import asyncio

import pytest

from agent.executors.pool import Pool


class SlowWorker:
    """A worker whose process takes its time to end."""

    spent, since, alive = False, 0.0, True

    def __init__(self) -> None:
        self.closing, self.may_end, self.ended = asyncio.Event(), asyncio.Event(), False

    async def close(self) -> None:
        self.closing.set()
        await self.may_end.wait()
        self.ended = True


async def test_close_waits_for_a_worker_that_is_being_killed() -> None:
    worker = SlowWorker()

    async def start() -> SlowWorker:
        return worker

    async def use() -> None:
        async with pool.lend():
            await asyncio.Event().wait()

    pool = Pool(start, 1)
    user = asyncio.create_task(use())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    user.cancel()
    await worker.closing.wait()
    user.cancel()  # a program that overruns a limit is killed and then closed
    with pytest.raises(asyncio.CancelledError):
        await user
    closing = asyncio.create_task(pool.close())
    await asyncio.sleep(0)
    assert not closing.done()
    worker.may_end.set()
    await closing
    assert worker.ended
