"""A run of the agent in memory, while its state folder takes no writes: the disk is full, or its file system is read-only.

The run works on a copy of what the node is (identity, documents, devices) beside the API's socket, a folder in memory under
systemd and OpenWrt. Open events and blobs stay on the disk: they wait there for the next run that can write, which is
the first after the disk can be written again. Events that both runs make have the same ids, so they are shown once.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import msgspec

from agent import ticks
from agent.config import Config
from agent.database import transaction
from agent.errors import ConfigError, EdgeError, in_words
from agent.health import HealthRegistry
from agent.model.health import Warning
from agent.node.configured import journal_file

log = logging.getLogger(__name__)

NO_WRITES = {errno.EROFS: "read-only", errno.ENOSPC: "full", errno.EDQUOT: "full"}
"""Errors of a disk that takes no writes, and the word for it."""
LEAST, LEAST_WITHOUT_JOURNAL = 1 << 20, 64 << 10
"""Bytes that a state folder must take with and without the journal in it; SQLite's files begin with 100 KiB."""
ENOUGH = 16 << 20
"""Free bytes from which a full disk is used again, so that the next run does not fail at once."""
LOOK = 10.0
"""Seconds between looks at the disk."""
MAX_JOURNAL = 64 << 20
"""Largest journal in bytes that is copied to memory; a run without it does not know the devices."""
MAX_FILE = 8 << 20
NOT_COPIED = frozenset({"blobs", "added-blobs", "cache", "scratch", "logs", "lock"})
_REMEDY = {
    "read-only": "see dmesg for the cause, then mount -o remount,rw its file system",
    "full": "free some space on its disk, or lower blobs.quota and logs.size",
}


class MemoryState(msgspec.Struct, frozen=True):
    """A run in memory: its configuration, the state folder that takes no writes, and why (`read-only` or `full`)."""

    config: Config
    folder: Path
    cause: str
    protected: bool = False
    """Whether the whole file system is read-only, not only this process's view of it."""

    def moved(self, config: Config) -> Config:
        """A newer configuration as this run uses it: its folders move only at a start."""
        return _moved(config) if config.state == self.folder else config

    def warn(self, health: HealthRegistry) -> None:
        """Say it in `status`."""
        text = f"the disk of {self.folder} is {self.cause}: this run works in memory, and what it does ends with it"
        remedy = f"{_REMEDY[self.cause]}; the agent then goes back to its disk by itself"
        health.set(Warning("state.memory", str(self.folder), text, remedy, "error"))

    async def wait(self, open_events: Callable[[], int]) -> None:
        """Wait until the disk takes writes again and no event of this run is open, then raise EdgeError (`state.back`)."""
        while True:
            await ticks.sleep(LOOK)
            if open_events() == 0 and await asyncio.to_thread(self._writable):
                raise EdgeError(
                    f"the state folder {self.folder} can be written again: this run in memory ends",
                    hint="the service starts again by itself; at a terminal, run the same command again",
                    code="state.back",
                )

    def _writable(self) -> bool:
        # systemd gives a service its own view of the disk, which stays read-only when the file system does not any more.
        if self.protected and not read_only_file_system(self.folder):
            return True
        try:
            return fault(self.folder, LEAST) == "" and shutil.disk_usage(self.folder).free >= ENOUGH
        except OSError:
            return False


def unwritable(config: Config) -> str:
    """`read-only` or `full` where the disk of the state folder takes no writes, else empty; makes the folder.

    Raises OSError for another fault of the folder.
    """
    return fault(config.state, LEAST if journal_file(config).parent == config.state else LEAST_WITHOUT_JOURNAL)


def copy_of(config: Config) -> Path:
    """The folder of a run in memory, beside the API's socket."""
    return config.run.parent / "state"


