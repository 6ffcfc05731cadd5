"""A machine with the system of this machine, changed in a layer that is thrown away, in new namespaces. Needs root and overlayfs.

It stands for a Debian host without systemd: its first process only takes in orphans. Programs of this machine are there, sudo among
them where it is installed; /run and /tmp are empty.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from hil.standins import busybox
from hil.standins.busybox import BusyboxRoot

_START = """
set -e
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
mount -t proc proc "$1/root/proc"
mount --rbind /dev "$1/root/dev"
mount -t tmpfs -o mode=1777 tmpfs "$1/root/tmp"
mount -t tmpfs -o mode=755 tmpfs "$1/root/run"
[ -z "$2" ] || ip link set lo up
exec chroot "$1/root" /sbin/reaper
"""
_REAPER = "#!/bin/sh\nwhile :; do sleep 3600 & wait; done\n"


def missing() -> str:
    """The reason why this stand-in cannot be made here; empty where it can."""
    if why := busybox.missing():
        return why
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:  # overlayfs needs an upper layer on a disk
        for name in ("upper", "work", "root"):
            (Path(folder) / name).mkdir()
        options = f"lowerdir=/,upperdir={folder}/upper,workdir={folder}/work"
        command = ["unshare", "--mount", "mount", "-t", "overlay", "overlay", "-o", options, f"{folder}/root"]
        done = subprocess.run(command, capture_output=True, check=False)
    return "" if done.returncode == 0 else "overlayfs does not work on this machine's root"


class SameSystem(BusyboxRoot):
    """One such machine; see `BusyboxRoot` and `Machine`."""

    setup = _START

    def changed(self) -> set[str]:
        """The files that differ from this machine's: new, changed and deleted files."""
        upper = self.root / "upper"
        return {str(p.relative_to(upper)) for p in upper.rglob("*") if p.is_symlink() or not p.is_dir()}

    def _furnish(self, init: str) -> None:
        shutil.rmtree(self.root)
        self.root = Path(tempfile.mkdtemp(prefix="edge-same-", dir="/var/tmp"))
        for name in ("upper/sbin", "upper/usr/sbin", "work", "root"):
            (self.root / name).mkdir(parents=True)
        self.root.chmod(0o755)
        (self.root / "upper/sbin").rmdir()  # /sbin is a link to usr/sbin
        reaper = self.root / "upper/usr/sbin/reaper"
        reaper.write_text(_REAPER)
        reaper.chmod(0o755)
