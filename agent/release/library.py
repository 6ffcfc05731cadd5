"""The release that an operator hands out: the files of one signed release in a folder of its state."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from agent.errors import NotFound
from agent.release.dist import INSTALLER, MANIFEST, verify_dist
from agent.release.keys import MAX_SIGNATURE, PublicKey
from agent.release.manifest import MAX_MANIFEST, Manifest, read_manifest
from agent.release.reading import read_file

OTHERS = (INSTALLER, MANIFEST, f"{MANIFEST}.sig", f"{MANIFEST}.usig")
"""The files beside the packages, whose places the manifest does not name."""


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

        The files get the owner of the folder's parent. Raises as `verify_dist` does, and OSError.
        """
        verify_dist(source, key)
        fresh = self.folder.with_name(f"{self.folder.name}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        try:
            fresh.mkdir(mode=0o755, parents=True)
            for path in sorted(p for p in source.iterdir() if p.is_file()):
                shutil.copyfile(path, fresh / path.name)
            verify_dist(fresh, key)  # nothing was exchanged meanwhile
            _give(fresh, self.folder.parent)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
        shutil.rmtree(self.folder, ignore_errors=True)
        fresh.rename(self.folder)
        return self.release()[2]


def _give(folder: Path, like: Path) -> None:
    """Give a folder and its files to the owner of another folder, where root may."""
    if os.geteuid() != 0:
        return
    owner = like.stat()
    for path in (folder, *folder.iterdir()):
        os.chown(path, owner.st_uid, owner.st_gid)
