from __future__ import annotations

import sys
from pathlib import Path

import pytest

from agent import PROTOCOL, __version__
from agent.installed import installed


def test_a_python_package_is_not_frozen() -> None:
    this = installed()
    assert (this.version, this.protocol, this.frozen) == (__version__, PROTOCOL, False)


def test_a_frozen_tree_says_its_variant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tree.json").write_text('{"version": "9.9.9", "arch": "armv7", "variant": "camera", "more": 1}')
    monkeypatch.setattr(sys, "_MEIPASS", str(tmp_path), raising=False)
    this = installed()
    assert (this.version, this.arch, this.variant, this.frozen) == (__version__, "armv7", "camera", True)


@pytest.mark.parametrize("content", [None, "", "[1]", '{"arch": 7}', "{" + " " * (1 << 16) + "}"])
def test_a_tree_without_a_readable_description_runs(
    content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if content is not None:
        (tmp_path / "tree.json").write_text(content)
    monkeypatch.setattr(sys, "_MEIPASS", str(tmp_path), raising=False)
    assert (installed().frozen, bool(installed().arch)) == (True, True)
