"""The structs of this package: architecture, host and platform."""

from __future__ import annotations

import itertools
import os
import shutil
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

MOST = 64 * 1024
"""Most bytes that are read of a file."""
MOST_NAMES = 256
"""Most entries that are read of a folder."""
MOST_TEXT = 100
"""Longest text of a fact, in characters."""


class Architecture(msgspec.Struct, frozen=True):
    """A kind of processor: the name in the `arch` label, the outputs of `uname -m`, and its WASM engine.

    `engine` is `wasmtime`, or `wasm3` (always in a child process) where wasmtime has no wheel.
    """

    name: str
    machines: tuple[str, ...]
    engine: str


class Space(msgspec.Struct, frozen=True):
    """The bytes of a file system, and how many of them are free; 0 where that is not known."""

    total: int = 0
    free: int = 0


def space_of(path: Path) -> Space:
    """The space of the file system that has the path, or will have it."""
    try:
        usage = shutil.disk_usage(next(p for p in (path, *path.parents) if p.exists()))
    except (OSError, StopIteration):
        return Space()
    return Space(usage.total, usage.free)


class Host(msgspec.Struct, frozen=True):
    """The input of the rules: the root of the file system, the environment, the configured address of Docker, disks.

    Its methods never raise, and read a limited number of bytes of regular files alone: /proc and /sys have files of any
    length, and a FIFO in the place of a file would block.
    """

    root: Path = Path("/")
    environ: Mapping[str, str] = {}
    docker_host: str = ""
    space: Callable[[Path], Space] = space_of

    def path(self, absolute: str) -> Path:
        """An absolute path of this host."""
        return self.root / absolute.lstrip("/")

    def exists(self, absolute: str) -> bool:
        """Whether the path exists and is accessible."""
        try:
            return self.path(absolute).exists()
        except (OSError, ValueError):
            return False

    def is_file(self, absolute: str) -> bool:
        """Whether the path is a file that this process may see."""
        try:
            return self.path(absolute).is_file()
        except (OSError, ValueError):
            return False

    def read(self, absolute: str, most: int = MOST) -> bytes:
        """The first `most` bytes of a regular file; empty where they cannot be read."""
        try:
            file = os.open(self.path(absolute), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (OSError, ValueError):
            return b""
        try:
            data = bytearray()
            while stat.S_ISREG(os.fstat(file).st_mode) and len(data) < most:
                part = os.read(file, most - len(data))
                if not part:
                    break
                data += part
            return bytes(data)
        except OSError:
            return b""
        finally:
            os.close(file)

    def text(self, absolute: str) -> str:
        """The text of a file; bytes that are not UTF-8 are replaced."""
        return self.read(absolute).decode(errors="replace")

    def line(self, absolute: str) -> str:
        """The first line of a file, as `shown`."""
        return shown(self.text(absolute).partition("\n")[0])

    def names(self, folder: str) -> list[str]:
        """The sorted names in a folder, at most MOST_NAMES; empty where it cannot be read."""
        try:
            with os.scandir(self.path(folder)) as entries:
                return sorted(e.name for e in itertools.islice(entries, MOST_NAMES))
        except (OSError, ValueError):
            return []


def shown(text: str) -> str:
    """A text of the hardware as one printable line of at most MOST_TEXT characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:MOST_TEXT].rstrip()


def settings(text: str, separator: str = "=") -> dict[str, str]:
    """The lines `KEY=VALUE` of a text, without quotes around values; the first line of a key counts."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        key, mark, value = line.partition(separator)
        if mark and key.strip():
            found.setdefault(key.strip(), shown(value.strip().strip("'\"")))
    return found


class VideoDevice(msgspec.Struct, frozen=True):
    """A V4L2 device that may give pictures: its source as `camera add` takes it, and the name that its driver gives."""

    source: str
    text: str


class Platform(msgspec.Struct, frozen=True, kw_only=True):
    """The abilities of this hardware and its system.

    `log_source` is the log of `tail: auto`: a path, `journald` or `logread`; empty where there is none. `state` is the
    folder of files that must survive a power cut, `volatile` of the rest (in memory on OpenWrt and where the flash is small),
    `run` of the socket. Sizes are in bytes, 0 where they are not known; a text is empty where nothing says it.
    """

    arch: str
    engine: str
    system: str
    """The kind of system, one of `rules.system.KINDS`."""
    log_source: str
    state: Path
    volatile: Path
    run: Path
    labels: dict[str, str]
    gpus: int = 0
    name: str = ""
    """The system's own name and version, such as `OpenWrt 24.10.0`."""
    model: str = ""
    """The name of the device, such as `Raspberry Pi 4 Model B Rev 1.4`."""
    processor: str = ""
    cores: int = 1
    neon: bool | None = None
    """Whether an ARM processor has NEON, which the agent's libraries need; None on other processors."""
    memory: int = 0
    flash: Space = Space()
    """The file system of `state`."""
    small_flash: bool = False
    video: tuple[VideoDevice, ...] = ()
    radios: tuple[str, ...] = ()
    """The Wi-Fi radios."""
    init: str = ""
    libc: str = ""

    @property
    def openwrt(self) -> bool:
        """Whether this is OpenWrt."""
        return self.system == "openwrt"
