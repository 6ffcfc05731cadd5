"""A demo of one's own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.demo.running import Demo, stop_hard


@pytest.fixture
def make_demo() -> Iterator[Callable[..., Demo]]:
    """Makes demos, in folders whose paths are short enough for unix sockets."""
    folder = Path(tempfile.mkdtemp(prefix="edge-test-"))
    made: list[Demo] = []

    def make(**environ: str) -> Demo:
        place = folder / str(len(made))
        place.mkdir()
        made.append(Demo(place, environ))
        return made[-1]

    yield make
    for demo in made:
        stop_hard(demo)
    shutil.rmtree(folder, ignore_errors=True)
