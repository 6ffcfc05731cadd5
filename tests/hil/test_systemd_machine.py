"""The stand-in of a machine with systemd (hil/standins/systemd.py)."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from hil.standins import Failed, SystemdMachine
from hil.standins.systemd import missing

pytestmark = [pytest.mark.docker, pytest.mark.root, pytest.mark.skipif(bool(missing()), reason=missing())]


@pytest.fixture(scope="module")
def machine() -> Iterator[SystemdMachine]:
    with SystemdMachine("tried") as made:
        yield made


def test_systemd_is_the_first_process_and_all_its_units_run(machine: SystemdMachine) -> None:
    assert machine.run("cat /proc/1/comm").text() == "systemd\n"
    assert machine.run("systemctl is-system-running").text() == "running\n"
    assert machine.run("hostname").text() == "tried\n"


def test_exit_codes_and_input_pass(machine: SystemdMachine) -> None:
    done = machine.run("cat; echo bad >&2; exit 3", b"in")
    assert (done.code, done.stdout, done.stderr) == (3, "in", "bad\n")
    with pytest.raises(Failed, match="exit code 3"):
        done.text()


def test_limits_of_memory_and_of_the_file_system_hold(machine: SystemdMachine) -> None:
    unit = "systemd-run --quiet --wait --collect"
    assert machine.run(f"{unit} -p MemoryMax=50M python3 -c 'bytearray(10 << 20)'").code == 0
    assert machine.run(f"{unit} -p MemoryMax=50M python3 -c 'bytearray(100 << 20)'").code != 0
    assert machine.run(f"{unit} -p ProtectSystem=strict touch /etc/no").code != 0
    assert machine.run("test -e /etc/no").code != 0


def test_a_power_cycle_empties_tmp_and_keeps_the_disk(machine: SystemdMachine, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/file").write_text("kept")
    machine.put(tmp_path / "folder", "/var/lib/put")
    machine.put(b"lost", "/tmp/file", mode=0o600)
    assert machine.run("stat -c '%a %u' /tmp/file").text() == "600 0\n"
    boot = machine.run("systemctl show -P UserspaceTimestampMonotonic").text()
    machine.restart()
    assert machine.get("/var/lib/put/file") == b"kept"
    with pytest.raises(Failed):
        machine.get("/tmp/file")
    assert machine.run("systemctl show -P UserspaceTimestampMonotonic").text() != boot


def test_programs_reach_this_host_and_nothing_beyond(machine: SystemdMachine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here")
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    assert machine.network is not None
    with http.server.ThreadingHTTPServer((machine.network.gateway, 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            url = f"http://{machine.network.gateway}:{server.server_port}/file"
            assert machine.run(["curl", "-sS", url]).text() == "here"
        finally:
            server.shutdown()
            thread.join()
    # A documentation address (RFC 5737): no such host is asked even where the network is open by mistake.
    assert machine.run("curl -sS --max-time 1 http://192.0.2.1/").code != 0
