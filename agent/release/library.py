"""The release that an operator hands out: the files of one signed release in a folder of its state."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.errors import NotFound
from agent.release.dist import INSTALLER, MANIFEST, verify_dist
from agent.release.keys import MAX_SIGNATURE, PublicKey
from agent.release.manifest import MAX_MANIFEST, Manifest, read_manifest
from agent.release.reading import read_file

OTHERS = (INSTALLER, MANIFEST, f"{MANIFEST}.sig", f"{MANIFEST}.usig")
"""The files beside the packages, whose places the manifest does not name."""
_PIECE = 1 << 20


class Library:
    """`<state>/packages`. Each release takes the place of the one before."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def release(self) -> tuple[bytes, bytes, Manifest]:
        """The manifest's bytes, its signature and its content; raises NotFound (`release.none`) and as `read_manifest`."""
        if not (self.folder / MANIFEST).exists():
            raise NotFound(
                "this node has no release to hand out",
                hint="bring one as root: edge-agent release import DIR",
                code="release.none",
            )
        raw = read_file(self.folder / MANIFEST, MAX_MANIFEST)
        return raw, read_file(self.folder / f"{MANIFEST}.sig", MAX_SIGNATURE), read_manifest(raw)

    def file(self, name: str) -> Path:
        """The path of a file of the release; raises NotFound (`release.file`) for any other name."""
        _, _, manifest = self.release()
        path = self.folder / name
        if name not in {p.file for p in manifest.packages} | set(OTHERS) or not path.is_file():
            raise NotFound(f"the release here has no file {name}", hint="bring it again, whole", code="release.file")
        return path

    def bring(self, source: Path, key: PublicKey) -> Manifest:
        """Check the release in `source` with a key and copy it here; the one before stays until all is copied.

        The owner of the folder's parent writes, also where root runs this: a link that this user leaves there leads to
        nothing that only root may change. Raises as `verify_dist` does, and OSError.
        """
        verify_dist(source, key)
        parent = self.folder.parent
        parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        fresh = self.folder.with_name(f"{self.folder.name}.new")
        with _as_owner(parent):
            shutil.rmtree(fresh, ignore_errors=True)
        try:
            with _as_owner(parent):
                fresh.mkdir(mode=0o755)
            for path in sorted(p for p in source.iterdir() if p.is_file()):
                with path.open("rb") as file, _as_owner(parent), (fresh / path.name).open("xb") as copy:
                    shutil.copyfileobj(file, copy, _PIECE)
            with _as_owner(parent):
                verify_dist(fresh, key)  # nothing was exchanged meanwhile
                shutil.rmtree(self.folder, ignore_errors=True)
                fresh.rename(self.folder)
        except BaseException:
            with _as_owner(parent):
                shutil.rmtree(fresh, ignore_errors=True)
            raise
        return self.release()[2]


@contextmanager
def _as_owner(folder: Path) -> Iterator[None]:
    """Act with the rights of a folder's owner, where root runs this; it holds for all threads. Raises OSError."""
    owner = folder.stat()
    if os.geteuid() != 0 or owner.st_uid == 0:
        yield
        return
    group = os.getegid()
    try:
        os.setegid(owner.st_gid)
        os.seteuid(owner.st_uid)
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