def memory_state(config: Config, cause: str) -> MemoryState:
    """A run in memory with a new copy of the state, which takes no writes for this cause.

    Raises ConfigError where there is no identity to go on with, or memory takes no copy.
    """
    folder, copy = config.state, copy_of(config)
    if not (folder / "identity").is_dir():
        raise ConfigError(
            f"the disk of the state folder {folder} is {cause}, and this node has no identity yet",
            hint=_REMEDY[cause],
            code="state.folder",
        )
    try:
        shutil.rmtree(copy, ignore_errors=True)
        _copy(folder, copy, journal_file(config))
    except OSError as e:
        raise ConfigError(
            f"the disk of the state folder {folder} is {cause}, and {copy} takes no copy: {in_words(e)}",
            hint=_REMEDY[cause],
            code="state.folder",
        ) from None
    log.error("the disk of %s is %s: this run works in memory, in %s", folder, cause, copy)
    return MemoryState(_moved(config), folder, cause, read_only_file_system(folder))


def fault(folder: Path, size: int) -> str:
    """`read-only` or `full` where the folder takes no `size` bytes, else empty. Raises OSError for another fault."""
    probe = folder / f".probe-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            with probe.open("wb", buffering=0) as file:
                file.write(bytes(size))
                os.fsync(file.fileno())
        finally:
            probe.unlink(missing_ok=True)
    except OSError as e:
        if e.errno in NO_WRITES:
            return NO_WRITES[e.errno]
        raise
    return ""


def _moved(config: Config) -> Config:
    journal = msgspec.structs.replace(config.journal, dir=Path())
    return msgspec.structs.replace(config, state=copy_of(config), journal=journal)


def read_only_file_system(folder: Path, mountinfo: Path = Path("/proc/self/mountinfo")) -> bool:
    """Whether the file system of the folder is read-only for everybody (proc(5): the last of the options are the file system's)."""
    most, options = 0, b""
    try:
        lines = mountinfo.read_bytes().splitlines()
        place = folder.resolve()
    except OSError:
        return False
    for line in lines:
        fields = line.split(b" ")
        point = Path(os.fsdecode(fields[4].decode("unicode_escape").encode("latin-1")))  # a space is \040 there
        if (place == point or point in place.parents) and len(point.parts) >= most:
            most, options = len(point.parts), fields[-1]  # a later mount covers an earlier one
    return b"ro" in options.split(b",")


def _copy(folder: Path, copy: Path, journal: Path) -> None:
    """Copy what the node is; raises OSError."""
    copy.mkdir(mode=0o700, parents=True)
    for part in sorted(folder.iterdir()):
        if part.name in NOT_COPIED or part.name.startswith((".", journal.name)):
            continue
        if part.is_dir():
            shutil.copytree(part, copy / part.name, ignore=_too_large)
        elif part.is_file() and part.stat().st_size <= MAX_FILE:
            shutil.copy2(part, copy / part.name)
    _copy_journal(journal, copy / "journal.db")


def _too_large(folder: str, names: list[str]) -> list[str]:
    paths = [Path(folder, name) for name in names]
    return [p.name for p in paths if not p.is_dir() and (not p.is_file() or p.stat().st_size > MAX_FILE)]


def _copy_journal(journal: Path, copy: Path) -> None:
    """The memory of the journal without its events, which wait on the disk; no file where it cannot be read."""
    files = [(journal.with_name(journal.name + s), copy.with_name(copy.name + s)) for s in ("", "-wal")]
    present = [(a, b) for a, b in files if a.is_file()]
    if not present or sum(a.stat().st_size for a, _ in present) > MAX_JOURNAL:
        return
    for source, to in present:
        shutil.copyfile(source, to)
    db = sqlite3.connect(copy, isolation_level=None)
    try:
        with transaction(db):
            for table in ("row", "event", "kept"):
                db.execute(f"DELETE FROM {table}")  # noqa: S608  names of ours
    except sqlite3.Error as e:
        log.warning("the copy of the journal cannot be used, this run knows no devices: %s", e)
        for _, to in files:
            to.unlink(missing_ok=True)
    finally:
        db.close()
