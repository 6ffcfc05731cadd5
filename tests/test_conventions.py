"""Conventions that hold for the whole tree: public faces, no import circles, docstrings, small files."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

from tests import imports
from tests.imports import ROOT, Import, sources

PACKAGES = sorted(p.parent.name for p in (ROOT / "agent").glob("*/__init__.py"))
SOURCES = sources("agent", "cloud_sink", "demo", "detector")


def test_no_import_goes_past_a_face_of_agent() -> None:
    found = [str(i) for path in SOURCES for i in imports.imports(path) if imports.past_a_face(i)]
    assert not found, "imports past the face:\n" + "\n".join(found)


def test_modules_of_agent_have_no_import_circle() -> None:
    found = [" ↔ ".join(group) for group in imports.circles(sources("agent"))]
    assert not found, "import circles:\n" + "\n".join(found)


@pytest.mark.parametrize("package", [p for p in PACKAGES if p != "model"])
def test_a_face_names_only_what_its_package_has(package: str) -> None:
    face = importlib.import_module(f"agent.{package}")
    assert imports.face(f"agent.{package}") == set(face.__all__)
    assert [name for name in face.__all__ if not hasattr(face, name)] == []


@pytest.mark.parametrize(
    ("file", "module", "name", "past"),
    [
        ("demo/story.py", "agent.mesh", "Mesh", False),
        ("demo/story.py", "agent.mesh.rpc", "Rpc", True),
        ("demo/story.py", "agent.mesh.rpc", "", True),
        ("demo/story.py", "agent.mesh", "rpc", True),
        ("demo/story.py", "agent.mesh", "", True),
        ("demo/story.py", "agent", "mesh", True),
        ("demo/story.py", "agent", "files", False),
        ("demo/story.py", "agent.files", "write_private", False),
        ("cloud_sink/app.py", "agent.model.event", "Event", False),
        ("agent/mesh/mesh.py", "agent.mesh.rpc", "Rpc", False),
        ("agent/blobs/exchange.py", "agent.mesh.rpc", "Rpc", True),
        ("agent/supervise.py", "agent.mesh.rpc", "Rpc", True),
    ],
)
def test_an_import_past_a_face_is_found(file: str, module: str, name: str, past: bool) -> None:
    assert imports.past_a_face(Import(ROOT / file, 1, module, name)) is past


def test_type_imports_count_as_circles_function_imports_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imports, "ROOT", tmp_path)
    texts = {
        "__init__": "from ring.a import A\n__all__ = ['A']\n",
        "a": "from ring import b\n",
        "b": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .c import C\n",
        "c": "import ring.a\n",
        "d": "def late():\n    from ring.e import E\n",
        "e": "import ring.d\n",
    }
    (tmp_path / "ring").mkdir()
    for name, text in texts.items():
        (tmp_path / f"ring/{name}.py").write_text(text)
    assert imports.circles(sources("ring")) == [["ring.a", "ring.b", "ring.c"]]
    assert len(list(imports.imports(tmp_path / "ring/d.py"))) == 1


@pytest.mark.parametrize("package", [p for p in PACKAGES if p not in ("model", "cli")])
def test_the_page_of_packages_names_each_face(package: str) -> None:
    face = importlib.import_module(f"agent.{package}").__all__
    (row,) = re.findall(rf"^\| `{package}/` \|.*$", (ROOT / "docs" / "architecture.md").read_text(), re.MULTILINE)
    shown = set(re.findall(r"`(\w+)`", row.split("|")[3]))
    assert set(face) <= shown


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_public_name_has_a_docstring(path: Path) -> None:
    tree = ast.parse(path.read_text())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    public = [n for n in tree.body if isinstance(n, kinds) and not n.name.startswith("_")]
    silent = [n.name for n in public if ast.get_docstring(n) is None]
    if path.parts[-2] not in ("routes", "versions") and "cli" not in path.parts:
        assert not silent
    assert ast.get_docstring(tree) or not tree.body, "the module has no docstring"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_file_has_more_than_420_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 420


@pytest.mark.parametrize("page", ["architecture.md", "follow-an-event.md"])
def test_the_paths_that_a_page_names_exist(page: str) -> None:
    text = (ROOT / "docs" / page).read_text()
    named = re.findall(r"`((?:agent|cloud_sink|detector|demo|filters|tests|docs|scripts)/[\w./-]*)`", text)
    assert len(named) > 15
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_places_to_add_things_name_modules_of_their_own() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    table = text.partition("## Where to add things")[2].partition("## ")[0]
    rows = [line.split("|")[1:3] for line in table.splitlines() if line.startswith("| a")]
    assert {"a retry rule", "a camera source", "a health check", "a verb of the command line"} <= {
        r[0].strip() for r in rows
    }
    assert all(re.search(r"`\w+/[\w./-]+`", where) for _, where in rows)
