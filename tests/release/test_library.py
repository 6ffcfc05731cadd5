"""Bringing a release into the state of the agent's user, as root."""

from __future__ import annotations

import os
import pwd
import shutil
from pathlib import Path
from tempfile import mkdtemp

import pytest

from agent.release import Library, SigningKey, library, sign_dist
from tests.release.making import fill


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act for another user")
def test_root_gives_nothing_to_the_user_through_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, nobody = SigningKey.generate(), pwd.getpwnam("nobody")
    dist = tmp_path / "dist"
    dist.mkdir()
    fill(dist)
    sign_dist(dist, owner)
    folder = Path(mkdtemp(prefix="edge-agent-library-"))
    try:
        folder.chmod(0o755)
        state, victim = folder / "state", folder / "victim"
        state.mkdir()
        os.chown(state, nobody.pw_uid, nobody.pw_gid)
        shutil.copytree(dist, victim)
        real, calls = library.verify_dist, []

        def verify(path: Path, key: object = None) -> object:
            found = real(path, key)  # type: ignore[arg-type]
            calls.append(path)
            if len(calls) == 2:  # the user exchanges the folder that was just checked
                path.rename(state / "aside")
                path.symlink_to(victim)
            return found

        monkeypatch.setattr(library, "verify_dist", verify)
        try:
            Library(state / "packages").bring(dist, owner.public)
        finally:
            assert {p.stat().st_uid for p in (victim, *victim.iterdir())} == {0}
    finally:
        shutil.rmtree(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act for another user")
def test_files_that_root_brings_are_the_users(tmp_path: Path) -> None:
    owner, nobody = SigningKey.generate(), pwd.getpwnam("nobody")
    dist = tmp_path / "dist"
    dist.mkdir()
    fill(dist)
    sign_dist(dist, owner)
    folder = Path(mkdtemp(prefix="edge-agent-library-"))
    try:
        folder.chmod(0o755)
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        packages = folder / "packages"
        assert Library(packages).bring(dist, owner.public).version == "0.1.0"
        assert {p.stat().st_uid for p in (packages, *packages.iterdir())} == {nobody.pw_uid}
        assert os.geteuid() == 0
    finally:
        shutil.rmtree(folder)
