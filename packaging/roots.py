"""Where a tree is built: this machine, or a Debian root of another architecture that runs under qemu-user."""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edge-agent"
SUITE = "bookworm"
BINFMT = Path("/proc/sys/fs/binfmt_misc")
PACKAGES = (
    "binutils", "ca-certificates", "gcc", "libc6-dev", "libffi-dev", "python3", "python3-dev", "python3-venv", "zlib1g-dev",
)  # fmt: skip
"""A root compiles the libraries that have no wheels, and PyInstaller's start program."""

PASSED = ("http_proxy", "https_proxy", "PIP_INDEX_URL")
"""Settings of this machine that a root's programs get too."""
ENTER = """\
mount -t proc proc "$1/proc" && mount --bind "$2" "$1/work" && mount -o ro,bind "$3" "$1/src" || exit 125
root=$1
shift 3
exec chroot "$root" /bin/sh -c 'cd /work && exec "$@"' - "$@"
"""
"""Runs a command in a root: ROOT WORK CHECKOUT COMMAND..."""


class CannotFreeze(Exception):
    """The reason why there is no tree, for the user."""


@dataclass(frozen=True)
class Arch:
    """An architecture by our name, and its names elsewhere."""

    name: str
    machine: str
    debian: str
    triplet: str
    loader: str
    qemu: str


ARCHES = {
    a.name: a
    for a in (
        Arch("x86_64", "x86_64", "amd64", "x86_64-linux-gnu", "ld-linux-x86-64.so.2", "qemu-x86_64"),
        Arch("aarch64", "aarch64", "arm64", "aarch64-linux-gnu", "ld-linux-aarch64.so.1", "qemu-aarch64"),
        Arch("armv7", "armv7l", "armhf", "arm-linux-gnueabihf", "ld-linux-armhf.so.3", "qemu-arm"),
    )
}


def say(text: str) -> None:
    """Tell the user what happens now."""
    print(f"freeze: {text}", file=sys.stderr, flush=True)


def run(command: list[str], *, log: Path, env: dict[str, str] | None = None, cwd: Path | None = None) -> None:
    """Run a program at low priority with its output in `log`; raises CannotFreeze with the last lines of it."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        out.write(f"$ {' '.join(command)}\n".encode())
        out.flush()
        code = subprocess.run(
            ["nice", *command], stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env, cwd=cwd, check=False
        ).returncode
    if code:
        last = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise CannotFreeze(f"{last}\n{command[0]} failed with {code}; the whole log: {log}")


class Here:
    """This machine."""

    def __init__(self, arch: Arch, work: Path, log: Path) -> None:
        self.arch, self.work, self.log = arch, work, log
        self.libraries = Path("/lib") / arch.triplet
        if not (self.libraries / "libc.so.6").exists():
            raise CannotFreeze(f"there is no {self.libraries}/libc.so.6: freezing needs Debian 12 or later, or Ubuntu")

    def python(self) -> str:
        """The interpreter that the tree will hold; a virtual environment's own would be another one for each checkout."""
        return str(Path(sys.executable).resolve())

    def run(self, *command: str | Path, env: dict[str, str] | None = None) -> None:
        """Run a program in `work`; raises CannotFreeze."""
        run([str(c) for c in command], log=self.log, env={**os.environ, **(env or {})}, cwd=self.work)

    def inside(self, path: Path) -> Path:
        """The path of a file of the checkout or of `work`, as programs see it."""
        return path


