"""Root's part of an upgrade, with a shell script as the release's installer."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from agent.release import Last, ReleaseStore, SigningKey, install_staged, read_last
from tests.release.making import package, signed

OWNER = SigningKey.generate()
TREE = b"a tree of the new version"
FILE = "edge-agent-0.2.0-x86_64.tar.xz"
GOOD = b"""#!/bin/sh
echo "$@" >"$(dirname "$0")/../said"
cp "$2/edge-agent-0.2.0-x86_64.tar.xz" "$(dirname "$0")/../installed"
env >"$(dirname "$0")/../environment"
"""
BAD = b"#!/bin/sh\necho unpacking\necho 'install: version 0.2.0 did not come back; version 0.1.0 runs again' >&2\nexit 1\n"


class Machine:
    """A staged release and root's folders."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.staged, self.scratch = folder, folder / "staged", folder / "scratch"
        self.staged.mkdir()
        self.scratch.mkdir()
        self.store = ReleaseStore(folder / "release")
        self.store.pin(OWNER.public.pem)

    def stage(self, script: bytes = GOOD, version: str = "0.2.0", key: SigningKey = OWNER) -> None:
        fields = {"packages": (package(TREE, file=FILE),), "installer": hashlib.sha256(script).hexdigest()}
        raw, signature = signed(key, version, **fields)
        files = {
            "manifest.json": raw,
            "manifest.json.sig": signature,
            "install.sh": script,
            FILE: TREE,
            "request": b"77",
        }
        for name, data in files.items():
            (self.staged / name).write_bytes(data)

    def install(self) -> Last:
        return install_staged(self.staged, self.store, scratch=self.scratch)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_staged_release_is_installed_from_roots_copy(machine: Machine) -> None:
    machine.stage()
    last = machine.install()
    assert (last.ok, last.version, last.request) == (True, "0.2.0", "77")
    said = (machine.scratch / "said").read_text().split()
    assert said[0] == "--from"
    assert said[2:] == ["--passing"]
    assert not said[1].startswith(str(machine.staged))
    assert (machine.scratch / "installed").read_bytes() == TREE
    assert machine.store.current is not None
    assert machine.store.current.version == "0.2.0"
    assert read_last(machine.store.folder) == last
    assert not (machine.staged / "request").exists()


def test_the_installer_gets_none_of_the_agents_environment(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_AGENT_SECRET", "secret")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/nowhere")
    machine.stage()
    assert machine.install().ok
    environment = (machine.scratch / "environment").read_text()
    assert "secret" not in environment
    assert "LD_LIBRARY_PATH" not in environment


def test_an_installer_that_goes_back_is_a_failure_with_its_words(machine: Machine) -> None:
    machine.stage(BAD)
    last = machine.install()
    assert (last.ok, last.text) == (False, "version 0.2.0 did not come back; version 0.1.0 runs again")
    assert machine.store.current is None


def test_a_release_of_another_key_runs_nothing(machine: Machine) -> None:
    machine.stage(key=SigningKey.generate())
    last = machine.install()
    assert not last.ok
    assert "sign" in last.text
    assert not (machine.scratch / "said").exists()


@pytest.mark.parametrize("name", ["install.sh", FILE, "manifest.json"])
def test_a_file_that_was_exchanged_runs_nothing(name: str, machine: Machine) -> None:
    machine.stage()
    (machine.staged / name).write_bytes((machine.staged / name).read_bytes() + b"#")
    assert not machine.install().ok
    assert not (machine.scratch / "said").exists()


@pytest.mark.parametrize("name", ["install.sh", FILE, "manifest.json", "request"])
def test_a_link_in_the_folder_is_not_followed(name: str, machine: Machine) -> None:
    machine.stage()
    secret = machine.folder / "secret"
    secret.write_text("a secret of root")
    (machine.staged / name).unlink()
    (machine.staged / name).symlink_to(secret)
    last = machine.install()
    assert not last.ok
    assert "secret of" not in last.text
    assert not (machine.scratch / "said").exists()


def test_a_pipe_in_the_folder_blocks_nothing(machine: Machine) -> None:
    machine.stage()
    (machine.staged / FILE).unlink()
    os.mkfifo(machine.staged / FILE)
    assert not machine.install().ok


def test_a_link_as_the_folder_is_not_followed(machine: Machine) -> None:
    machine.stage()
    link = machine.folder / "link"
    link.symlink_to(machine.staged)
    assert not install_staged(link, machine.store, scratch=machine.scratch).ok
    assert not (machine.scratch / "said").exists()


def test_a_request_is_taken_once(machine: Machine) -> None:
    machine.stage(BAD)
    machine.install()
    again = machine.install()
    assert (again.ok, "request" in again.text) == (False, True)


def test_the_result_before_is_gone_while_it_installs(machine: Machine) -> None:
    machine.stage(BAD)
    machine.install()
    assert read_last(machine.store.folder) is not None
    machine.stage(b'#!/bin/sh\n[ ! -e "$(dirname "$0")/../../release/last.json" ]\n')
    assert machine.install().ok


@pytest.mark.parametrize("kind", ["link", "folder", "long"])
def test_a_strange_request_is_taken_away_too(kind: str, machine: Machine) -> None:
    machine.stage()
    request = machine.staged / "request"
    request.unlink()
    if kind == "link":
        request.symlink_to("/etc/passwd")
    elif kind == "folder":
        request.mkdir()
    else:
        request.write_bytes(b"7" * 100)
    assert not machine.install().ok
    assert not os.path.lexists(request)


def test_an_older_release_is_refused_on_a_first_upgrade(machine: Machine) -> None:
    machine.stage(version="0.0.9")
    last = machine.install()
    assert (last.ok, "older" in last.text) == (False, True)


def test_a_result_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    assert read_last(tmp_path) is None
    (tmp_path / "last.json").write_text("{")
    assert read_last(tmp_path) is None
