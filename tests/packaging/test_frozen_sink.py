"""The frozen sink on a system that has nothing but a static busybox."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packaging.bare_root import BareRoot
from tests.packaging.conftest import busybox, freeze
from tests.packaging.test_frozen_tree import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PROGRAM = "/opt/edge-sink/edge-sink"


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[BareRoot]:
    """A running root with nothing but a static busybox and the sink's tree."""
    if os.geteuid() != 0:
        pytest.skip("a root in namespaces needs root")
    root = BareRoot(tmp_path / "bare", freeze(tmp_path / "tree", "--program", "edge-sink"), busybox())
    try:
        yield root
    finally:
        root.close()


def test_sink_makes_its_database_and_serves(bare: BareRoot, tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = bare.start(PROGRAM, "serve", "--data", "/tmp/sink", "--host", "127.0.0.1", "--json", log=log)
    try:
        eventually(lambda: log.read_text().endswith("\n") or process.poll() is not None, "serve")
        assert process.poll() is None, log.read_text()
        assert "error" not in json.loads(log.read_text().splitlines()[0])
        done = bare.run(PROGRAM, "status", "--data", "/tmp/sink", "--json")
        assert done.returncode == 0, done.stderr
    finally:
        process.terminate()
        process.wait(30)
