"""A virtual machine in qemu-system with Debian's kernel, a disk that survives power cuts, and the root of `root.py`."""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hil.standins import cpio
from hil.standins.debian import Debian, kept, unpack
from hil.standins.errors import DeviceError
from hil.standins.network import Lan
from hil.standins.process import Process
from hil.standins.root import Processor, busybox, recipe, root
from hil.standins.standin import StandIn

DISK = 512 << 20
"""Bytes of the disk; the flash of a NAND access point (the UAP-AC-HD has 256 MB) beside room for a second version."""
MODULES = ("virtio_mmio", "virtio_blk", "virtio_net", "virtio_rng", "crc32c_generic", "ext4")
"""The parts of Debian's kernel that the machine needs to find its disk; the others' order comes from their headers."""
INIT = """#!/bin/sh
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b mount -t devtmpfs dev /dev
for module in /modules/*; do $b insmod "$module" || echo "cannot load $module"; done
tries=0
until [ -b /dev/vda ]; do
    tries=$((tries + 1))
    [ $tries -lt 200 ] || { echo "no disk"; $b poweroff -f; }
    $b usleep 50000
done
$b mount -t ext4 -o noatime /dev/vda /disk || { echo "cannot mount the disk"; $b poweroff -f; }
for folder in dev proc sys; do $b mount --move /$folder /disk/$folder; done
exec $b switch_root /disk /sbin/init
"""


@dataclass(frozen=True)
class Model:
    """A machine: its processor, qemu's program and arguments, Debian's kernel, and its memory in MB."""

    processor: Processor
    program: str
    arguments: tuple[str, ...]
    kernel: str
    memory: int = 256


@dataclass(frozen=True)
class Image:
    """The files that a machine starts from: kernel, initramfs, and the disk, which each machine copies."""

    kernel: Path
    initramfs: Path
    disk: Path


def image(model: Model) -> Image:
    """The files of a model, made on the first call (half a minute and 50 MB of downloads) and kept in the cache."""
    processor = model.processor
    template, tool = root(processor), busybox(processor)
    made = recipe(__file__, cpio.__file__)
    folder = kept(f"machine-{processor.name}", made, lambda to: _make(model, template, tool, to))
    return Image(folder / "kernel", folder / "initramfs", folder / "disk")


def _make(model: Model, template: Path, tool: Path, to: Path) -> None:
    to.mkdir()
    debian = Debian(model.processor.debian)
    package = debian.depends(model.kernel, r"linux-image-[0-9][^\s]*")
    unpacked = unpack(debian.fetch(package), to / "package")
    (kernel,) = (unpacked / "boot").glob("vmlinuz-*")
    content = kernel.read_bytes()
    (to / "kernel").write_bytes(gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content)
    entries = [cpio.folder(f) for f in ("bin", "dev", "disk", "modules", "proc", "sys")]
    entries += [cpio.file("bin/busybox", tool.read_bytes(), 0o755), cpio.link("bin/sh", "busybox")]
    entries += [cpio.file("init", INIT.encode(), 0o755)]
    for number, module in enumerate(_modules(unpacked)):
        entries.append(cpio.file(f"modules/{number:02}-{module.name}", module.read_bytes()))
    (to / "initramfs").write_bytes(cpio.archive(entries))
    shutil.rmtree(unpacked)
    with (to / "disk").open("wb") as disk:
        disk.truncate(DISK)
    command = ["mkfs.ext4", "-q", "-d", str(template), "-L", "root", str(to / "disk")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DeviceError(f"mkfs.ext4 failed: {done.stderr.strip()}")


def _modules(unpacked: Path) -> list[Path]:
    """MODULES and the modules that they need, each after those it needs; built-in parts have no file."""
    files = {p.stem.replace("-", "_"): p for p in (unpacked / "lib/modules").rglob("*.ko")}

    def needs(name: str) -> Iterator[str]:
        if name not in files:
            return
        found = re.search(rb"\0depends=([^\0]+)\0", files[name].read_bytes())
        for other in found[1].decode().split(",") if found else ():
            yield from needs(other.replace("-", "_"))
        yield name

    return [files[n] for n in dict.fromkeys(n for m in MODULES for n in needs(m))]


class Emulated(StandIn):
    """A running model on a Lan."""

    model: Model

    def __init__(self, lan: Lan, name: str) -> None:
        if shutil.which(self.model.program) is None:
            raise DeviceError(f"{self.model.program} is missing; install qemu-system-arm")
        super().__init__(lan, name)
        self._image = image(self.model)
        self._process: Process | None = None
        self.disk = self.folder / "disk"
        subprocess.run(["cp", "--sparse=always", "--reflink=auto", self._image.disk, self.disk], check=True)
        self._tap = lan.tap(self.number)

    @property
    def facts(self) -> str:
        """The facts, and the address, which the machine sets itself."""
        return f"{super().facts} standin.address={self.address}/16"

    def power(self) -> None:
        """Switch it on; its console goes to the log."""
        model = self.model
        console = "ttyAMA0"
        mac = f"52:54:00:77:00:{self.number:02x}"
        self._process = Process(
            [
                *self.lan.inside, model.program, *model.arguments, "-m", str(model.memory),
                "-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio",
                "-kernel", str(self._image.kernel), "-initrd", str(self._image.initramfs),
                "-append", f"console={console} quiet panic=-1 {self.facts}",
                "-drive", f"if=none,id=disk,format=raw,file={self.disk}", "-device", "virtio-blk-device,drive=disk",
                "-netdev", f"tap,id=lan,ifname={self._tap},script=no,downscript=no",
                "-device", f"virtio-net-device,netdev=lan,mac={mac}",
                "-object", "rng-random,id=rng,filename=/dev/urandom", "-device", "virtio-rng-device,rng=rng",
            ],
            self.log,
        )  # fmt: skip

    def cut(self) -> None:
        """Take its power away: the kernel's unwritten pages are lost."""
        if self._process is not None:
            self._process.kill()
            self._process = None
