"""The Debian packages under the real dpkg, in a copy-on-write view of this machine: what stays, and what does not."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packaging import small

assert small.ROOT
import contents  # noqa: E402
import make_packages  # noqa: E402
from contents import Tree  # noqa: E402

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting a view of this machine needs root"),
    pytest.mark.skipif(shutil.which("dpkg") is None, reason="needs dpkg"),
]
OF_THE_SYSTEM = (
    "etc/passwd", "etc/group", "etc/shadow", "etc/gshadow", "etc/subuid", "etc/subgid", "etc/.pwd.lock", "var/lib/dpkg", "var/log",
    "var/cache",
)  # fmt: skip
"""Databases that dpkg and useradd write, with their backups."""


class View:
    """This machine's files with our own writes above them; `written` lists these."""

    def __init__(self, folder: Path) -> None:
        self.upper, self.root = folder / "view/upper", folder / "view/root"
        self.folder = folder

    def __call__(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run a script in the view. Its mounts end with it; what it wrote stays for the next one."""
        mounts = (
            f"mkdir -p {self.upper} {self.folder}/view/work {self.root}; "
            f"mount -t overlay overlay -o lowerdir=/,upperdir={self.upper},workdir={self.folder}/view/work {self.root} || exit 77; "
            f"mount -t proc proc {self.root}/proc; mount -t tmpfs run {self.root}/run; mount -t tmpfs tmp {self.root}/tmp; "
            f"mount --bind /dev {self.root}/dev; "
            f"mkdir {self.root}/tmp/p && mount --bind {self.folder}/dist {self.root}/tmp/p; "
            'exec chroot "$0" /bin/sh -c "$1"'
        )
        # Without fsync, and without the index of man pages, which takes seconds.
        environ = {
            "dpkg": "dpkg --force-unsafe-io --no-triggers",
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL": "C",
            "DEBIAN_FRONTEND": "noninteractive",
        }
        return subprocess.run(
            ["unshare", "-m", "sh", "-c", mounts, self.root, script],
            capture_output=True,
            text=True,
            check=False,
            env=environ,
        )

    def written(self) -> set[str]:
        found = {p.relative_to(self.upper).as_posix(): p for p in self.upper.rglob("*")}
        own = {n for n, p in found.items() if not p.is_dir() or p.is_symlink() or not Path("/", n).is_dir()}
        return {n for n in own if not n.startswith(OF_THE_SYSTEM)}


@pytest.fixture
def view(tmp_path: Path) -> Iterator[View]:
    memory = tmp_path / "view"
    memory.mkdir()
    (tmp_path / "dist").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "view", memory], check=True)
    found = View(tmp_path)
    try:
        if found("true").returncode == 77:
            pytest.skip("this machine mounts no overlay")
        yield found
    finally:
        subprocess.run(["umount", "--lazy", memory], check=True)


def package(view: View, name: str, **more: str) -> str:
    """Make a .deb of a stand-in tree; returns its name."""
    base = small.make_tree(view.folder / name, **more)
    return make_packages.write("deb", Tree.read(base), view.folder / "dist", []).file


def test_install_upgrade_remove_and_purge_leave_no_file(view: View) -> None:
    old, new = package(view, "old", version="0.1.0-rc.1"), package(view, "new", version="0.1.0")
    done = view(
        f"$dpkg -i /tmp/p/{old} && edge-agent --version && stat -c '%a %U' /var/lib/edge-agent && id -nG edge-agent"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert "edge-agent 0.1.0-rc.1" in lines
    assert "700 edge-agent" in lines
    assert lines[-1].split()[0] == "edge-agent"
    done = view(
        f"echo key >/var/lib/edge-agent/key && $dpkg -i /tmp/p/{new} && edge-agent --version && ls /opt/edge-agent/versions"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-2:] == ["edge-agent 0.1.0", "0.1.0"]
    done = view("mkdir -p /etc/edge-agent && touch /etc/edge-agent/config.yaml && $dpkg -r edge-agent")
    assert done.returncode == 0, done.stderr
    assert {n for n in view.written() if "edge-agent" in n and not n.startswith("opt")} == {
        "etc/edge-agent", "etc/edge-agent/config.yaml", "var/lib/edge-agent", "var/lib/edge-agent/key",
    } | {n for n in view.written() if n.startswith("etc/systemd/system/edge-agent.service.d")}  # fmt: skip
    done = view(
        "$dpkg -P edge-agent; getent passwd edge-agent; getent group edge-agent edge-operator; dpkg -l edge-agent 2>&1"
    )
    assert view.written() == set(), done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "dpkg-query: no packages found matching edge-agent"
    assert "edge-agent:x:" not in done.stdout


def test_a_variant_takes_the_place_of_the_plain_agent(view: View) -> None:
    plain, camera = package(view, "plain"), package(view, "camera", variant="camera")
    done = view(
        f"$dpkg -i /tmp/p/{plain} && $dpkg --auto-deconfigure -i /tmp/p/{camera}; dpkg -l 'edge-agent*' | grep ^.i"
    )
    assert "edge-agent-camera" in done.stdout, done.stderr
    assert len([line for line in done.stdout.splitlines() if line.startswith("ii")]) == 1


def test_the_sink_has_its_unit_sound_enabled_and_purged(view: View) -> None:
    sink = package(view, "sink", program="edge-sink")
    unit = "/lib/systemd/system/edge-sink.service"
    done = view(
        f"$dpkg -i /tmp/p/{sink} && readlink /etc/systemd/system/multi-user.target.wants/edge-sink.service && edge-sink --version"
        f" && systemd-analyze verify --man=no {unit} && systemd-analyze security --offline=true --threshold=20 edge-sink.service"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "edge-sink.service" not in done.stderr
    assert [unit, "edge-sink 0.1.0"] == [line for line in done.stdout.splitlines() if line in (unit, "edge-sink 0.1.0")]
    done = view("$dpkg -P edge-sink")
    assert done.returncode == 0, done.stderr
    assert view.written() == set()


def test_scripts_of_debian_packages_are_clean_shell(tmp_path: Path) -> None:
    for program in ("edge-agent", "edge-sink"):
        base = small.make_tree(tmp_path / program, program=program)
        for name, text in contents.deb(Tree.read(base))[2].items():
            path = tmp_path / f"{program}.{name}"
            path.write_text(text)
            assert "@" not in text
            subprocess.run(["shellcheck", "-s", "sh", path], check=True)
