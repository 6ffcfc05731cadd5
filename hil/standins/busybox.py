"""A small machine without a C library: a root that holds nothing but a static busybox, in new namespaces.

It stands for access points and other embedded systems. The shell and the tools are the real busybox; the kernel, its /proc and
the processor are this machine's. Needs root and Debian's `busybox-static`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from hil.standins.machine import Done, Failed

BUSYBOX = Path("/bin/busybox")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NODES = (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0))
_START = """
set -e
mount --make-rprivate /
mount --bind "$1" "$1"
mount -t proc proc "$1/proc"
mount -t tmpfs -o size=512m,mode=1777 tmpfs "$1/tmp"
mount -t tmpfs -o size=16m,mode=755 tmpfs "$1/run"
mount -t tmpfs -o size=64m,mode=1777 tmpfs "$1/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$1/dev/pts"
[ -z "$2" ] || ip link set lo up
exec chroot "$1" /sbin/init
"""
_REAPER = "#!/bin/sh\n# PID 1 of a machine without an init system: it only takes in orphans.\nwhile :; do sleep 3600 & wait; done\n"


def missing() -> str:
    """The reason why this stand-in cannot be made here; empty where it can."""
    if os.geteuid() != 0:
        return "namespaces need root"
    if not BUSYBOX.exists() or b"statically linked" not in _kind(BUSYBOX):
        return "there is no static busybox: Debian's package busybox-static"
    return "" if shutil.which("unshare") and shutil.which("nsenter") else "there is no unshare"


def _kind(program: Path) -> bytes:
    """`statically linked` where the program names no loader (ELF program header PT_INTERP is absent)."""
    with program.open("rb") as file:
        head = file.read(4096)
    return b"" if b"/lib64/ld-linux" in head or b"/lib/ld-" in head else b"statically linked"


class BusyboxRoot:
    """One such machine; `init` is `busybox` (with /etc/inittab) or `none`.

    `namespace` is the `ip netns` that it lives in; without it the machine has only a loopback interface. `programs` are
    programs of this machine that it gets with their libraries, for example curl; it then has a C library. See `Machine` for
    what it can do; it is also a context manager.
    """

    setup = _START
    """The script that makes its file systems and starts its first process; $1 is its folder, $2 empty where it has a network."""

    def __init__(self, *, init: str = "busybox", namespace: str = "", programs: Sequence[str] = ()) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="edge-busybox-"))
        self._namespace = namespace
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._furnish(init)
            for program in programs:
                self._lend(program)
            self._start()
        except BaseException:
            self.close()
            raise

    def run(
        self, command: str | list[str], input: bytes = b"", *, env: dict[str, str] | None = None, timeout: float = 120,
        shell: str = "sh",
    ) -> Done:  # fmt: skip
        """See `Machine`. There is no terminal; `env` is added to the environment, `shell` runs a text."""
        words = [shell, "-c", command] if isinstance(command, str) else command
        done = subprocess.run(
            [*self.enter(), *words], input=input, capture_output=True, check=False, timeout=timeout,
            env={"PATH": PATH, "HOME": "/root", **(env or {})}, start_new_session=True,
        )  # fmt: skip
        return Done(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))

    def enter(self) -> list[str]:
        """The words before a command that run it inside."""
        # `unshare` is the parent of the machine's first process.
        words = ["nsenter", f"--target={self.pid}", "--mount", "--pid", "--net", "--ipc", "--uts"]
        return [*words, f"--root=/proc/{self.pid}/root", f"--wd=/proc/{self.pid}/root"]

    @property
    def pid(self) -> int:
        """The process id, on this machine, of the machine's first process."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        return int(children[0])

    def put(self, what: bytes | Path, to: str, *, mode: int = 0o644) -> None:
        """See `Machine`. The owner is root."""
        if isinstance(what, Path) and what.is_dir():
            packed = subprocess.run(["tar", "-C", what, "-cf", "-", "."], capture_output=True, check=True).stdout
            self.run(f"mkdir -p {to} && tar -C {to} -xof -", packed).text()
            return
        data = what.read_bytes() if isinstance(what, Path) else what
        self.run(f"mkdir -p $(dirname {to}) && cat >{to} && chmod {mode:o} {to}", data).text()

    def get(self, path: str) -> bytes:
        """See `Machine`."""
        done = subprocess.run([*self.enter(), "/bin/cat", path], capture_output=True, check=False, timeout=60)
        if done.returncode:
            raise Failed(done.stderr.decode(errors="replace"))
        return done.stdout

    def restart(self) -> None:
        """See `Machine`. The content of /tmp, /run and /dev/shm is lost."""
        self._stop()
        self._start()

    def close(self) -> None:
        """See `Machine`."""
        self._stop()
        shutil.rmtree(self.root, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # -- making it -----------------------------------------------------------------------------------------------------

    def _furnish(self, init: str) -> None:
        for folder in (
            "bin",
            "sbin",
            "usr/bin",
            "usr/sbin",
            "dev/pts",
            "dev/shm",
            "proc",
            "tmp",
            "run",
            "etc",
            "root",
            "var/log",
        ):
            (self.root / folder).mkdir(parents=True)
        self.root.chmod(0o755)
        (self.root / "var/run").symlink_to("/run")
        shutil.copy2(BUSYBOX, self.root / "bin/busybox")
        subprocess.run(["chroot", self.root, "/bin/busybox", "--install", "-s"], check=True)
        for name, major, minor in _NODES:
            os.mknod(self.root / "dev" / name, 0o20666, os.makedev(major, minor))
            (self.root / "dev" / name).chmod(0o666)
        (self.root / "dev/ptmx").symlink_to("pts/ptmx")
        etc = self.root / "etc"
        (etc / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n")
        (etc / "group").write_text("root:x:0:\nnogroup:x:65534:\n")
        (etc / "hosts").write_text("127.0.0.1 localhost\n")
        if init == "busybox":
            (etc / "inittab").write_text("::sysinit:/bin/true\n")
        else:
            (self.root / "sbin/init").unlink()
            (self.root / "sbin/init").write_text(_REAPER)
            (self.root / "sbin/init").chmod(0o755)

    def _lend(self, program: str) -> None:
        found = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
        assert found is not None, f"there is no {program} on this machine"
        target = self.root / "usr/bin" / program
        target.unlink(missing_ok=True)
        (self.root / "bin" / program).unlink(missing_ok=True)
        shutil.copy2(Path(found).resolve(), target)
        for word in subprocess.run(["ldd", found], capture_output=True, text=True, check=True).stdout.split():
            if word.startswith("/"):
                library = self.root / word.lstrip("/")
                library.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(Path(word).resolve(), library)

    def _start(self) -> None:
        words = ["ip", "netns", "exec", self._namespace] if self._namespace else []
        words += ["unshare", "--mount", "--pid", "--ipc", "--uts", *([] if self._namespace else ["--net"])]
        words += [
            "--fork",
            "--kill-child",
            "sh",
            "-c",
            self.setup,
            "sh",
            str(self.root),
            "" if self._namespace else "lo",
        ]
        self._process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
            env={"PATH": PATH, "HOME": "/root"},
        )  # fmt: skip
        deadline = time.monotonic() + 30
        while not self._is_up():
            assert self._process.poll() is None, "the namespaces cannot be made"
            assert time.monotonic() < deadline, "the machine did not start in 30 s"
            time.sleep(0.01)

    def _is_up(self) -> bool:
        with contextlib.suppress(OSError, IndexError):
            name = Path(f"/proc/{self.pid}/root").readlink()
            return (
                name.is_relative_to(self.root)
                and Path(f"/proc/{self.pid}/cmdline").read_bytes().split(b"\0")[0] != b"chroot"
            )
        return False

    def _stop(self) -> None:
        if self._process is None:
            return
        with contextlib.suppress(OSError, IndexError):
            os.kill(self.pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        self._process = None

    def _must(self, command: str, data: bytes) -> None:
        done = self.run(command, data)
        assert done.code == 0, done.stderr
