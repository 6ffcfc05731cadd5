"""The set-up of a new checkout: missing packages and its messages."""

from __future__ import annotations

import importlib.util
import os
import stat
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.demo.running import ROOT


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """scripts/setup.py as a module, with a separate log."""
    spec = importlib.util.spec_from_file_location("edge_setup", ROOT / "scripts/setup.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "edge_setup", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "LOG", tmp_path / "setup.log")
    return module


def test_missing_packages_are_named_and_not_installed(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NO_APT", "1")
    needs = (setup.Need("no-such-package-a", "no-such-program"), setup.Need("no-such-package-b", optional=True))
    progress = setup.Progress(1)
    with pytest.raises(setup.SetupError, match=r"no-such-package-a$"):
        setup.packages(progress, needs)
    progress.log.close()
    said = capsys.readouterr().err
    assert "apt-get install --no-install-recommends no-such-package-a no-such-package-b" in said
    assert said.splitlines()[0].startswith("[1/1]")


def test_missing_optional_package_does_not_stop_the_set_up(setup: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_APT", "1")
    progress = setup.Progress(1)
    setup.packages(progress, (setup.Need("no-such-package", optional=True),))
    progress.log.close()


def test_existing_program_needs_no_package(setup: ModuleType) -> None:
    assert setup.missing((setup.Need("no-such-package", "sh"),)) == []


def test_a_failing_program_is_an_error_with_its_last_lines(setup: ModuleType) -> None:
    progress = setup.Progress(1)
    with pytest.raises(setup.SetupError, match=r"the disk is full\nsh failed with exit code 3"):
        progress.run("sh", "-c", "echo the disk is full; exit 3")
    assert progress.run("sh", "-c", "exit 3", also=(3,)) == 3
    progress.log.close()


def test_a_failure_of_the_tests_is_a_failure_of_ci(tmp_path: Path) -> None:
    (tmp_path / ".ci").mkdir()
    script = tmp_path / ".ci/run"
    script.write_bytes((ROOT / ".ci/run").read_bytes())
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    for lint, tests, code in (("true", "true", 0), ("false", "true", 2), ("true", "false", 2)):
        (tmp_path / "Makefile").write_text(f"lint:\n\t@{lint}\ntest:\n\t@{tests}\n")
        environ = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL")}
        done = subprocess.run([script], capture_output=True, check=False, env=environ)
        assert done.returncode == code, (lint, tests)
