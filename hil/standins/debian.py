"""Debian packages of other architectures, fetched by name into the cache; apt checks Debian's signature and each hash.

This machine's own apt is not changed: no foreign architecture is added, and no package is installed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from hil.standins.errors import DeviceError

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edge-agent"
SUITE = "bookworm"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
FALLBACK = "http://deb.debian.org/debian"
"""The mirror on a machine whose apt knows none for SUITE."""
FETCH = 600.0
"""Seconds that a download may take: a kernel has 43 MB."""


UNUSED = 30 * 86400.0
"""Seconds after its last use at which a folder of another recipe is deleted."""


@contextlib.contextmanager
def locked(name: str) -> Iterator[Path]:
    """The cache, with the lock `name` held: two runs at a time build a thing once."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield CACHE


def kept(name: str, recipe: str, make: Callable[[Path], None]) -> Path:
    """The folder `name` of the cache for this recipe; `make` fills it on the first call.

    Folders of other recipes stay while a checkout may use them: a month from their last use.
    """
    with locked(f"hil-{name}") as cache:
        folder = cache / "hil" / f"{name}-{recipe}"
        if not folder.is_dir():
            part = folder.with_name(f".{folder.name}")
            shutil.rmtree(part, ignore_errors=True)
            part.parent.mkdir(parents=True, exist_ok=True)
            make(part)
            part.rename(folder)
        os.utime(folder)
        for old in folder.parent.glob(f"{name}-*"):
            if old.stat().st_mtime < time.time() - UNUSED:
                shutil.rmtree(old)
        return folder


def _mirror() -> str:
    asked = ["apt-get", "indextargets", "--format", "$(CODENAME) $(COMPONENT) $(REPO_URI)", "Created-By: Packages"]
    with contextlib.suppress(OSError):
        listed = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
        for line in listed.splitlines():
            if line.startswith(f"{SUITE} main "):
                return line.split()[2].rstrip("/")
    return FALLBACK


class Debian:
    """The packages of one architecture (`armhf`, `arm64`, `amd64`) of SUITE."""

    def __init__(self, arch: str) -> None:
        self.arch = arch
        self.folder = CACHE / f"debian-{SUITE}-{arch}"
        self._listed = False

    def fetch(self, *names: str) -> list[Path]:
        """The packages' files; those that are not in the cache are downloaded. Raises DeviceError."""
        with locked(self.folder.name):
            for name in names:
                if not self._file(name).exists():
                    self._download(name)
        return [self._file(n) for n in names]

    def depends(self, name: str, pattern: str) -> str:
        """The first dependency of a package whose name matches `pattern`: a kernel's meta package names its version.

        The answer is kept beside the packages, so that a second run needs no mirror.
        """
        kept = self.folder / f"{name}.depends"
        with locked(self.folder.name):
            if not kept.exists():
                shown = self._apt("apt-cache", "depends", name)
                found = re.search(rf"Depends: ({pattern})$", shown, re.MULTILINE)
                if found is None:
                    raise DeviceError(f"the Debian package {name} of {self.arch} depends on no {pattern}")
                kept.write_text(found.group(1))
        return kept.read_text()

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.deb"

    def _download(self, name: str) -> None:
        part = self.folder / "part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        self._apt("apt-get", "-q", "download", name, cwd=part)
        (made,) = part.glob("*.deb")
        made.rename(self._file(name))

    def _apt(self, *command: str, cwd: Path | None = None) -> str:
        apt = self.folder / "apt"
        if not self._listed:
            for made in ("lists/partial", "cache/archives/partial"):
                (apt / made).mkdir(parents=True, exist_ok=True)
            (apt / "status").touch()
            (apt / "sources.list").write_text(f"deb [signed-by={KEYRING}] {_mirror()} {SUITE} main\n")
            (apt / "apt.conf").write_text(self._configuration(apt))
            self._run("apt-get", "-q", "update", config=apt / "apt.conf")
            self._listed = True
        return self._run(*command, config=apt / "apt.conf", cwd=cwd)

    def _configuration(self, apt: Path) -> str:
        return f"""APT::Architecture "{self.arch}";
APT::Architectures {{ "{self.arch}"; }};
APT::Sandbox::User "root";
Acquire::Languages "none";
Dir::State "{apt}"; Dir::State::status "{apt}/status"; Dir::State::lists "{apt}/lists";
Dir::Cache "{apt}/cache";
Dir::Etc::sourcelist "{apt}/sources.list"; Dir::Etc::sourceparts "/dev/null";
Dir::Etc::trusted "/dev/null"; Dir::Etc::trustedparts "/dev/null";
"""

    def _run(self, *command: str, config: Path, cwd: Path | None = None) -> str:
        environ = {**os.environ, "APT_CONFIG": str(config), "LC_ALL": "C"}
        try:
            done = subprocess.run(
                command, cwd=cwd, env=environ, capture_output=True, text=True, check=False, timeout=FETCH
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise DeviceError(f"cannot fetch Debian packages of {self.arch}: {error}") from None
        if done.returncode:
            raise DeviceError(f"{' '.join(command)} for {self.arch} failed: {done.stderr.strip()[-1000:]}")
        return done.stdout


def unpack(packages: list[Path], to: Path) -> Path:
    """Unpack packages into one folder."""
    to.mkdir(parents=True, exist_ok=True)
    for package in packages:
        subprocess.run(["dpkg-deb", "-x", package, to], check=True, capture_output=True)
    return to
