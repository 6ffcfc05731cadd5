"""The folders of one program: one with the event's files, and `outputs` for its output files; beside them its record.

A program's folders are hostile: nothing here follows a link, recurses, or keeps a descriptor per level.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.errors import StepFailed
from agent.executors.contract import broken
from agent.executors.record import HANDLE
from agent.model.event import BlobRef
from agent.model.task import Limits

logger = logging.getLogger(__name__)

_DIR = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
MAX_DEPTH = 8
"""Deepest folder below the outputs folder from which a file is taken."""


class Folders:
    """`<root>/program` with `blobs` (or `inputs`), `outputs` and `event.json`; every method blocks for a few system calls.

    The agent's own files about the program (`record.py`) are in `root`, which the program does not see in a sandbox. With
    `shared`, files are hard links to the blobs' files where the file system allows it. Otherwise the program gets
    copies, since it has the rights to change them. `owner` is the user of the program where it is not this one.
    """

    def __init__(self, root: Path, *, shared: bool, owner: int | None = None, inputs: str = "blobs") -> None:
        self.root = root
        self.program = root / "program"
        self.blobs = self.program / inputs
        self.event = self.program / "event.json"
        self.outputs = self.program / "outputs"
        self._shared = shared
        self._owner = owner

    @classmethod
    def of(cls, scratch: Path, once: str, *, shared: bool, owner: int | None = None) -> Folders:
        """Folders below `scratch`: those named `once` of a `once` program, which reads `inputs`; without a name new folders
        of a warm program, which reads `blobs`.
        """
        root = scratch / (once or os.urandom(8).hex())
        return cls(root, shared=shared, owner=owner, inputs="inputs" if once else "blobs")

    def make(self) -> None:
        """Make the folders; raises OSError where they exist."""
        self.root.mkdir(mode=0o700, parents=True)
        self.program.mkdir()
        self.program.chmod(0o755)  # independently of the agent's umask
        self.blobs.mkdir()
        self.blobs.chmod(0o755)
        self.outputs.mkdir(mode=0o700)
        if self._owner is not None:
            os.chown(self.outputs, self._owner, self._owner)

    def make_again(self) -> None:
        """Make the folders, after deleting those of a program of the previous run that could not be adopted."""
        if self.root.exists():
            # Its name is free at once, even where some of its files cannot be deleted.
            Folders(self.root.rename(self.root.with_name(os.urandom(8).hex())), shared=False).remove()
        self.make()

    def fill(self, blobs: list[BlobRef], names: list[str]) -> None:
        """Put the blobs' files in place under `names`; raises StepFailed where one is gone or is not a regular file."""
        for blob, name in zip(blobs, names, strict=True):
            source, target = Path(blob.path), self.blobs / name
            try:
                with _opened(source, _FILE) as fd:
                    info = os.fstat(fd)
                    if not stat.S_ISREG(info.st_mode):
                        raise broken(f"the blob {blob.name} is not a regular file here", code="step.input")
                    readable = self._owner is None or info.st_mode & 0o004
                    if not (self._shared and readable and _link(source, target)):
                        _copy(fd, target)
            except OSError as e:
                raise broken(f"the blob {blob.name} cannot be read here: {e.strerror}", code="step.input") from e

    def tell(self, event: bytes) -> None:
        """Write the event's file; raises StepFailed."""
        try:
            self.event.write_bytes(event)
            self.event.chmod(0o444)  # independently of the agent's umask
        except OSError as e:
            raise broken(f"the event cannot be written for the program: {e.strerror}", code="step.input") from e

    def taken(self, limits: Limits) -> list[str]:
        """The names of all regular files below the outputs folder, sorted.

        Raises StepFailed beyond `limits.files` or MAX_DEPTH, and where a folder cannot be read.
        """
        names: list[str] = []
        for at, folders, files in os.walk(self.outputs, onerror=_unreadable):
            below = Path(at).relative_to(self.outputs)
            if folders and len(below.parts) + 1 >= MAX_DEPTH:
                text = f"the program made folders in {str(below)[:80]!r}: a path in the outputs folder has at most {MAX_DEPTH} parts"
                raise broken(text, code="step.outputs")
            names += [str(below / name) for name in files if stat.S_ISREG((Path(at) / name).lstat().st_mode)]
            if len(names) > limits.files:
                raise broken(f"the program wrote more than {limits.files} files", code="step.outputs")
        return sorted(names)

    def overrun(self, limits: Limits) -> str:
        """The limit that the files of the program overrun; see `measure`."""
        return measure(self.outputs, max_bytes=limits.outputs, max_files=limits.files)

    def clear(self) -> None:
        """Empty both folders."""
        for folder in (self.blobs, self.outputs):
            empty(folder)

    def remove(self) -> None:
        """Delete everything; missing files are no error, and files that cannot be deleted stay until the next start."""
        try:
            # First: a program of which some files are gone must not be adopted after a crash here.
            (self.root / HANDLE).unlink(missing_ok=True)
            empty(self.root)
            self.root.rmdir()
        except FileNotFoundError:
            pass
        except OSError as e:
            logger.warning("%s is left behind until the next start: %s", self.root, e)


