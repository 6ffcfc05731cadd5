"""Helpers of tests of several packages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from agent import definitions
from agent.model.pipeline import Pipeline
from agent.steps import KINDS


def load_pipeline(text: str, *, file: str = "pipeline.yaml") -> Pipeline:
    """The pipeline in `text`, with the agent's kinds of steps."""
    return definitions.load_pipeline(text, KINDS, file=file)


def decode_pipeline(body: bytes) -> Pipeline:
    """The pipeline in `body`, with the agent's kinds of steps."""
    return definitions.decode_pipeline(body, KINDS)


async def eventually(predicate: Callable[[], object], timeout: float = 30.0) -> None:
    """Wait until `predicate()` is true; fails after `timeout` seconds."""
    loop = asyncio.get_running_loop()
    end = loop.time() + timeout
    while not predicate():
        assert loop.time() < end, "it did not happen in time"
        await asyncio.sleep(0.01)
