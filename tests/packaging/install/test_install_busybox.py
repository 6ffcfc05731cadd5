"""Installing, upgrading and removing on a machine with nothing but a static busybox. The program is a stand-in of shell."""

from __future__ import annotations

import re
import secrets
import threading
from pathlib import Path

import pytest

from hil.standins import busybox
from hil.standins.busybox import BusyboxRoot
from hil.standins.machine import Done
from tests.packaging.install.releases import TOKEN, Keys, release
from tests.packaging.install.test_install_script import listing

IDENTITY = "/var/lib/edge-agent/identity/member.pem"


def install(box: BusyboxRoot, folder: Path, options: str = "", *, token: str = TOKEN, shell: str = "sh") -> Done:
    """Put the release on the machine and run its script."""
    box.put(folder, "/mnt")
    environment = {"EDGE_AGENT_TOKEN": token} if token else {}
    return box.run(f"sh /mnt/install.sh --wait 20 {options}", env=environment, shell=shell)


def test_machine_is_installed_restarted_and_cleaned(first: Path, box: BusyboxRoot) -> None:
    before = listing(box)
    done = install(box, first, "--name porch --label camera=true --label floor=2")
    assert done.code == 0, done.stderr
    assert "node box in the mesh, version 1.0.0" in done.stdout
    assert box.run("edge-agent status").code == 0
    assert box.get("/etc/edge-agent/config.yaml").decode().splitlines()[1:] == [
        'name: "porch"', "labels:", '  camera: "true"', '  floor: "2"',
    ]  # fmt: skip
    assert box.run("stat -c '%a %U' /var/lib/edge-agent").text() == "700 edge-agent\n"
    assert box.run("ls /var/lib/edge-agent/join-token").code != 0
    identity = box.get(IDENTITY)
    box.restart()
    wait_for_status(box)
    assert box.get(IDENTITY) == identity
    assert box.run("edge-agent-uninstall").code == 0
    box.run("rm -r /mnt")
    assert [line for line in listing(box) if not line.endswith("/mnt")] == before
    assert "edge-agent" not in box.run("ps").text()


def test_dry_run_changes_nothing_and_needs_no_token(first: Path, box: BusyboxRoot) -> None:
    box.put(first, "/mnt")
    before = listing(box)
    done = box.run("sh /mnt/install.sh --dry-run")
    assert done.code == 0, done.stderr
    assert "would unpack it to /opt/edge-agent/versions/1.0.0" in done.stdout
    assert listing(box) == before


def test_same_release_again_keeps_everything(first: Path, box: BusyboxRoot) -> None:
    assert install(box, first).code == 0
    before = (box.get(IDENTITY), box.run("ls -l /opt/edge-agent/versions").text())
    done = install(box, first, token="")
    assert done.code == 0, done.stderr
    assert "version 1.0.0 is installed already" in done.stdout
    assert (box.get(IDENTITY), box.run("ls -l /opt/edge-agent/versions").text()) == before


def test_newer_release_is_an_upgrade_and_back_is_allowed_once(
    first: Path, second: Path, keys: Keys, tmp_path: Path, box: BusyboxRoot
) -> None:
    assert install(box, first).code == 0
    identity = box.get(IDENTITY)
    done = install(box, second, token="")
    assert done.code == 0, done.stderr
    assert "in the mesh, version 1.1.0" in done.stdout
    assert box.run("readlink /opt/edge-agent/previous").text() == "/opt/edge-agent/versions/1.0.0\n"
    assert box.get(IDENTITY) == identity
    older = release(tmp_path / "0.9.0", keys, "0.9.0")
    done = install(box, older, token="")
    assert (done.code, "which is not the version before it" in done.stderr) == (1, True)
    done = install(box, first, token="")
    assert (done.code, "in the mesh, version 1.0.0" in done.stdout) == (0, True)


@pytest.mark.parametrize(
    ("fault", "words"),
    [({"selftest": "bad"}, "cannot test the new version"), ({"serve": "bad"}, "version 1.0.0 runs again")],
    ids=["selftest", "serve"],
)
def test_broken_new_version_goes_back(
    fault: dict[str, str], words: str, first: Path, keys: Keys, tmp_path: Path, box: BusyboxRoot
) -> None:
    assert install(box, first).code == 0
    identity = box.get(IDENTITY)
    broken = release(tmp_path / "broken", keys, "1.2.0", **fault)
    done = install(box, broken, "--wait 3", token="")
    assert done.code == 1
    assert words in done.stderr
    assert box.run("edge-agent status").text() == "node box in the mesh, version 1.0.0\n"
    assert box.get(IDENTITY) == identity
    assert box.run("ls /opt/edge-agent/versions").text() == "1.0.0\n"


