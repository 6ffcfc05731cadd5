"""The installer as root: it follows no links of the agent's user, keeps its own script, and writes a file whole or not at all."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest

from agent.release import ReleaseStore, SigningKey
from tests.packaging.install.releases import ROOT, Keys, maker
from tests.packaging.install.test_install_script import shells
from tests.release.making import signed

OWNER = SigningKey.generate()
as_root = pytest.mark.skipif(os.geteuid() != 0 or shutil.which("su") is None, reason="only root can act for two users")
in_each_shell = pytest.mark.parametrize("shell", shells(), ids=lambda s: Path(s[-1]).name)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user may enter, unlike pytest's."""
    made = Path(mkdtemp(prefix="edge-agent-links-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


def call(shell: list[str], folder: Path, keys: Keys, text: str) -> int:
    """Run shell text after the installer's functions."""
    script = maker().make_installer("1.0.0", "stable", [], release_pub=keys.public, usign_pub="none")
    assert script.endswith('{ main "$@"; }\n')
    file = folder / "functions.sh"
    settings = f"program=edge-agent dry_run=0 run_as=nobody etc={folder}/etc state={folder}/state work={folder}/work\n"
    file.write_text(script.removesuffix('{ main "$@"; }\n') + settings + text)
    for name in ("etc", "state", "work"):
        (folder / name).mkdir(exist_ok=True)
    return subprocess.run([*shell, str(file)], check=False, stdin=subprocess.DEVNULL).returncode


@as_root
@in_each_shell
def test_token_is_not_written_through_a_link_of_the_user(shell: list[str], folder: Path, keys: Keys) -> None:
    victim, state = folder / "victim", folder / "state"
    victim.write_text("root's")
    victim.chmod(0o644)
    state.mkdir()
    nobody = pwd.getpwnam("nobody")
    os.chown(state, nobody.pw_uid, nobody.pw_gid)
    (state / "join-token.new").symlink_to(victim)
    os.chown(state / "join-token.new", nobody.pw_uid, nobody.pw_gid, follow_symlinks=False)
    call(shell, folder, keys, "token=edge1.secret\nwrite_token\n")
    assert victim.read_text() == "root's"
    assert victim.stat().st_uid == 0
    (state / "join-token.new").unlink(missing_ok=True)
    assert call(shell, folder, keys, "token=edge1.secret\nwrite_token\n") == 0
    written = (state / "join-token").stat()
    assert (written.st_uid, written.st_mode & 0o777) == (nobody.pw_uid, 0o600)


@as_root
@in_each_shell
def test_release_is_kept_with_the_rights_of_the_user(shell: list[str], folder: Path, keys: Keys) -> None:
    state, dist, victim = folder / "state", folder / "dist", folder / "victim"
    for path in (state, dist, victim):
        path.mkdir()
    nobody = pwd.getpwnam("nobody")
    os.chown(state, nobody.pw_uid, nobody.pw_gid)
    (dist / "manifest.json").write_text("{}")
    (dist / "install.sh").write_text("#!/bin/sh\n")
    # The user has a link there as soon as root has made the folder.
    race = f'mkdir() {{ ln -s {victim} "$2"; }}\n'
    call(shell, folder, keys, f"from={dist}\n{race}copy_release\n")
    assert (list(victim.iterdir()), victim.stat().st_uid) == ([], 0)
    shutil.rmtree(state / "packages", ignore_errors=True)
    assert call(shell, folder, keys, f"from={dist}\ncopy_release\n") == 0
    kept = state / "packages"
    assert sorted(p.name for p in kept.iterdir()) == ["install.sh", "manifest.json"]
    assert {p.stat().st_uid for p in (kept, *kept.iterdir())} == {nobody.pw_uid}


@in_each_shell
def test_log_of_the_runner_is_not_written_through_a_link(shell: list[str], tmp_path: Path) -> None:
    victim, run = tmp_path / "victim", tmp_path / "run"
    victim.write_text("root's")
    run.mkdir()
    (tmp_path / "run.runner").mkdir()
    for name in ("log", "run.pid", "lines"):
        (run / name).symlink_to(victim)
    text = (ROOT / "packaging/install/run.sh").read_text().replace("@RUN@", str(run)).replace("@PROGRAM@", "edge-agent")
    subprocess.run(
        [*shell, "-c", text.replace('{ main "$@"; }', "keep_lines")], input=b"text of the agent\n", check=True
    )
    assert victim.read_text() == "root's"
    assert "text of the agent" in (tmp_path / "run.runner/log").read_text()


@in_each_shell
def test_kept_installer_is_the_one_that_runs(shell: list[str], tmp_path: Path, keys: Keys) -> None:
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist/install.sh").write_text("#!/bin/sh\n# of somebody in the network\n")
    place = f"from={tmp_path}/dist remote=0 list='' checked=0 installed=''\n"
    assert call(shell, tmp_path, keys, f"{place}keep_installer\n") == 0
    assert (tmp_path / "etc/install.sh").read_bytes() == (tmp_path / "functions.sh").read_bytes()


@in_each_shell
def test_installer_of_a_failed_upgrade_is_not_kept(shell: list[str], tmp_path: Path, keys: Keys) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/install.sh").write_text("the old one")
    text = "list='' checked=0 installed=0.9.0\nkeep_installer\nswitch_to() { exit 7; }\ngo_back\n"
    assert call(shell, tmp_path, keys, text) == 7
    assert [p.name for p in (tmp_path / "etc").iterdir()] == ["install.sh"]
    assert (tmp_path / "etc/install.sh").read_text() == "the old one"


@in_each_shell
def test_agent_reads_what_the_installer_accepted(shell: list[str], tmp_path: Path, keys: Keys) -> None:
    store = accepted(shell, tmp_path, keys, "1.0.0")
    assert store.current is not None
    assert store.current.version == "1.0.0"
    accepted(shell, tmp_path, keys, "1.1.0")
    assert [m and m.version for m in (store.current, store.previous)] == ["1.1.0", "1.0.0"]
    raw, _ = signed(OWNER, "1.1.0")
    assert store.admit(raw, (tmp_path / "work/manifest.json.sig").read_bytes()).way == "again"
    assert store.admit(*signed(OWNER, "1.2.0")).way == "upgrade"
    assert store.admit(*signed(OWNER, "1.0.0")).way == "back"


@in_each_shell
def test_power_cut_while_a_release_is_accepted_keeps_the_old(shell: list[str], tmp_path: Path, keys: Keys) -> None:
    store = accepted(shell, tmp_path, keys, "1.0.0")
    accepted(
        shell, tmp_path, keys, "1.1.0", 'cp() { case $1 in */work/*) : >"$2" && exit 9 ;; *) command cp "$@" ;; esac; }'
    )
    assert store.current is not None
    assert store.current.version == "1.0.0"
    assert store.admit(*signed(OWNER, "1.1.0")).way == "upgrade"


def accepted(shell: list[str], folder: Path, keys: Keys, version: str, more: str = "") -> ReleaseStore:
    """The store after the installer accepted a release."""
    store = ReleaseStore(folder / "etc/release")
    store.pin(OWNER.public.pem)
    (folder / "work").mkdir(exist_ok=True)
    raw, signature = signed(OWNER, version)
    (folder / "work/manifest.json").write_bytes(raw)
    (folder / "work/manifest.json.sig").write_bytes(signature)
    code = call(shell, folder, keys, f"VERSION={version} checked=1\n{more}\naccept_release\n")
    assert code == (9 if more else 0)
    return store


@in_each_shell
def test_one_installation_waits_for_no_other_but_stops(shell: list[str], tmp_path: Path, keys: Keys) -> None:
    taken = tmp_path / "run.installing"
    taken.mkdir()
    (taken / "pid").write_text(f"{os.getpid()}\n")
    text = f"run={tmp_path}/run work='' undo=0 lock=''\ntrap clean EXIT\nalone\n"
    assert call(shell, tmp_path, keys, text) == 1
    assert taken.exists()
    ended = subprocess.Popen(["true"])
    ended.wait()
    (taken / "pid").write_text(f"{ended.pid}\n")
    assert call(shell, tmp_path, keys, text) == 0
    assert not taken.exists()


@in_each_shell
def test_previous_release_of_the_old_key_can_come_back(shell: list[str], tmp_path: Path, keys: Keys) -> None:
    ReleaseStore(tmp_path / "etc/release").pin(OWNER.public.pem)
    (tmp_path / "etc/config.yaml").write_text("")
    text = "name='' labels='' ram=0 kept='' store=0 token='' made='' from=x pin='' variant=''\nset_up_files\n"
    assert call(shell, tmp_path, keys, f"passing=0\n{text}") == 1
    assert call(shell, tmp_path, keys, f"passing=1\n{text}") == 0


@as_root
@in_each_shell
def test_runner_gives_nothing_away_through_a_link_in_ram(shell: list[str], folder: Path) -> None:
    victim, volatile = folder / "victim", folder / "volatile"
    victim.mkdir(mode=0o755)
    volatile.symlink_to(victim)
    text = (ROOT / "packaging/install/run.sh").read_text()
    for name, value in {"RUN": folder / "run", "PROGRAM": "edge-agent", "USER": "nobody", "VOLATILE": volatile}.items():
        text = text.replace(f"@{name}@", str(value))
    # The runner ends where it would begin to start the program.
    script = text.replace('{ main "$@"; }', "mkfifo() { exit 7; }\nmain").replace(
        "@BASE@/current/edge-agent", "/bin/true"
    )
    assert subprocess.run([*shell, "-c", script], check=False).returncode == 7
    assert (victim.stat().st_uid, victim.stat().st_mode & 0o777) == (0, 0o755)
