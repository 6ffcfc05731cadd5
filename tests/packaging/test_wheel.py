"""The built wheel in a new environment with nothing else but its dependencies, as pipx and uv install it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
JOIN = "Nov 22 10:49:32 ap hostapd: wlan0: AP-STA-CONNECTED fa:ae:f5:05:ea:f3"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


class Installed:
    """An environment with the wheel; commands run in an empty folder, without this checkout on any path."""

    def __init__(self, folder: Path, wheel: Path) -> None:
        venv.create(folder / "venv", with_pip=True)
        self.bin, self.home = folder / "venv/bin", folder / "home"
        self.home.mkdir()
        done = self.run("pip", "install", "--quiet", "--disable-pip-version-check", str(wheel))
        assert done.returncode == 0, done.stderr

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        kept = {k: v for k, v in os.environ.items() if k.startswith(("PIP_", "http", "HTTP", "XDG", "SSL"))}
        env = {
            **kept,
            "PATH": f"{self.bin}:/usr/bin:/bin",
            "HOME": str(self.home),
            "EDGE_AGENT_STATE": str(self.home / "state"),
        }
        return subprocess.run(
            [str(self.bin / program), *arguments], env=env | {"EDGE_AGENT_MESH_MDNS": "false"}, cwd=self.home,
            capture_output=True, text=True, check=False, timeout=400,
        )  # fmt: skip


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, str(ROOT / "packaging/make_wheel.py"), str(folder)]
    built = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert built.returncode == 0, built.stderr
    return Installed(folder, Path(built.stdout.strip()))


def test_its_selftest_passes(installed: Installed) -> None:
    done = installed.run("edge-agent", "selftest", "--json")
    failed = [c for c in json.loads(done.stdout)["checks"] if c["state"] == "fail"]
    assert (done.returncode, failed) == (0, [])


def test_it_has_the_programs_and_the_examples(installed: Installed) -> None:
    tried = installed.run("edge-agent", "filter", "try", "--json", JOIN)
    assert json.loads(tried.stdout)["lines"][0]["event"]["type"] == "wifi.client.joined"
    shown = installed.run("edge-agent", "pipeline", "example", "person-at-the-door")
    assert shown.stdout == (ROOT / "examples/person-at-the-door.yaml").read_text()


def test_a_program_without_its_extra_names_it(installed: Installed) -> None:
    done = installed.run("edge-sink", "serve")
    assert done.returncode == 6
    assert "pip install 'edge-agent[sink]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_it_has_the_man_pages(installed: Installed) -> None:
    pages = sorted(p.name for p in (installed.bin.parent / "share/man/man1").glob("edge-*"))
    assert pages == ["edge-agent.1", "edge-sink.1"]
