"""Packages and index under a real apk-tools 3.0.8, in a root of busybox: trust, installation, upgrade, removal."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.release import SigningKey
from agent.release.adb import sign_adb
from scripts.fetch_apk import HERE as TOOL
from tests.packaging import small

assert small.ROOT
from writers.apk import Info, apk_version, write_apk, write_index  # noqa: E402
from writers.entries import Entry, file, link  # noqa: E402

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not (TOOL / "apk").is_file(), reason="scripts/fetch_apk.py has not fetched apk-tools"),
    pytest.mark.skipif(os.geteuid() != 0, reason="apk runs scripts with chroot, which needs root"),
]
KEY = SigningKey.generate()


class Root:
    """A root with busybox and apk's database, and a repository beside it."""

    def __init__(self, folder: Path) -> None:
        self.root, self.repository = folder / "root", folder / "repository"
        (self.root / "bin").mkdir(parents=True)
        (self.root / "etc/apk/keys").mkdir(parents=True)
        self.repository.mkdir()
        shutil.copy(shutil.which("busybox") or "", self.root / "bin/busybox")
        (self.root / "bin/sh").symlink_to("busybox")
        self("add", "--initdb")
        self.before = self.files()

    def __call__(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """Run apk on the root."""
        command = [TOOL / "ld-musl-x86_64.so.1", "--library-path", TOOL, TOOL / "apk"]
        options = ["--root", self.root, "--arch", "x86_64", "--no-network", "--no-logfile"]
        index = self.repository / "packages-x86_64.adb"
        if index.exists():
            options += ["--repository", index]
        return subprocess.run([*command, words[0], *options, *words[1:]], capture_output=True, text=True, check=False)

    def files(self) -> set[str]:
        """All files of the root but those that apk makes for itself."""
        found = {p.relative_to(self.root).as_posix() for p in self.root.rglob("*")}
        return {p for p in found if not p.startswith(("lib/apk/db", "var/", "etc/apk/")) and p not in ("dev", "proc")}

    def publish(self, version: str, *, key: SigningKey | None = KEY, arch: str = "noarch") -> Path:
        """Put a version of `thing` into the repository."""
        info = Info(
            "thing", apk_version(version), "A thing", "Apache-2.0", "https://example.org/", "S <a@example.org>", arch
        )
        entries = [
            file("usr/bin/thing", f"#!/bin/sh\necho {version}\n", 0o755), link("usr/bin/other", "thing"),
            file("etc/config/thing", "as delivered\n", 0o600), file("opt/x/empty", ""), file("opt/x/big", b"0123456789" * 50_000),
            file(f"opt/x/versions/{version}/lib", version), Entry("opt/x/private", 0o750),
        ]  # fmt: skip
        scripts = {
            when: f"#!/bin/sh\necho {when} $1 >>/etc/scripts\n"
            for when in (
                "pre-install",
                "post-install",
                "pre-upgrade",
                "post-upgrade",
                "pre-deinstall",
                "post-deinstall",
            )
        }
        name = f"thing-{apk_version(version)}-x86_64.apk"
        index = self.repository / "packages-x86_64.adb"
        listed = write_apk(self.repository / name, info, entries, scripts=scripts)
        write_index(index, listed, name)
        if key:
            index.write_bytes(sign_adb(index.read_bytes(), key))
        return self.repository / name

    def trust(self, key: SigningKey = KEY) -> None:
        (self.root / "etc/apk/keys/edge-agent.pem").write_bytes(key.public.pem)


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(tmp_path)


def test_a_package_of_a_signed_index_comes_and_goes_whole(root: Root) -> None:
    root.trust()
    root.publish("1.2.0")
    done = root("add", "thing")
    assert done.returncode == 0, done.stderr
    out = subprocess.run(
        ["chroot", root.root, "/bin/sh", "/usr/bin/thing"], capture_output=True, text=True, check=True
    ).stdout
    assert out == "1.2.0\n"
    assert (root.root / "opt/x/big").read_bytes() == b"0123456789" * 50_000
    assert (root.root / "usr/bin/other").readlink() == Path("thing")
    assert (root.root / "opt/x/private").stat().st_mode & 0o777 == 0o750
    assert (root.root / "etc/config/thing").stat().st_mode & 0o777 == 0o600
    assert root("audit", "--system").stdout == ""
    assert root("del", "thing").returncode == 0
    assert root.files() - root.before == {"etc/scripts"}
    assert (root.root / "etc/scripts").read_text().split() == [
        "pre-install", "1.2.0-r1", "post-install", "1.2.0-r1", "pre-deinstall", "1.2.0-r1", "post-deinstall", "1.2.0-r1",
    ]  # fmt: skip


def test_an_upgrade_keeps_changed_settings_and_no_old_file(root: Root) -> None:
    root.trust()
    root.publish("1.2.0-rc.1")
    assert root("add", "thing").returncode == 0
    (root.root / "etc/config/thing").write_text("mine\n")
    root.publish("1.2.0")
    done = root("upgrade")
    assert done.returncode == 0, done.stderr
    assert "(1.2.0_rc1-r1 -> 1.2.0-r1)" in done.stdout
    assert (root.root / "etc/config/thing").read_text() == "mine\n"
    assert {p.name for p in (root.root / "opt/x/versions").iterdir()} == {"1.2.0"}
    assert "post-upgrade 1.2.0-r1" in (root.root / "etc/scripts").read_text()


@pytest.mark.parametrize("key", [None, SigningKey.generate()])
def test_an_index_by_no_trusted_key_is_refused(root: Root, key: SigningKey | None) -> None:
    root.trust()
    root.publish("1.2.0", key=key)
    done = root("add", "thing")
    assert done.returncode != 0
    assert "UNTRUSTED" in done.stderr
    assert root.files() == root.before


def test_a_package_without_its_index_is_refused(root: Root) -> None:
    root.trust()
    package = root.publish("1.2.0")
    done = root("add", package)
    assert (done.returncode, "UNTRUSTED" in done.stderr) == (99, True)


def test_a_changed_package_of_a_signed_index_is_refused(root: Root) -> None:
    root.trust()
    root.publish("1.2.0")
    index = (root.repository / "packages-x86_64.adb").read_bytes()
    root.publish("1.2.0", arch="x86_64")
    (root.repository / "packages-x86_64.adb").write_bytes(index)
    assert root("add", "thing").returncode != 0
    assert root.files() == root.before


def test_the_index_says_what_apk_itself_would_say(root: Root, tmp_path: Path) -> None:
    package = root.publish("1.2.0", key=None)
    theirs = tmp_path / "theirs.adb"
    done = root("mkndx", "--allow-untrusted", "--output", theirs, package)
    assert done.returncode == 0, done.stderr

    def dump(path: Path) -> list[str]:
        lines = root("adbdump", "--allow-untrusted", path).stdout.splitlines()
        return [line for line in lines if not line.startswith(("#", "description", "pkgname-spec"))]

    assert dump(root.repository / "packages-x86_64.adb") == dump(theirs)


def test_apk_verifies_a_whole_package_alone(root: Root, fetch: Callable[[], int]) -> None:
    assert fetch() == 0
    package = root.publish("1.2.0")
    assert root("verify", "--allow-untrusted", package).returncode == 0
    package.write_bytes(package.read_bytes()[:-400])
    assert root("verify", "--allow-untrusted", package).returncode != 0


@pytest.fixture
def fetch() -> Callable[[], int]:
    """The second run of the script that fetches the tool."""
    return lambda: subprocess.run([sys.executable, small.ROOT / "scripts/fetch_apk.py"], check=False).returncode


def test_a_package_for_another_processor_starts_nothing(root: Root) -> None:
    """apk 3 installs the files although pre-install fails: the service must not start then."""
    import contents

    root.trust()
    entries = [
        file("etc/init.d/edge-agent", "#!/bin/sh\n", 0o755),
        file("lib/functions.sh", "default_postinst() { >/started; }\n"),
    ]
    index = root.repository / "packages-x86_64.adb"
    for name, arch in (("wrong", "armv7"), ("right", "x86_64")):
        info = Info(name, "1.0.0-r1", "A thing", "Apache-2.0", "https://example.org/", "S <a@example.org>")
        listed = write_apk(root.repository / f"{name}-1.0.0-r1.apk", info, entries, scripts=contents.apk_scripts(arch))
        write_index(index, listed, f"{name}-1.0.0-r1.apk")
        index.write_bytes(sign_adb(index.read_bytes(), KEY))
        for applet in ("uname", "head", "tail", "printf", "grep"):
            (root.root / "bin" / applet).unlink(missing_ok=True)
            (root.root / "bin" / applet).symlink_to("busybox")
        done = root("add", name)
        assert (done.returncode == 0) is (name == "right")
        assert ("cannot run here" in done.stderr + done.stdout) is (name == "wrong")
        assert (root.root / "started").exists() is (name == "right")
        assert root("del", name).returncode == 0