def test_new_version_that_does_not_see_the_mesh_goes_back(
    first: Path, keys: Keys, tmp_path: Path, box: BusyboxRoot
) -> None:
    assert install(box, first).code == 0
    alone = release(tmp_path / "alone", keys, "1.2.0", linked="false")
    done = install(box, alone, "--wait 3", token="")
    assert (done.code, "version 1.0.0 runs again" in done.stderr) == (1, True)


def test_refused_token_undoes_the_installation(first: Path, box: BusyboxRoot) -> None:
    box.put(first, "/mnt")
    before = listing(box)
    done = install(box, first, "--wait 3", token="edge1.used")
    assert done.code == 1
    assert "the token was used already" in done.stdout
    assert done.stderr.endswith("the installation is undone\n")
    assert listing(box) == before


def test_first_machine_makes_a_mesh_and_keeps_the_release(first: Path, box: BusyboxRoot) -> None:
    done = install(box, first, "--new", token="")
    assert done.code == 0, done.stderr
    kept = box.run("ls /var/lib/edge-agent/packages").text().split()
    assert kept == sorted(f.name for f in first.iterdir())


def test_small_flash_installs_to_ram_and_comes_back(first: Path, box: BusyboxRoot) -> None:
    box.put(first, "/mnt")
    before = listing(box)
    box.run("mkdir /opt && mount -t tmpfs -o size=2m tmpfs /opt").text()
    done = install(box, first)
    assert done.code == 0, done.stderr
    assert "the program goes to RAM (/tmp/edge-agent-tree)" in done.stdout
    assert "a power cut loses what is in RAM" in done.stdout
    config = box.get("/etc/edge-agent/config.yaml").decode()
    assert "state: /etc/edge-agent/state\nvolatile: /tmp/edge-agent\n" in config
    identity = box.get("/etc/edge-agent/state/identity/member.pem")
    box.restart()
    box.run("mount -t tmpfs -o size=2m tmpfs /opt")
    wait_for_status(box, "/tmp/edge-agent-tree/current/edge-agent")
    assert box.get("/etc/edge-agent/state/identity/member.pem") == identity
    assert box.run("sh /etc/edge-agent/edge-agent-uninstall").code == 0
    box.run("umount /opt; rmdir /opt")
    assert listing(box) == before


def test_machine_without_init_is_installed_and_says_so(first: Path) -> None:
    if why := busybox.missing():
        pytest.skip(why)
    with BusyboxRoot(init="none") as box:
        before = listing(box)
        done = install(box, first)
        assert done.code == 0, done.stderr
        assert "nothing here starts programs after a reboot" in done.stdout
        assert box.run("sh /mnt/install.sh --uninstall").code == 0
        box.run("rm -r /mnt")
        assert [line for line in listing(box) if not line.endswith("/mnt")] == before


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_other_shells_install_as_well(shell: str, first: Path) -> None:
    if why := busybox.missing():
        pytest.skip(why)
    with BusyboxRoot(programs=(shell, "openssl")) as box:
        box.put(first, "/mnt")
        done = box.run(f"{shell} /mnt/install.sh --wait 20", env={"EDGE_AGENT_TOKEN": TOKEN}, shell=shell)
        assert done.code == 0, done.stderr
        assert "C library glibc" in done.stdout


def test_no_process_shows_the_token(first: Path, box: BusyboxRoot) -> None:
    token = f"edge1.{secrets.token_hex(16)}"  # no other test has it
    box.put(first, "/mnt")
    box.put(f"{token}\n".encode(), "/tmp/token", mode=0o600)
    seen: set[str] = set()
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            for process in Path("/proc").glob("[0-9]*"):
                for name in ("cmdline", "environ"):
                    try:
                        text = (process / name).read_bytes()
                    except OSError:
                        continue
                    if token.encode() in text:
                        seen.add(f"{name} of {re.sub(rb'[^ -~]', b' ', (process / 'cmdline').read_bytes())[:120]!r}")

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        done = box.run("sh /mnt/install.sh --wait 20 --token-file /tmp/token")
    finally:
        over.set()
        watcher.join()
    assert done.code == 0, done.stderr
    assert seen == set()
    assert token not in done.stdout + done.stderr


def wait_for_status(box: BusyboxRoot, program: str = "edge-agent") -> None:
    """Until the service answers after a start of the machine."""
    box.run(f"for i in $(seq 200); do {program} status && exit 0; sleep 0.1; done; exit 1").text()
