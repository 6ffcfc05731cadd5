"""A root with nothing but a static busybox: no glibc, no Python, no certificates, no /etc but what a test puts there."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

TOOLS = ("cat", "env", "grep", "kill", "ls", "mkdir", "ps", "readlink", "sh", "sleep", "tail", "touch")
DEVICES = {"null": 3, "zero": 5, "random": 8, "urandom": 9}


class BareRoot:
    """Its processes run in namespaces and end with `close`; loopback is its only network. Needs root."""

    def __init__(self, path: Path, tree: Path, busybox: Path) -> None:
        self.path = path
        for folder in ("bin", "proc", "dev/shm", "tmp", "etc", "run", "var/lib", "opt"):
            (path / folder).mkdir(parents=True)
        shutil.copyfile(busybox, path / "bin/busybox")
        (path / "bin/busybox").chmod(0o755)
        for tool in TOOLS:
            (path / "bin" / tool).symlink_to("busybox")
        for name, minor in DEVICES.items():
            os.mknod(path / "dev" / name, 0o20666, os.makedev(1, minor))
        shutil.copytree(tree, path / "opt" / tree.name, symlinks=True, copy_function=os.link)
        setup = (
            f"ip link set lo up && mount -t proc proc {path}/proc && mount -t tmpfs tmpfs {path}/dev/shm"
            f" && exec chroot {path} /bin/sh -c 'echo ready; exec sleep 1000000'"
        )
        self._init = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--net", "--fork", "--kill-child", "sh", "-c", setup],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._init.stdout is not None
        assert self._init.stdout.readline() == "ready\n"
        children = Path(f"/proc/{self._init.pid}/task/{self._init.pid}/children")
        self.pid = int(children.read_text().split()[0])

    def command(self, *words: str) -> list[str]:
        """The command line that runs a command in the root."""
        inside = ["env", "-i", "PATH=/bin", "HOME=/tmp", *words]
        return ["nsenter", f"--target={self.pid}", "--mount", "--pid", "--net", "--root", "--wd", *inside]

    def beside(self, *words: str) -> list[str]:
        """The command line that runs a command of this machine in the root's network."""
        return ["nsenter", f"--target={self.pid}", "--net", *words]

    def run(self, *words: str, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run a command in the root."""
        return subprocess.run(self.command(*words), capture_output=True, text=True, check=False, timeout=timeout)

    def start(self, *words: str, log: Path) -> subprocess.Popen[bytes]:
        """Start a command in the root; `close` ends it."""
        with log.open("wb") as out:
            return subprocess.Popen(self.command(*words), stdin=subprocess.DEVNULL, stdout=out, stderr=out)

    def close(self) -> None:
        """End all processes of the root."""
        self._init.kill()
        self._init.wait()
        assert self._init.stdout is not None
        self._init.stdout.close()
