"""A separate demo for each test."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.demo.running import Demo, stop_hard


@pytest.fixture
async def make_demo() -> AsyncIterator[Callable[..., Demo]]:
    """Make demos, in folders whose paths are short enough for unix sockets."""
    folder = Path(tempfile.mkdtemp(prefix="edge-test-"))
    made: list[Demo] = []

    def make(**environ: str) -> Demo:
        place = folder / str(len(made))
        place.mkdir()
        made.append(Demo(place, environ))
        return made[-1]

    yield make
    for demo in made:
        await stop_hard(demo)
    shutil.rmtree(folder, ignore_errors=True)
