"""The agent's worker processes as the frozen tree starts them: the same tests as with the interpreter's workers."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.executors import test_wasm_steps
from tests.executors.test_wasm_steps import (
    executor,
    make_runner,
    test_cancelled_event_ends_its_child,
    test_error_of_the_program_is_final,
    test_hostile_module_is_stopped_and_nothing_else_notices,
    test_killed_child_fails_its_event_only,
    test_module_cannot_get_out_of_its_folders,
    test_step_reads_its_blob_and_its_file_becomes_one,
    test_unlinked_files_do_not_evade_the_limits,
)

__all__ = [
    "executor",
    "make_runner",
    "test_cancelled_event_ends_its_child",
    "test_error_of_the_program_is_final",
    "test_hostile_module_is_stopped_and_nothing_else_notices",
    "test_killed_child_fails_its_event_only",
    "test_module_cannot_get_out_of_its_folders",
    "test_step_reads_its_blob_and_its_file_becomes_one",
    "test_unlinked_files_do_not_evade_the_limits",
]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def children() -> list[int]:
    """This process's WASM workers from the tree."""
    found = []
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):
            if "wasm-child" in child.cmdline():
                found.append(child.pid)
    return found


@pytest.fixture(autouse=True)
def frozen(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are started as the frozen agent does it."""

    def command(_module: str, subcommand: str, *arguments: str) -> list[str]:
        return [str(tree / "edge-agent"), subcommand, *arguments]

    monkeypatch.setattr("agent.children.worker_command", command)
    monkeypatch.setattr("agent.executors.wasm.worker.worker_command", command)
    monkeypatch.setattr(test_wasm_steps, "children", children)
