from __future__ import annotations

import sys
from pathlib import Path

import pytest

from agent import shared
from agent.errors import NotFound
from agent.shared import builtin_program, examples
from tests.support import load_pipeline


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(shared, "HERE", tmp_path / "checkout" / "agent")
    return tmp_path


def put(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(b"\0asm")
    return folder / name


@pytest.mark.parametrize(
    "word", ["filters/mine.wasm", "./edge/wifi-join", "edge/x.wasm", "edge/../etc", "bafy", "", "edge/"]
)
def test_other_words_name_no_builtin_program(word: str, nowhere: Path) -> None:
    assert builtin_program(word) is None


def test_a_program_is_found_where_it_is_installed(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout = put(nowhere / "checkout/build/filters", "mine.wasm")
    assert builtin_program("edge/mine") == checkout
    package = put(nowhere / "checkout/agent/share/programs", "mine.wasm")
    assert builtin_program("edge/mine") == package
    frozen = put(nowhere / "tree/share/programs", "mine.wasm")
    monkeypatch.setattr(sys, "_MEIPASS", str(nowhere / "tree"), raising=False)
    assert builtin_program("edge/mine") == frozen


def test_an_unknown_program_names_the_others(nowhere: Path) -> None:
    put(nowhere / "checkout/build/filters", "mine.wasm")
    with pytest.raises(NotFound, match="no program edge/other") as raised:
        builtin_program("edge/other")
    assert raised.value.hint == "there are edge/mine"


def test_the_examples_are_pipelines() -> None:
    assert "person-at-the-door" in examples()
    for name, file in examples().items():
        assert load_pipeline(file.read_text()).name == name


def test_an_installation_without_examples_has_none(nowhere: Path) -> None:
    assert examples() == {}
