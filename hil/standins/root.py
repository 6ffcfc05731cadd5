"""The root of a stand-in, as small access points have it: a static busybox with its init and syslogd, and no C library.

dropbear is Debian's and needs glibc: it lives with its libraries and its loader in /opt/ssh, which nothing else uses. The
root is made once per recipe and kept in the cache.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from hil.standins.debian import Debian, kept, unpack
from hil.standins.errors import DeviceError

ROOTFS = Path(__file__).parent / "rootfs"
"""The configuration files of the root."""
SSH = "opt/ssh"
FACTS = "opt/standin/facts"
"""This file of the root, or the kernel's command line, has `standin.name=`, `standin.key=` and `standin.address=`."""
NETWORK_UP = "/run/standin-network"
"""The stand-in writes its seconds since power-on here once the network is up."""
PACKAGES = ("busybox-static", "dropbear-bin", "libc6", "libcrypt1", "libgmp10", "libtomcrypt1", "libtommath1", "zlib1g")
LIBRARIES = ("libc.so.6", "libcrypt.so.1", "libtomcrypt.so.1", "libtommath.so.1", "libz.so.1", "libgmp.so.10")
FOLDERS = (
    "bin", "dev", "lib", "mnt", "opt/ssh", "opt/standin", "proc", "root", "run", "sbin", "sys", "tmp",
    "usr/bin", "usr/local/bin", "usr/local/sbin", "usr/sbin", "var/lib", "var/log",
)  # fmt: skip


@dataclass(frozen=True)
class Processor:
    """An architecture: its name in the project, Debian's name, and the loader that Debian's programs name."""

    name: str
    debian: str
    loader: str


ARMV7 = Processor("armv7", "armhf", "/lib/ld-linux-armhf.so.3")
AARCH64 = Processor("aarch64", "arm64", "/lib/ld-linux-aarch64.so.1")
X86_64 = Processor("x86_64", "amd64", "/lib64/ld-linux-x86-64.so.2")


def recipe(*sources: str) -> str:
    """The hash of the files that make a root, and of `sources`: another recipe makes another thing in the cache."""
    files = [Path(__file__), *map(Path, sources), *sorted(p for p in ROOTFS.rglob("*") if p.is_file())]
    return hashlib.sha256(b"\0".join(p.read_bytes() for p in files)).hexdigest()[:16]


def root(processor: Processor) -> Path:
    """The folder with the root of this processor, made on the first call. It is a template: copy or overlay it."""
    return kept(f"root-{processor.name}", recipe(), lambda to: _make(processor, to))


def busybox(processor: Processor) -> Path:
    """The static busybox of this processor."""
    return root(processor) / "bin/busybox"


def _make(processor: Processor, to: Path) -> None:
    packages = Debian(processor.debian).fetch(*PACKAGES)
    unpacked = unpack(packages, to.with_name(f"{to.name}.packages"))
    shutil.copytree(ROOTFS, to)
    (to / "etc/shadow").chmod(0o600)
    for name in FOLDERS:
        (to / name).mkdir(parents=True, exist_ok=True)
    shutil.copy(unpacked / "bin/busybox", to / "bin/busybox")
    for applet in _applets():
        path = to / applet
        if path.parent.is_dir() and not path.exists():
            path.symlink_to("/bin/busybox")
    _ssh(processor, unpacked, to / SSH)
    shutil.rmtree(unpacked)


def _applets() -> list[str]:
    """Paths of busybox's applets; this machine's busybox-static is of the same Debian release as the stand-ins'."""
    try:
        shown = subprocess.run(["busybox", "--list-full"], capture_output=True, text=True, check=True).stdout
    except FileNotFoundError:
        raise DeviceError("busybox is missing; install busybox-static") from None
    return [line for line in shown.split() if "busybox" not in line]


def _ssh(processor: Processor, unpacked: Path, to: Path) -> None:
    """dropbear with its libraries; its header names the loader beside it, so that /lib stays empty."""
    there = {p.name: p for p in unpacked.rglob("*") if p.is_file()}
    for name in LIBRARIES:
        shutil.copy(there[name].resolve(), to / name)
    shutil.copy(there[Path(processor.loader).name].resolve(), to / "ld.so")
    (to / "ld.so").chmod(0o755)
    named, new = processor.loader.encode() + b"\0", f"/{SSH}/ld.so".encode()
    for name in ("dropbear", "dropbearkey"):
        program = there[name].read_bytes()
        if program.count(named) != 1:
            raise DeviceError(f"the program {name} of {processor.debian} does not name its loader once")
        (to / name).write_bytes(program.replace(named, new.ljust(len(named), b"\0")))
        (to / name).chmod(0o755)
