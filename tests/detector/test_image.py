"""The image: it is built without network, and its program works under the agent's limits."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.detector.conftest import ROOT, photo

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

LIMITS = ["--network", "none", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
LIMITS += ["--user", "65534:65534", "--pids-limit", "64", "--memory", "1g", "--memory-swap", "1g", "--cpus", "2"]
LIMITS += ["--tmpfs", "/tmp", "--init"]


def build(*options: str) -> subprocess.CompletedProcess[str]:
    """Run the build script."""
    command = [sys.executable, str(ROOT / "scripts/build_detector.py"), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def docker(*arguments: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run the docker client."""
    return subprocess.run(["docker", *arguments], input=data, capture_output=True, check=False)


@pytest.fixture(scope="module")
def image() -> str:
    """The image, up to date."""
    done = build()
    assert done.returncode == 0, done.stderr
    return "edge/detector:1"


@pytest.fixture
def blobs(tmp_path: Path) -> Path:
    """A folder of blobs that the container's user may read."""
    folder = tmp_path / "blobs"
    folder.mkdir()
    for name in ("astronaut.png", "chelsea.png"):
        shutil.copyfile(photo(name), folder / name)
        (folder / name).chmod(0o644)
    folder.chmod(0o755)
    return folder


def event(name: str) -> bytes:
    blob = {"name": name, "cid": f"cid-{name}", "type": "image/png", "size": 1, "path": f"/blobs/{name}"}
    return json.dumps({"id": name, "data": {"camera": "porch", "blobs": [blob]}}).encode() + b"\n"


def test_the_program_names_people_under_the_agents_limits(image: str, blobs: Path) -> None:
    mount = ["--volume", f"{blobs}:/blobs:ro"]
    lines = event("astronaut.png") + event("gone.png") + event("chelsea.png")
    done = docker("run", "--rm", "--interactive", *LIMITS, *mount, image, data=lines)
    assert done.returncode == 0, done.stderr.decode()
    person, gone, cat = [json.loads(line) for line in done.stdout.splitlines()]
    assert person["events"][0]["data"]["labels"][0]["name"] == "person"
    assert person["events"][0]["data"]["provider"] == "cpu"
    assert gone["id"] == "gone.png"
    assert "error" in gone
    assert all(label["name"] != "person" for label in cat["events"][0]["data"]["labels"])
    assert b"provider=cpu" in done.stderr


def test_arguments_of_the_task_reach_the_program(image: str) -> None:
    done = docker("run", "--rm", "--interactive", *LIMITS, image, "--provider", "cuda", "--threshold", "0.9")
    assert done.returncode == 0
    assert b"threshold=0.9" in done.stderr
    assert b"warning no-gpu provider=cpu wanted=cuda" in done.stderr


def test_second_build_does_nothing_and_missing_files_are_errors(image: str, tmp_path: Path) -> None:
    before = docker("image", "inspect", "--format", "{{.Id}}", image).stdout
    again = build()
    assert "up to date" in again.stderr
    assert docker("image", "inspect", "--format", "{{.Id}}", image).stdout == before
    wrong = build("--model", str(tmp_path / "none.json"))
    assert wrong.returncode == 1
    assert "none.json" in wrong.stderr
    no_base = build("--base", "edge/no-such-base:1")
    assert no_base.returncode == 1
    assert "no-such-base" in no_base.stderr.lower()


def test_build_without_an_engine_has_a_special_exit_code() -> None:
    environment = {**os.environ, "DOCKER_HOST": "unix:///nowhere/docker.sock"}
    command = [sys.executable, str(ROOT / "scripts/build_detector.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 3
    assert "docker-engine.sh" in done.stderr


def test_the_image_is_small_and_runs_as_nobody(image: str) -> None:
    config = json.loads(docker("image", "inspect", image).stdout)[0]
    assert config["Config"]["User"] == "65534:65534"
    assert config["Size"] < 425e6


def test_the_agents_command_builds_the_same_image(image: str) -> None:
    command = [sys.executable, "-c", "from agent.cli import main; main()", "detector", "build", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"images": ["edge/detector:cpu", image]}
    assert "is up to date" in done.stderr
