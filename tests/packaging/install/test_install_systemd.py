"""Installing, upgrading and removing under a real systemd, in a container. The program is a stand-in of shell."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hil.standins import systemd
from hil.standins.machine import Done
from hil.standins.systemd import SystemdMachine
from tests.packaging.install.releases import TOKEN, Keys, release

pytestmark = [pytest.mark.docker, pytest.mark.slow]
IDENTITY = "/var/lib/edge-agent/identity/member.pem"


@pytest.fixture
def machine() -> Iterator[SystemdMachine]:
    if why := systemd.missing():
        pytest.skip(why)
    with SystemdMachine("installed") as made:
        yield made


def install(machine: SystemdMachine, folder: Path, options: str = "", token: str = TOKEN) -> Done:
    """Put the release on the machine and run its script; the token comes by the environment."""
    name = f"/mnt/{folder.name}"
    machine.put(folder, name)
    return machine.run(
        [
            "sh",
            "-c",
            f"IFS= read -r EDGE_AGENT_TOKEN; export EDGE_AGENT_TOKEN; sh {name}/install.sh --wait 30 {options}",
        ],
        f"{token}\n".encode(),
        timeout=110,
    )


def listing(machine: SystemdMachine) -> list[str]:
    """Every file on the disk with its mode and owner, and the lists of users; without what a running system writes."""
    written = ("/mnt", "/var/log", "/var/lib/systemd", "/var/tmp/systemd-private-*", "/etc/*-")
    left_out = " -o ".join(f"-path '{path}'" for path in written)
    found = machine.run(f"find / -xdev \\( {left_out} \\) -prune -o -printf '%M %u %p\\n' | sort").text()
    return [
        *found.splitlines(),
        *machine.run("cat /etc/passwd /etc/group /etc/shadow /etc/gshadow").text().splitlines(),
    ]


def test_service_is_installed_restarted_upgraded_and_removed(
    machine: SystemdMachine, first: Path, second: Path, keys: Keys, tmp_path: Path
) -> None:
    before = listing(machine)
    done = install(machine, first, "--name porch")
    assert done.code == 0, done.stdout + done.stderr
    assert "node box in the mesh, version 1.0.0" in done.stdout
    assert done.stderr == ""
    assert machine.run("systemctl is-enabled edge-agent").text() == "enabled\n"
    shown = machine.run("systemctl show edge-agent -p User -p ProtectSystem -p FragmentPath").text().split()
    assert sorted(shown) == [
        "FragmentPath=/etc/systemd/system/edge-agent.service", "ProtectSystem=strict", "User=edge-agent",
    ]  # fmt: skip
    identity = machine.get(IDENTITY)

    machine.restart()
    machine.run("for i in $(seq 600); do edge-agent status && exit 0; sleep 0.1; done; exit 1", timeout=110).text()

    done = install(machine, second, token="")
    assert done.code == 0, done.stdout + done.stderr
    assert "in the mesh, version 1.1.0" in done.stdout
    broken = release(tmp_path / "broken", keys, "1.2.0", serve="bad")
    done = install(machine, broken, "--wait 5", token="")
    assert (done.code, "version 1.1.0 runs again" in done.stderr) == (1, True)
    assert machine.run("edge-agent status").text() == "node box in the mesh, version 1.1.0\n"
    assert machine.get(IDENTITY) == identity

    assert machine.run("edge-agent-uninstall").code == 0
    assert listing(machine) == before
    assert machine.run("ls /run/edge-agent").code != 0
    assert machine.run("systemctl status edge-agent").code == 4


def test_refused_token_undoes_the_installation_and_says_why(machine: SystemdMachine, first: Path) -> None:
    before = listing(machine)
    done = install(machine, first, "--wait 5", token="edge1.used")
    assert done.code == 1
    assert "the token was used already" in done.stdout
    assert listing(machine) == before
