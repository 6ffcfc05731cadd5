"""scripts/build_filters.py: it builds nothing twice, and nothing from wrong sources."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "build_filters.py"


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module, with separate folders."""
    spec = importlib.util.spec_from_file_location("build_filters", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "build_filters", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(module, "OUT", tmp_path / "out")
    return module


def test_a_second_run_does_nothing(filters: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in filters.glob("*.wasm")}
    done = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, check=True)
    assert done.stdout == "filters are up to date\n"
    assert {p: p.stat().st_mtime_ns for p in filters.glob("*.wasm")} == before
    assert {p.stem for p in before} >= {"wifi-join", "rescale", "wifi-join-zig"}


def test_a_tarball_with_other_bytes_is_deleted(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sources = tmp_path / "cache" / "sources"
    sources.mkdir(parents=True)
    (sources / script.JPEG.file).write_bytes(b"not it")
    monkeypatch.setattr(sys, "argv", ["build_filters.py", "rescale"])
    assert script.main() == 1
    assert f"instead of {script.JPEG.sha256}" in capsys.readouterr().err
    assert not (sources / script.JPEG.file).exists()
    assert not list((tmp_path / "out").glob("*.wasm"))


def test_error_of_a_missing_archive_names_file_and_folder(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_archive() -> str:
        raise script.BuildError("no Debian archive is configured on this machine")

    monkeypatch.setattr(script, "debian_sources", no_archive)
    monkeypatch.setattr(sys, "argv", ["build_filters.py", "rescale"])
    assert script.main() == 1
    said = capsys.readouterr().err
    assert script.JPEG.file in said
    assert "copy that file" in said


def test_broken_source_gives_the_compilers_message_and_code_1(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "filters"
    broken.mkdir()
    for name in script.TARGETS[0].depends:
        (broken / name).parent.mkdir(exist_ok=True)
        (broken / name).write_text("")
    (broken / "wifi-join.c").write_text("int main(void) { return no_such_name; }\n")
    monkeypatch.setattr(script, "FILTERS", broken)
    monkeypatch.setattr(script, "CACHE", SCRIPT.parents[1] / ".cache")
    monkeypatch.setattr(sys, "argv", ["build_filters.py", "wifi-join"])
    assert script.main() == 1
    assert "no_such_name" in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("*.wasm"))
