"""Only the lifecycle writes rows: the type checker refuses it to every other module."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from agent.delivery.rows import TRANSITIONS, Row, State
from agent.delivery.writable_row import IllegalTransition, move, new_row, writable
from tests.delivery.events import event

ROOT = Path(__file__).parents[2]
WRITES = """\
from agent.delivery import Row
def change(row: Row) -> None:
    row.state = row.state
    row.attempts += 1
    row.target = "gpu"
    row.end = None
    row.avoid.append("gpu")
    row.claims["gpu"] = 1
    row.trace += ()
"""


def test_mypy_refuses_every_write_of_a_row(tmp_path: Path) -> None:
    file = tmp_path / "writes.py"
    file.write_text(WRITES)
    ran = subprocess.run(
        [sys.executable, "-m", "mypy", "--no-error-summary", "--cache-dir", str(tmp_path / "cache"), str(file)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    refused = {int(n) for n in re.findall(r"writes\.py:(\d+): error", ran.stdout)}
    assert refused == {3, 4, 5, 6, 7, 8, 9}, ran.stdout + ran.stderr


@pytest.mark.parametrize("path", sorted((ROOT / "agent").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_no_other_module_takes_the_writable_row(path: Path) -> None:
    if path.name == "lifecycle.py":
        return
    taken = {
        alias.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module == "agent.delivery.writable_row"
        for alias in node.names
    }
    assert taken <= {"new_row"}


def row(state: State) -> Row:
    return new_row(1, event("e"), "p", "v", "s", state=state)


@pytest.mark.parametrize("old", State)
@pytest.mark.parametrize("new", State)
def test_a_state_changes_only_as_the_table_says(old: State, new: State) -> None:
    it = writable(row(old))
    if new in TRANSITIONS[old]:
        move(it, new)
        assert it.state is new
    else:
        with pytest.raises(IllegalTransition, match=f"{old.name} → {new.name}"):
            move(it, new)
        assert it.state is old
