"""A folder of a release: signed, checked, and every change of it found."""

from __future__ import annotations

import gzip
import subprocess
from pathlib import Path

import pytest

from agent.errors import ConfigError, EdgeError, IdentityError
from agent.release import SigningKey, read_dist, sign_dist, verify_dist
from agent.release.adb import block, check_adb, sign_adb
from tests.release.making import fill

KEY = SigningKey.generate()


@pytest.fixture
def dist(tmp_path: Path) -> Path:
    fill(tmp_path)
    sign_dist(tmp_path, KEY)
    return tmp_path


def test_a_signed_release_is_verified(dist: Path) -> None:
    checked = verify_dist(dist, KEY.public)
    assert (checked.version, checked.key, checked.pinned, checked.files) == ("0.1.0", KEY.public.id, True, 13)
    assert not verify_dist(dist).pinned
    assert read_dist(dist)[1]


def test_the_installer_carries_the_keys(dist: Path) -> None:
    script = (dist / "install.sh").read_bytes()
    assert KEY.public.pem in script
    assert KEY.usign.text in script
    assert b"@RELEASE" not in script
    assert read_dist(dist)[0].installer


def test_sha256sum_checks_the_list(dist: Path) -> None:
    done = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=dist, capture_output=True, text=True, check=True)
    assert done.stdout.count(": OK") == 12


def test_signing_again_changes_signatures_alone(dist: Path) -> None:
    before = {p.name: p.read_bytes() for p in dist.iterdir()}
    sign_dist(dist, KEY)
    changed = {p.name for p in dist.iterdir() if before.get(p.name) != p.read_bytes()}
    assert changed <= {"manifest.json.sig", "packages-x86_64.adb", "SHA256SUMS"}
    verify_dist(dist, KEY.public)


def test_another_key_does_not_sign_over_an_installer(dist: Path) -> None:
    with pytest.raises(IdentityError) as error:
        sign_dist(dist, SigningKey.generate())
    assert error.value.code == "release.installer"


def test_a_release_names_the_next_key(dist: Path) -> None:
    new = SigningKey.generate()
    assert sign_dist(dist, KEY, next_key=new.public).next_key == new.public.pem.decode()
    assert sign_dist(dist, KEY, next_key=KEY.public).next_key is None


@pytest.mark.parametrize(
    "name",
    ["edge-agent-0.1.0-armv7.tar.xz", "install.sh", "manifest.json", "manifest.json.sig", "manifest.json.usig", "release.pub",
     "release.usign.pub", "packages-x86_64.adb", "Packages", "Packages.gz", "Packages.sig", "SHA256SUMS"],
)  # fmt: skip
def test_a_changed_file_is_found(dist: Path, name: str) -> None:
    data = (dist / name).read_bytes()
    for changed in (data[:-2] + bytes([data[-2] ^ 1]) + data[-1:], data + b"\n", data[: len(data) // 2], b""):
        (dist / name).write_bytes(changed)
        with pytest.raises(EdgeError) as error:
            verify_dist(dist, KEY.public)
        assert error.value.hint
    (dist / name).unlink()
    with pytest.raises(EdgeError):
        verify_dist(dist, KEY.public)


def test_a_file_more_is_found_and_a_folder_is_another_release(dist: Path) -> None:
    (dist / "0.0.9").mkdir()
    verify_dist(dist)
    (dist / "edge-agent-0.2.0-x86_64.tar.xz").write_bytes(b"x")
    with pytest.raises(IdentityError) as error:
        verify_dist(dist)
    assert error.value.code == "release.files"


def test_a_damaged_package_is_not_signed(tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / "edge-agent-0.1.0-armv7.tar.xz").write_bytes(b"armv7 0.1.1")
    with pytest.raises(IdentityError) as error:
        sign_dist(tmp_path, KEY)
    assert error.value.code == "release.package"
    assert not (tmp_path / "manifest.json.sig").exists()


def test_a_packed_list_that_differs_is_found(dist: Path) -> None:
    (dist / "Packages.gz").write_bytes(gzip.compress(b"Package: another\n"))
    with pytest.raises(IdentityError) as error:
        verify_dist(dist)
    assert error.value.code == "release.files"


def test_one_signature_of_an_index_replaces_the_one_before() -> None:
    raw = b"ADB.indx" + block(0, b"0123456789abcdef")
    other = SigningKey.generate()
    signed = sign_adb(sign_adb(raw, other), KEY)
    check_adb(signed, KEY.public)
    with pytest.raises(IdentityError):
        check_adb(signed, other.public)
    for damaged in (b"", raw[:12], b"XDB." + raw[4:], raw + b"\0", raw + block(2, b"data"), raw[:8] + block(1, b"x")):
        with pytest.raises(ConfigError) as error:
            check_adb(damaged, KEY.public)
        assert error.value.code == "release.index"
