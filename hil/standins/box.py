"""An x86_64 box in namespaces for network, processes, mounts and host name, with its own root and a real SSH server.

It is this machine's processor and kernel, so its times need no calibration; its root is the static busybox of `root.py`.
"""

from __future__ import annotations

from hil.standins.network import Lan
from hil.standins.process import Process
from hil.standins.root import FACTS, X86_64, root
from hil.standins.standin import StandIn

MOUNT = """set -e
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/disk,workdir=$2/work" "$2/root"
cd "$2/root"
mount -t proc proc proc
mount -t sysfs -o ro sys sys
mount -t tmpfs -o mode=755 dev dev
for device in full null random tty urandom zero; do : >"dev/$device"; mount --bind "/dev/$device" "dev/$device"; done
ln -s /proc/self/fd dev/fd
mkdir dev/pts
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
mkdir -p mnt
pivot_root . mnt
exec chroot . /bin/sh -c 'umount -l /mnt; exec /sbin/init' <dev/null >/dev/null 2>&1
"""
"""Makes the root in a new mount namespace ($1 the template, $2 the work folder) and becomes its init."""


class Box(StandIn):
    """An x86_64 box on a Lan."""

    arch = "x86_64"

    def __init__(self, lan: Lan, name: str) -> None:
        super().__init__(lan, name)
        self._template = root(X86_64)
        self._process: Process | None = None
        for folder in ("disk", "work", "root"):
            (self.folder / folder).mkdir()
        facts = self.folder / "disk" / FACTS
        facts.parent.mkdir(parents=True)
        facts.write_text(f"{self.facts}\n")
        self._host = lan.host(name, self.number)

    def power(self) -> None:
        """Switch it on: a new process namespace, whose end ends all its processes and mounts."""
        self._process = Process(
            [
                *self._host.command("unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child"),
                "sh", "-c", MOUNT, "box", str(self._template), str(self.folder),
            ],
            self.log,
        )  # fmt: skip

    def cut(self) -> None:
        """Kill all its processes at once. Its kernel is this machine's, so no written page is lost."""
        if self._process is not None:
            self._process.kill()
            self._process = None