class Root:
    """A Debian root of another architecture. Programs see `work` as /work and the checkout as /src, read-only."""

    def __init__(self, arch: Arch, work: Path, log: Path, checkout: Path) -> None:
        self.arch, self.work, self.log, self.checkout = arch, work, log, checkout
        self.root = CACHE / "roots" / f"{SUITE}-{arch.debian}"
        self.libraries = self.root / "lib" / arch.triplet
        _need_emulator(arch)
        if not self.root.exists():
            self._make()

    def python(self) -> str:
        """The interpreter that the tree will hold."""
        return "/usr/bin/python3"

    def run(self, *command: str | Path, env: dict[str, str] | None = None) -> None:
        """Run a program of the root in `work`; raises CannotFreeze."""
        settings = {
            "HOME": "/root",
            "LANG": "C.UTF-8",
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "PIP_CERT": "/work/ca.pem",
            "PIP_DEFAULT_TIMEOUT": "180",
            **{k: v for k, v in os.environ.items() if k in PASSED},
            **(env or {}),
        }
        shutil.copyfile("/etc/ssl/certs/ca-certificates.crt", self.work / "ca.pem")
        shutil.copyfile("/etc/resolv.conf", self.root / "etc/resolv.conf")
        words = ["env", "-i", *(f"{k}={v}" for k, v in settings.items()), *map(str, command)]
        for name in ("work", "src"):
            (self.root / name).mkdir(exist_ok=True)
        where = [str(self.root), str(self.work), str(self.checkout)]
        run(["unshare", "--mount", "sh", "-c", ENTER, "sh", *where, *words], log=self.log)

    def inside(self, path: Path) -> Path:
        """The path of a file of the checkout or of `work`, as programs see it."""
        for outer, inner in ((self.work, "/work"), (self.checkout, "/src")):
            if path.is_relative_to(outer):
                return Path(inner) / path.relative_to(outer)
        raise ValueError(f"{path} is not visible in the root")

    def _make(self) -> None:
        say(f"making a Debian root for {self.arch.name} (once; about 5 minutes)")
        part = self.root.with_name(f".{self.root.name}.{os.getpid()}")
        try:
            run(
                ["debootstrap", "--variant=minbase", f"--arch={self.arch.debian}", f"--include={','.join(PACKAGES)}", SUITE,
                 str(part), _mirror()],
                log=self.log,
            )  # fmt: skip
            part.rename(self.root)
        finally:
            shutil.rmtree(part, ignore_errors=True)


@contextmanager
def alone(work: Path) -> Iterator[None]:
    """No other process builds in `work` within the block."""
    work.mkdir(parents=True, exist_ok=True)
    with work.with_name(f"{work.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def place(arch: Arch, work: Path, log: Path, checkout: Path) -> Here | Root:
    """Where trees of this architecture are built."""
    return Here(arch, work, log) if platform.machine() == arch.machine else Root(arch, work, log, checkout)


def _mirror() -> str:
    """Debian's mirror as apt knows it."""
    form = "$(CODENAME) $(COMPONENT) $(REPO_URI)"
    told = subprocess.run(
        ["apt-get", "indextargets", "--format", form, "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    for line in told.splitlines():
        words = line.split()
        if words[:2] == [SUITE, "main"]:
            return words[2]
    raise CannotFreeze(f"apt knows no mirror for Debian {SUITE}: run apt-get update on a Debian {SUITE}")


def _need_emulator(arch: Arch) -> None:
    """Make sure that the kernel starts programs of this architecture by qemu-user."""
    if os.geteuid() != 0:
        raise CannotFreeze(f"a tree for {arch.name} is built in a Debian root, which needs root: run it with sudo")
    lacking = [
        p
        for p, program in (("debootstrap", "debootstrap"), ("qemu-user-static", f"{arch.qemu}-static"))
        if not shutil.which(program)
    ]
    if lacking:
        names = " ".join(lacking)
        raise CannotFreeze(f"building for {arch.name} needs: apt-get install --no-install-recommends {names}")
    if not (BINFMT / "register").exists():
        subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", str(BINFMT)], check=False)
    if (BINFMT / arch.qemu).exists():
        return
    rule = Path(f"/usr/lib/binfmt.d/{arch.qemu}.conf")
    try:
        # F: the kernel opens the emulator now, so a root needs no copy of it. P: programs keep their argv[0].
        (BINFMT / "register").write_text(rule.read_text().strip().rpartition(":")[0] + ":PF\n")
    except OSError as e:
        raise CannotFreeze(f"the kernel cannot start programs of {arch.name}: {e} (binfmt_misc, {rule})") from e
