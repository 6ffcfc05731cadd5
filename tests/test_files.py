"""Files: replaced as a whole or not at all, and private."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from agent.errors import IdentityError
from agent.files import read_private, replacing, write_private


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_private_file_and_its_new_folder_are_closed_to_others(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file"
    write_private(path, b"one")
    write_private(path, b"two")
    assert (path.read_bytes(), mode(path), mode(path.parent)) == (b"two", 0o600, 0o700)
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_a_file_that_others_may_read_follows_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with replacing(tmp_path / "file", mode=0o644) as file:
            file.write(b"model")
    finally:
        os.umask(before)
    assert mode(tmp_path / "file") == 0o640


def test_the_old_content_is_there_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with replacing(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_block_that_raises_leaves_the_old_content_and_no_rest(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(error), replacing(path) as file:
        file.write(b"new")
        raise error
    assert (path.read_bytes(), list(tmp_path.iterdir())) == (b"old", [path])


def test_a_write_that_fails_leaves_the_old_content_and_no_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_private(path, b"old")

    def no_space(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("agent.files.os.fsync", no_space)
    with pytest.raises(OSError, match="No space"):
        write_private(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_name_of_the_longest_length_can_be_replaced(tmp_path: Path) -> None:
    write_private(tmp_path / ("ü" * 127), b"data")
    assert (tmp_path / ("ü" * 127)).read_bytes() == b"data"


def test_data_is_on_the_disk_before_the_name_and_the_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, seen = tmp_path / "file", []
    fsync = os.fsync

    def noted(fd: int) -> None:
        seen.append((stat.S_ISDIR(os.fstat(fd).st_mode), path.exists()))
        fsync(fd)

    monkeypatch.setattr("agent.files.os.fsync", noted)
    write_private(path, b"data")
    assert seen == [(False, False), (True, True)]


def test_rights_of_others_are_taken_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"secret")
    path.chmod(0o644)
    assert read_private(path) == b"secret"
    assert mode(path) == 0o600
    assert "was readable by others" in caplog.text


def test_a_missing_private_file_is_none_and_a_large_one_an_error(tmp_path: Path) -> None:
    assert read_private(tmp_path / "none") is None
    write_private(tmp_path / "large", b"x" * 11)
    assert read_private(tmp_path / "large", 11) == b"x" * 11
    with pytest.raises(IdentityError, match="larger than 10 bytes"):
        read_private(tmp_path / "large", 10)
