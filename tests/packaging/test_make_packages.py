"""`make packages`: from frozen trees to a whole release, signed or not, equal every time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from agent.release import SigningKey, read_dist, verify_dist
from tests.packaging import small

assert small.ROOT
import make_packages  # noqa: E402

FILES = {
    "edge-agent-0.1.0-x86_64.tar.xz", "edge-agent_0.1.0_amd64.deb", "edge-agent_0.1.0-1_noarch-x86_64.ipk",
    "edge-agent-0.1.0-r1-x86_64.apk", "packages-x86_64.adb", "edge-agent-0.1.0-armv7.tar.xz", "edge-agent_0.1.0_armhf.deb",
    "edge-agent_0.1.0-1_noarch-armv7.ipk", "edge-agent-0.1.0-r1-armv7.apk", "packages-armv7.adb",
    "edge-agent-0.1.0-x86_64-camera.tar.xz", "edge-agent-camera_0.1.0_amd64.deb", "edge-sink-0.1.0-x86_64.tar.xz",
    "edge-sink_0.1.0_amd64.deb", "Packages", "Packages.gz", "manifest.json", "SHA256SUMS",
}  # fmt: skip
SIGNED = {"manifest.json.sig", "manifest.json.usig", "release.pub", "release.usign.pub", "Packages.sig"}


@pytest.fixture
def trees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1767225600")
    folder = tmp_path / "trees"
    for more in ({}, {"arch": "armv7"}, {"variant": "camera"}, {"program": "edge-sink"}):
        small.make_tree(folder, **more)
    return folder


def make(trees: Path, out: Path, *more: str | Path) -> int:
    return make_packages.main(["--trees", str(trees), "--out", str(out), *map(str, more)])


def test_a_release_has_all_packages_and_is_equal_each_time(trees: Path, tmp_path: Path) -> None:
    assert [make(trees, tmp_path / name) for name in ("a", "b")] == [0, 0]
    contents = [{p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in ("a", "b")]
    assert contents[0] == contents[1]
    assert set(contents[0]) - {"install.sh"} == FILES
    manifest, signed = read_dist(tmp_path / "a")
    assert (manifest.version, manifest.protocol, manifest.released, signed) == (
        "0.1.0",
        1,
        "2026-01-01T00:00:00Z",
        False,
    )
    assert {p.file for p in manifest.packages} == {n for n in FILES if n.endswith((".xz", ".deb", ".ipk", ".apk"))}
    assert manifest.find("deb", "x86_64", variant="camera").file == "edge-agent-camera_0.1.0_amd64.deb"
    assert manifest.find("tar.xz", "x86_64", program="edge-sink").unpacked > 100_000


def test_the_tar_has_one_folder_that_starts(trees: Path, tmp_path: Path) -> None:
    make(trees, tmp_path / "dist")
    subprocess.run(["tar", "-xJf", tmp_path / "dist/edge-agent-0.1.0-x86_64.tar.xz"], cwd=tmp_path, check=True)
    done = subprocess.run([tmp_path / "edge-agent/edge-agent", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == "edge-agent 0.1.0\n"


def test_a_key_signs_at_once_and_a_release_is_replaced(trees: Path, tmp_path: Path) -> None:
    key = SigningKey.generate()
    file = tmp_path / "release.key"
    file.write_bytes(key.to_pem(b"correct horse"))
    file.chmod(0o600)
    (tmp_path / "secret").write_text("correct horse\n")
    dist = tmp_path / "dist"
    (dist / "0.0.9").mkdir(parents=True)
    assert make(trees, dist) == 0
    assert make(trees, dist, "--channel", "beta", "--key", file, "--passphrase-file", tmp_path / "secret") == 0
    checked = verify_dist(dist, key.public)
    assert checked.channel == "beta"
    assert {p.name for p in dist.iterdir()} - {"install.sh"} == FILES | SIGNED | {"0.0.9"}
    assert not list(tmp_path.glob(".dist*"))


def test_a_folder_that_is_no_release_is_left_alone(
    trees: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist/letter.txt").write_text("mine")
    assert make(trees, tmp_path / "dist") == 1
    assert "not a release" in capsys.readouterr().err
    assert (tmp_path / "dist/letter.txt").read_text() == "mine"


@pytest.mark.parametrize("fault", ["none", "versions", "damaged"])
def test_trees_that_make_no_release_are_refused(
    trees: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    if fault == "versions":
        small.make_tree(trees, arch="aarch64", version="0.2.0")
    elif fault == "damaged":
        (trees / "x86_64/edge-agent/_internal/tree.json").write_text(json.dumps({"version": "0.1.0"}))
    assert make(tmp_path / "empty" if fault == "none" else trees, tmp_path / "dist") == 1
    words = {"none": "make dist ARCH=x86_64", "versions": "several versions", "damaged": "not a frozen tree"}
    assert words[fault] in capsys.readouterr().err
    assert not (tmp_path / "dist/manifest.json").exists()


def test_the_script_runs_by_itself(trees: Path, tmp_path: Path) -> None:
    script = small.ROOT / "packaging/make_packages.py"
    done = subprocess.run(
        [sys.executable, script, "--trees", trees, "--out", tmp_path / "dist"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "12 packages" in done.stdout
    assert "not signed" in done.stdout