def clear_leftovers(scratch: Path, keep: Collection[str] = ()) -> Path:
    """Make `scratch` (0700) and delete the files of the previous run of the agent where possible; returns `scratch`.

    The folders named in `keep` stay.
    """
    scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        empty(scratch, keep)
    except OSError as e:
        logger.warning("the files of the previous run in %s stay until the next start: %s", scratch, e)
    return scratch


def _unreadable(e: OSError) -> None:
    raise broken(f"a folder in the outputs folder cannot be read: {e.strerror}", code="step.outputs") from e


def measure(folder: Path, *, max_bytes: int, max_files: int, ended: bool = False) -> str:
    """The limit that the files below `folder` overrun, in words; empty where they overrun none.

    When the program has `ended`, files as large as the limit overrun it: one that ignores the error of a write at the limit
    leaves a file that is cut there.

    Stops counting at the first overrun, so that a flood cannot make the counting long.
    """
    size = count = 0
    todo = [folder]
    while todo:
        try:
            with os.scandir(todo.pop()) as entries:
                for entry in entries:
                    count += 1
                    if count > max_files:
                        return f"more than {max_files} files in the outputs folder"
                    info = entry.stat(follow_symlinks=False)
                    if stat.S_ISDIR(info.st_mode):
                        todo.append(Path(entry.path))
                    else:
                        size += info.st_size
                    if size > max_bytes or (ended and size == max_bytes > 0):
                        return f"up to its limit of {max_bytes} bytes in the outputs folder"
        except OSError:
            # The program removes and renames files during the count; missing files do not count.
            continue
    return ""


def outputs_failure(overrun: str, kind: str) -> StepFailed:
    """The failure of a program of this kind whose files overrun a limit, as `measure` describes it."""
    hint = f"raise {kind}.outputs or {kind}.files of the step"
    return broken(f"the program wrote {overrun}", code="step.outputs", hint=hint)


def open_output(folder: Path, name: str) -> int:
    """A descriptor of the regular file `name` below the outputs folder, following no link; raises StepFailed."""
    parts = name.split("/")
    if not name or any(p in ("", ".", "..") for p in parts) or "\0" in name or len(parts) > MAX_DEPTH:
        raise broken(f"{name[:200]!r} is not the name of a file in the outputs folder", code="step.outputs")
    try:
        at = os.open(folder, _DIR)
        try:
            for part in parts[:-1]:
                below = os.open(part, _DIR, dir_fd=at)
                os.close(at)
                at = below
            fd = os.open(parts[-1], _FILE, dir_fd=at)
        finally:
            os.close(at)
    except OSError as e:
        raise _no_output(name, e) from e
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise broken(f"the output {name!r} is not a regular file", code="step.outputs")
    return fd


def _no_output(name: str, e: OSError) -> StepFailed:
    why = "a link or not a folder" if e.strerror in (os.strerror(40), os.strerror(20)) else e.strerror
    return broken(f"the output {name[:200]!r} cannot be taken: {why}", code="step.outputs")


def empty(folder: Path, keep: Collection[str] = ()) -> None:
    """Delete the content of `folder` at any depth but the folders in `keep`: subfolders are moved up and emptied one at a
    time.
    """
    top = os.open(folder, _DIR)
    try:
        while folders := [name for name in _unlink_files(top, top, move=False) if name not in keep]:
            for name in folders:
                try:
                    os.rmdir(name, dir_fd=top)
                except OSError:
                    _pull_up(top, name)
                    os.rmdir(name, dir_fd=top)
    finally:
        os.close(top)


def _pull_up(top: int, name: str) -> None:
    """Delete the files of the folder `name` in `top`, move its folders to `top`."""
    path_fd = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=top)
    try:
        Path(f"/proc/self/fd/{path_fd}").chmod(0o700)
    finally:
        os.close(path_fd)
    with _opened(Path(name), _DIR, dir_fd=top) as fd:
        _unlink_files(fd, top, move=True)


def _unlink_files(fd: int, top: int, *, move: bool) -> list[str]:
    """Delete everything in `fd` but folders; the folders are moved to `top` under fresh names, or returned."""
    folders = []
    with os.scandir(fd) as entries:
        found = [(e.name, e.is_dir(follow_symlinks=False)) for e in entries]
    for name, is_dir in found:
        if not is_dir:
            os.unlink(name, dir_fd=fd)
        elif move:
            os.rename(name, os.urandom(12).hex(), src_dir_fd=fd, dst_dir_fd=top)
        else:
            folders.append(name)
    return folders


@contextmanager
def _opened(path: Path, flags: int, dir_fd: int | None = None) -> Iterator[int]:
    fd = os.open(path, flags, dir_fd=dir_fd)
    try:
        yield fd
    finally:
        os.close(fd)


def _link(source: Path, target: Path) -> bool:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        # Another file system, or the kernel's protected_hardlinks: the caller copies.
        return False
    return True


def _copy(fd: int, target: Path) -> None:
    out = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444)
    try:
        os.fchmod(out, 0o444)  # independently of the agent's umask
        while os.sendfile(out, fd, None, 1 << 24):
            pass
    finally:
        os.close(out)
