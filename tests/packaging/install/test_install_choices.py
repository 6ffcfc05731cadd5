"""Other releases of the same place, the prompt for the token, and the sink."""

from __future__ import annotations

import json
import os
import pty
import select
import time
from pathlib import Path

import pytest

from hil.standins import busybox
from hil.standins.busybox import BusyboxRoot
from tests.packaging.install.releases import TOKEN, Keys, release, write_manifest
from tests.packaging.install.test_install_script import listing

pytestmark = pytest.mark.skipif(bool(busybox.missing()), reason=busybox.missing() or "here")


def test_another_version_comes_by_its_signed_manifest(first: Path, second: Path, keys: Keys, tmp_path: Path) -> None:
    with BusyboxRoot(programs=("openssl",)) as box:
        box.put(first, "/mnt")
        box.put(second, "/mnt/1.1.0")
        done = box.run("sh /mnt/install.sh --wait 20 --version 1.1.0", env={"EDGE_AGENT_TOKEN": TOKEN})
        assert done.code == 0, done.stderr
        assert "in the mesh, version 1.1.0" in done.stdout
        # The node keeps the signed manifest for its own upgrades.
        kept = box.get("/etc/edge-agent/release/current")
        assert kept.partition(b"\n")[2] == (second / "manifest.json").read_bytes()
        assert box.get("/etc/edge-agent/release/newest") == b"1.1.0"
        done = box.run("sh /mnt/install.sh --wait 20 --version 2.0.0")
        assert (done.code, done.stderr) == (1, "install: /mnt has no release 2.0.0\n")


def test_forged_manifest_of_another_version_is_refused(first: Path, keys: Keys, tmp_path: Path) -> None:
    forged = release(tmp_path / "9.0.0", Keys(), "9.0.0")
    with BusyboxRoot(programs=("openssl",)) as box:
        box.put(first, "/mnt")
        box.put(forged, "/mnt/9.0.0")
        before = listing(box)
        done = box.run("sh /mnt/install.sh --version 9.0.0", env={"EDGE_AGENT_TOKEN": TOKEN})
        assert done.code == 1
        assert "the signature of the manifest in /mnt/9.0.0 is wrong" in done.stderr
        assert listing(box) == before


def test_other_release_needs_a_tool_for_signatures(first: Path, second: Path, box: BusyboxRoot) -> None:
    box.put(first, "/mnt")
    box.put(second, "/mnt/1.1.0")
    done = box.run("sh /mnt/install.sh --version 1.1.0", env={"EDGE_AGENT_TOKEN": TOKEN})
    assert (done.code, "nothing here can check the signature" in done.stderr) == (1, True)


def test_channel_is_a_folder_with_a_release_of_it(first: Path, keys: Keys, tmp_path: Path) -> None:
    beta = release(tmp_path / "beta", keys, "1.2.0")
    manifest = json.loads((beta / "manifest.json").read_text())
    write_manifest(beta, manifest | {"channel": "beta"}, keys)
    with BusyboxRoot(programs=("openssl",)) as box:
        box.put(first, "/mnt")
        box.put(beta, "/mnt/beta")
        done = box.run("sh /mnt/install.sh --wait 20 --channel beta", env={"EDGE_AGENT_TOKEN": TOKEN})
        assert done.code == 0, done.stderr
        assert "in the mesh, version 1.2.0" in done.stdout


def test_token_is_asked_for_on_the_terminal_and_not_shown(first: Path, box: BusyboxRoot) -> None:
    box.put(first, "/mnt")
    # stdin is the script, as under `curl | sh`.
    command = [*box.enter(), "/bin/sh", "-c", "cat /mnt/install.sh | sh -s -- --from /mnt --wait 20"]
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["PATH"] = busybox.PATH
        os.execv("/usr/bin/nsenter", command)
    shown, end, typed = b"", time.monotonic() + 60, False
    while time.monotonic() < end and not shown.endswith(b"removes it\r\n"):
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                part = os.read(terminal, 4096)
            except OSError:
                break
            shown += part
        if not typed and b"prints it): " in shown:
            os.write(terminal, f"{TOKEN}\n".encode())
            typed = True
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 0, shown.decode()
    assert b"in the mesh, version 1.0.0" in shown
    assert TOKEN.encode() not in shown


def test_sink_is_installed_and_says_how_to_connect_it(first: Path, box: BusyboxRoot) -> None:
    before = listing(box)
    box.put(first, "/mnt")
    done = box.run("sh /mnt/install.sh --sink --wait 20")
    assert done.code == 0, done.stdout + done.stderr
    assert "edge-agent sink connect https://192.0.2.1:8443#sha256=ab" in done.stdout
    assert box.run("edge-sink --version").text() == "edge-sink 1.0.0\n"
    assert box.run("edge-sink-uninstall").code == 0
    box.run("rm -r /mnt")
    assert [line for line in listing(box) if not line.endswith("/mnt")] == before


def test_program_of_a_package_is_left_to_the_system(first: Path, box: BusyboxRoot) -> None:
    box.put(first, "/mnt")
    box.put(b"/usr/bin/edge-agent\n", "/var/lib/dpkg/info/edge-agent.list")
    before = listing(box)
    for options in ("", "--uninstall"):
        done = box.run(f"sh /mnt/install.sh {options}", env={"EDGE_AGENT_TOKEN": TOKEN})
        assert (done.code, "installed as a package of dpkg" in done.stderr) == (1, True)
    assert listing(box) == before


def test_folder_of_another_user_in_ram_is_not_used(first: Path, box: BusyboxRoot) -> None:
    box.put(first, "/mnt")
    box.run(
        "mkdir /opt /tmp/edge-agent-tree && chown 65534 /tmp/edge-agent-tree && mount -t tmpfs -o size=2m tmpfs /opt"
    ).text()
    done = box.run("sh /mnt/install.sh", env={"EDGE_AGENT_TOKEN": TOKEN})
    assert (done.code, "not root's" in done.stderr) == (1, True)


def test_console_brings_the_agent_back_after_an_update(first: Path, box: BusyboxRoot) -> None:
    """The form only: the folders are those of a UniFi OS console, its init is busybox, and the test is the update."""
    box.put(first, "/mnt")
    box.run("mkdir /data").text()
    box.put(b"#!/bin/sh\n", "/usr/bin/ubnt-device-info", mode=0o755)
    done = box.run("sh /mnt/install.sh --wait 20", env={"EDGE_AGENT_TOKEN": TOKEN})
    assert done.code == 0, done.stderr
    assert "this machine: unifi-os" in done.stdout
    assert "state: /var/lib/edge-agent\n" in box.run("cat /etc/edge-agent/config.yaml").stdout
    identity = box.get("/var/lib/edge-agent/identity/member.pem")
    box.run(
        "rm /opt/edge-agent /etc/edge-agent /var/lib/edge-agent /usr/local/bin/edge-agent*; "
        "sed -i /edge-agent/d /etc/passwd; sed -i /edge-agent/d /etc/group; sed -i /edge-agent/d /etc/inittab"
    ).text()
    box.restart()
    assert box.run("edge-agent status").code != 0
    done = box.run("for hook in /data/on_boot.d/*.sh; do $hook || exit; done")
    assert done.code == 0, done.stderr
    assert box.run("edge-agent status").text() == "node box in the mesh, version 1.0.0\n"
    assert box.get("/var/lib/edge-agent/identity/member.pem") == identity
    assert box.run("edge-agent-uninstall").code == 0
    assert box.run("ls /data/on_boot.d /data/edge-agent").code != 0 or box.run("ls /data/on_boot.d").text() == ""
