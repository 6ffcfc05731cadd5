"""The printed line, on a machine that has a network to an operator and nothing of the project."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hil.standins import busybox, same
from hil.standins.busybox import BusyboxRoot
from hil.standins.same import SameSystem
from tests import netns
from tests.netns import Host
from tests.packaging.install.releases import ROOT, TREE, Keys, release
from tests.packaging.install.test_install_script import listing

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not netns.available() or bool(busybox.missing()), reason="needs root, namespaces and busybox"),
]


MAIN = "from agent.cli import main; main()"


class Operator:
    """A real agent that is an operator, in one of the hosts."""

    def __init__(self, host: Host, folder: Path, packages: Path) -> None:
        self.folder = folder
        (folder / "state").mkdir(parents=True)
        (folder / "state/packages").symlink_to(packages)
        (folder / "config.yaml").write_text(
            f"name: hall\nstate: {folder}/state\nrun: {folder}/sock\nmesh: {{mdns: false}}\n"
            "docker: {host: 'tcp://127.0.0.1:1'}\nuplink: {status: false}\n"
        )
        self.log = (folder / "log").open("ab")
        self.process = subprocess.Popen(
            host.command(sys.executable, "-c", MAIN, "--config", str(folder / "config.yaml"), "serve", "--new"),
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, cwd=ROOT,
        )  # fmt: skip
        try:
            end = time.monotonic() + 60
            while self.ask("status") is None:
                assert time.monotonic() < end, (folder / "log").read_text()
                assert self.process.poll() is None, (folder / "log").read_text()
                time.sleep(0.1)
        except BaseException:
            self.close()
            raise

    def ask(self, *words: str) -> Any:
        """The answer of a command with --json; None where it failed."""
        done = subprocess.run(
            [sys.executable, "-c", MAIN, "--socket", str(self.folder / "sock"), *words, "--json"],
            capture_output=True, check=False, cwd=ROOT,
        )  # fmt: skip
        return json.loads(done.stdout) if done.returncode == 0 else None

    def close(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)
        self.log.close()


@pytest.fixture
def hosts() -> Iterator[dict[str, Host]]:
    with netns.network("hall", "box") as made:
        yield made


@pytest.fixture
def operator(hosts: dict[str, Host], first: Path, tmp_path: Path) -> Iterator[Operator]:
    """An operator that hands out release 1.0.0 of the stand-in."""
    made = Operator(hosts["hall"], tmp_path / "hall", first)
    yield made
    made.close()


def test_printed_line_with_curl_installs_and_shows_no_token(operator: Operator, hosts: dict[str, Host]) -> None:
    token = operator.ask("token", "create")
    seen: list[bytes] = []
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            for file in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    words = file.read_bytes()
                except OSError:
                    continue
                if token["token"].encode() in words:
                    seen.append(words)

    with BusyboxRoot(namespace=hosts["box"].namespace, programs=("curl",)) as box:
        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            done = box.run(["sh"], token["install"]["curl"].encode())
        finally:
            over.set()
            watcher.join()
        assert done.code == 0, done.stderr
        assert "in the mesh, version 1.0.0" in done.stdout
        assert seen == []
        assert token["token"] not in done.stdout + done.stderr


def test_printed_line_with_wget_installs(operator: Operator, hosts: dict[str, Host]) -> None:
    token = operator.ask("token", "create")
    with BusyboxRoot(namespace=hosts["box"].namespace) as box:
        before = listing(box)
        done = box.run(["sh"], token["install"]["wget"].encode())
        assert done.code == 0, done.stderr
        assert "in the mesh, version 1.0.0" in done.stdout
        box.run("edge-agent-uninstall").text()
        assert listing(box) == before


def test_small_flash_fetches_the_program_again_after_a_power_cut(operator: Operator, hosts: dict[str, Host]) -> None:
    token = operator.ask("token", "create")
    with BusyboxRoot(namespace=hosts["box"].namespace, programs=("curl",)) as box:
        box.run("mkdir /opt && mount -t tmpfs -o size=2m tmpfs /opt").text()
        done = box.run(["sh"], token["install"]["curl"].encode())
        assert (done.code, "the program goes to RAM" in done.stdout) == (0, True), done.stderr
        box.restart()
        box.run(
            "for i in $(seq 300); do /tmp/edge-agent-tree/current/edge-agent status && exit; sleep 0.1; done; exit 1"
        ).text()


@pytest.mark.skipif(shutil.which("sudo") is None, reason="Debian's package sudo is not installed")
def test_user_with_sudo_installs(operator: Operator, hosts: dict[str, Host]) -> None:
    if why := same.missing():
        pytest.skip(why)
    token = operator.ask("token", "create")
    with SameSystem(namespace=hosts["box"].namespace) as box:
        box.run("useradd -m ada && echo 'ada ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/ada").text()
        before = box.changed()
        done = box.run(["su", "ada", "-c", "sh"], token["install"]["curl"].encode())
        assert done.code == 0, done.stdout + done.stderr
        assert "this needs root: sudo" in done.stdout
        assert re.search(r" \d+ MB of RAM\n", done.stdout)
        assert "in the mesh, version 1.0.0" in done.stdout
        assert token["token"] not in done.stdout + done.stderr
        assert box.run("ls /tmp").text() == ""
        assert box.run(["su", "ada", "-c", "sudo edge-agent-uninstall"]).code == 0
        assert box.changed() == before


@pytest.mark.slow
@pytest.mark.skipif(not (TREE / "_internal").is_dir(), reason="no frozen tree: make dist ARCH=x86_64")
def test_frozen_agent_joins_upgrades_and_leaves_nothing(hosts: dict[str, Host], keys: Keys, tmp_path: Path) -> None:
    packages = release(tmp_path / "release", keys, version_of(TREE), tree=TREE)
    operator = Operator(hosts["hall"], tmp_path / "hall", packages)
    try:
        token = operator.ask("token", "create", "-l", "floor=2")
        with BusyboxRoot(namespace=hosts["box"].namespace) as box:
            before = listing(box)
            began = time.monotonic()
            line = token["install"]["wget"].replace('sh "$f"', 'sh "$f" --name porch')
            done = box.run(["sh"], line.encode(), timeout=110)
            print(f"installed and joined in {time.monotonic() - began:.1f} s\n{done.stdout}")
            assert done.code == 0, done.stdout + done.stderr
            names = {n["name"]: n for n in operator.ask("node", "list")}
            assert names["porch"]["alive"]
            assert names["porch"]["labels"]["floor"] == "2"
            box.restart()
            box.run("for i in $(seq 300); do edge-agent status >/dev/null && exit; sleep 0.1; done; exit 1").text()
            assert box.run("edge-agent-uninstall").code == 0
            assert listing(box) == before
    finally:
        operator.close()


def version_of(tree: Path) -> str:
    facts = json.loads((tree / "_internal/tree.json").read_text())
    return str(facts["version"])
