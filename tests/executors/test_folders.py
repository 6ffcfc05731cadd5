"""Folders that a hostile program filled: measured, taken from and emptied without following it anywhere."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from agent.errors import StepFailed
from agent.executors.folders import Folders, empty, measure, open_output
from agent.executors.record import HANDLE, Handle, read_handle, write_record
from agent.model.event import BlobRef


def made(tmp_path: Path, *, shared: bool = True, owner: int | None = None) -> Folders:
    folders = Folders(tmp_path / "step", shared=shared, owner=owner)
    folders.make()
    return folders


def test_empty_deletes_folders_deeper_than_any_path(tmp_path: Path) -> None:
    at = os.open(tmp_path, os.O_RDONLY)
    for n in range(3000):
        os.mkdir("d", dir_fd=at)
        below = os.open("d", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
        if n % 1000 == 0:
            os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=at))
    os.close(at)
    empty(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_empty_follows_no_link_and_minds_no_mode(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("x")
    inside = tmp_path / "inside"
    (inside / "closed" / "deeper").mkdir(parents=True)
    (inside / "link").symlink_to(outside)
    (inside / "closed" / "deeper" / "link").symlink_to(outside)
    os.mkfifo(inside / "fifo")
    (inside / "closed").chmod(0)
    empty(inside)
    assert list(inside.iterdir()) == []
    assert (outside / "kept").exists()


def test_folders_that_cannot_be_removed_stay_until_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def failing(folder: Path) -> None:
        raise OSError(5, "Input/output error")

    folders = made(tmp_path)
    with monkeypatch.context() as disk:
        disk.setattr("agent.executors.folders.empty", failing)
        folders.remove()
    assert f"{folders.root} is left behind" in caplog.text
    assert folders.root.exists()
    folders.remove()
    assert not folders.root.exists()


def test_measure_names_the_limit(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "f").write_bytes(b"x" * 100)
    assert measure(tmp_path, max_bytes=100_000, max_files=2) == ""
    assert "more than 1 files" in measure(tmp_path, max_bytes=100_000, max_files=1)
    (tmp_path / "sparse").touch()
    os.truncate(tmp_path / "sparse", 1 << 40)
    assert "bytes" in measure(tmp_path, max_bytes=100_000, max_files=5)


def test_fifo_socket_and_device_are_not_taken_and_do_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        for name in ("fifo", "socket"):
            with pytest.raises(StepFailed) as failure:
                open_output(tmp_path, name)
            assert failure.value.code == "step.outputs"


@pytest.mark.parametrize("name", ["a/b/c/d/e/f/g/h/i", "a\0b", "x" * 300, "a/", "/a"])
def test_invalid_names_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(StepFailed):
        open_output(tmp_path, name)


def test_blob_that_is_a_link_or_gone_fails_the_event(tmp_path: Path) -> None:
    folders = made(tmp_path)
    (tmp_path / "link").symlink_to("/etc/passwd")
    for path in ("link", "gone"):
        with pytest.raises(StepFailed) as failure:
            folders.fill([BlobRef("a", "cid", path=str(tmp_path / path))], ["a"])
        assert failure.value.code == "step.input"
    folders.remove()
    assert not folders.root.exists()


@pytest.mark.parametrize("shared", [True, False])
def test_blob_is_linked_or_copied(tmp_path: Path, shared: bool) -> None:
    blob = tmp_path / "blob"
    blob.write_bytes(b"content")
    blob.chmod(0o440)
    folders = made(tmp_path, shared=shared)
    folders.fill([BlobRef("a", "cid", path=str(blob))], ["a"])
    assert (folders.blobs / "a").read_bytes() == b"content"
    assert (blob.stat().st_nlink == 2) is shared
    folders.clear()
    assert blob.read_bytes() == b"content"
    assert list(folders.blobs.iterdir()) == []


def test_undeletable_folders_lose_their_handle_and_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def filling(*_: object) -> None:
        raise OSError(39, "Directory not empty")

    folders = made(tmp_path)
    write_record(folders.root, HANDLE, Handle.now())
    monkeypatch.setattr("agent.executors.folders.empty", filling)
    folders.remove()
    assert folders.root.exists()
    assert read_handle(folders.root) is None
    (folders.outputs / "old").touch()
    folders.make_again()
    assert not list(folders.outputs.iterdir())
