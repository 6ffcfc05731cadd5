"""Root's part of an upgrade: check the files that the agent fetched, and run the release's installer on them.

The agent runs as its own user and may write its state only; so what it fetched counts for nothing here. Everything is copied to a
folder of root, checked against the key that root's folder pins, and run from there.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from agent import __version__
from agent.environment import child_environment
from agent.errors import EdgeError, IdentityError, NotFound
from agent.files import replacing
from agent.model.event import now
from agent.release.dist import INSTALLER, MANIFEST, MAX_INSTALLER
from agent.release.files import check_package
from agent.release.keys import MAX_SIGNATURE
from agent.release.manifest import MAX_MANIFEST, Manifest, Package
from agent.release.offer import LAST, MAX_TEXT, REQUEST, Last
from agent.release.store import ReleaseStore

WAIT = 900.0
"""Seconds that an installer may take, its way back included."""
_PIECE = 1 << 20

Run = Callable[[Sequence[str]], tuple[int, str]]
"""Runs a command; returns its exit code and its output."""


def run_installer(command: Sequence[str]) -> tuple[int, str]:
    """Run the installer without stdin and without the agent's environment; its output is passed on. Raises OSError."""
    env = {k: v for k, v in child_environment().items() if k in ("PATH", "HOME", "LANG", "TZ")}
    try:
        done = subprocess.run(
            list(command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env, check=False,
            timeout=WAIT, cwd="/",
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return 1, f"the installer did not end in {WAIT:.0f} s"
    return done.returncode, done.stdout.decode(errors="replace")


def install_staged(folder: Path, store: ReleaseStore, *, scratch: Path | None = None, run: Run = run_installer) -> Last:
    """Install the release that lies in `folder`; returns the result, which is also written beside the pinned key.

    `scratch` is where root's copy is made, by default the system's folder of temporary files. Never raises EdgeError or
    OSError: they are the result. The request is taken away first, so that a fault does not repeat itself.
    """
    request = version = ""
    try:
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            try:
                request = _take(opened, REQUEST, 64).decode("ascii", "replace")
            finally:
                _remove(opened, REQUEST)
            (store.folder / LAST).unlink(
                missing_ok=True
            )  # an agent that starts again meanwhile must not take it for this one's
            with tempfile.TemporaryDirectory(prefix="edge-agent-release-", dir=scratch) as private:
                manifest, ok, text = _install(opened, Path(private), store, run)
                version = manifest.version
        finally:
            os.close(opened)
    except (EdgeError, OSError) as e:
        ok, text = False, e.message if isinstance(e, EdgeError) else f"{e.filename or folder}: {e.strerror}"
    last = Last(request[:64], version, ok, text[-MAX_TEXT:], now())
    with replacing(store.folder / LAST, mode=0o644) as file:
        file.write(msgspec.json.encode(last))
    return last


def _install(opened: int, private: Path, store: ReleaseStore, run: Run) -> tuple[Manifest, bool, str]:
    raw, signature = _take(opened, MANIFEST, MAX_MANIFEST), _take(opened, f"{MANIFEST}.sig", MAX_SIGNATURE)
    admission = store.admit(raw, signature, running=__version__)
    manifest = admission.manifest
    script = _take(opened, INSTALLER, MAX_INSTALLER)
    if not manifest.installer or hashlib.sha256(script).hexdigest() != manifest.installer:
        raise IdentityError(
            f"{INSTALLER} is not the one of release {manifest.version}", hint="fetch it again", code="release.installer"
        )
    for name, data in ((MANIFEST, raw), (f"{MANIFEST}.sig", signature), (INSTALLER, script)):
        (private / name).write_bytes(data)
    found = [p for p in manifest.packages if _copy_package(opened, p, private)]
    if not found:
        raise NotFound(
            f"no package of release {manifest.version} is staged", hint="stage it again", code="release.file"
        )
    code, said = run(["sh", str(private / INSTALLER), "--from", str(private), "--passing"])
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    if code == 0:
        store.accept(store.admit(raw, signature, running=__version__))  # the installer may have kept it already
        return manifest, True, f"version {manifest.version} is installed"
    last = next((line for line in reversed(lines) if line.startswith("install: ")), lines[-1] if lines else "")
    return manifest, False, last.removeprefix("install: ") or f"the installer ended with {code}"


def _copy_package(opened: int, package: Package, private: Path) -> bool:
    """Copy one package, checked, where it is staged; raises IdentityError where it is not what the manifest says."""
    try:
        source = _open(opened, package.file)
    except FileNotFoundError:
        return False
    with os.fdopen(source, "rb") as file, (private / package.file).open("wb+") as copy:
        shutil.copyfileobj(file, copy, _PIECE) if os.fstat(source).st_size == package.size else None
        copy.flush()
        check_package(copy, package)
    return True


def _open(opened: int, name: str) -> int:
    """A regular file of the folder, opened without following a link; raises OSError, NotFound."""
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=opened)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise NotFound(f"{name} is no plain file", code="release.file")
    return fd


def _remove(opened: int, name: str) -> None:
    """Remove what has this name in the folder, an empty folder too; raises OSError."""
    try:
        os.unlink(name, dir_fd=opened)
    except IsADirectoryError:
        os.rmdir(name, dir_fd=opened)
    except FileNotFoundError:
        pass


def _take(opened: int, name: str, limit: int) -> bytes:
    """The bytes of a small file of the folder; raises NotFound (`release.file`), OSError."""
    try:
        fd = _open(opened, name)
    except FileNotFoundError:
        raise NotFound(f"no {name} is staged", hint="stage the release again", code="release.file") from None
    with os.fdopen(fd, "rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise NotFound(f"{name} is larger than {limit} bytes", code="release.file")
    return data


def read_last(folder: Path) -> Last | None:
    """The result of the last installation; None where there is none that can be read."""
    try:
        with (folder / LAST).open("rb") as file:
            return msgspec.json.decode(file.read(1 << 16), type=Last)
    except (OSError, msgspec.MsgspecError):
        return None
