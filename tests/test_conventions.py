"""Conventions that hold for the whole tree: public faces, docstrings, words."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HOUSES = sorted(p.parent.name for p in (ROOT / "agent").glob("*/__init__.py"))
SOURCES = sorted(p for top in ("agent", "cloud_sink", "detector") for p in (ROOT / top).rglob("*.py"))


@pytest.mark.parametrize("house", [h for h in HOUSES if h not in ("model", "cli")])
def test_the_page_of_houses_names_what_each_house_shows(house: str) -> None:
    face = importlib.import_module(f"agent.{house}").__all__
    (row,) = re.findall(rf"^\| `{house}/` \|.*$", (ROOT / "docs" / "architecture.md").read_text(), re.MULTILINE)
    shown = set(re.findall(r"`(\w+)`", row.split("|")[3]))
    assert set(face) <= shown


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_public_name_says_what_it_promises(path: Path) -> None:
    tree = ast.parse(path.read_text())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    public = [n for n in tree.body if isinstance(n, kinds) and not n.name.startswith("_")]
    silent = [n.name for n in public if ast.get_docstring(n) is None]
    if path.parts[-2] not in ("routes", "versions") and "cli" not in path.parts:
        assert not silent
    assert ast.get_docstring(tree) or not tree.body, "the module says nothing of itself"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_file_is_a_maze(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 420
