"""The x86_64 box (hil/standins/box.py): a real SSH server, its own root and network, and an end that leaves nothing."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hil.standins import Box, Failed, Lan, Unreachable
from hil.standins.network import sweep
from tests.hil.listening import multicast_from

pytestmark = pytest.mark.root

ROOT = Path(__file__).parents[2]


def test_box_is_reached_by_ssh_and_has_no_c_library(box: Box) -> None:
    assert box.run("hostname").text() == "tried\n"
    assert "dropbear" in box.run("ps").text()
    assert box.run("ls /lib").text() == ""
    assert box.run("echo $LD_LIBRARY_PATH").text() == "\n"


def test_exit_codes_and_input_pass(box: Box) -> None:
    done = box.run("cat; echo bad >&2; exit 3", b"in")
    assert (done.code, done.stdout, done.stderr) == (3, "in", "bad\n")
    assert box.run("sh -c 'kill -9 $$'").code == 128 + 9
    assert box.run("exit 255").code == 254
    assert box.run(["printf", "%s", "a b'c"]).text() == "a b'c"
    with pytest.raises(Failed, match="exit code 3"):
        done.text()


def test_files_and_folders_pass(box: Box, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/tool").write_bytes(b"#!/bin/sh\necho works\n")
    (tmp_path / "bin/tool").chmod(0o755)
    box.put(tmp_path, "/opt/made here")
    assert box.run("'/opt/made here/bin/tool'").text() == "works\n"
    content = os.urandom(300_000)
    box.put(content, "/etc/made/file", mode=0o640)
    assert box.get("/etc/made/file") == content
    assert box.run("stat -c %a /etc/made/file").text() == "640\n"
    with pytest.raises(Failed, match="No such file"):
        box.get("/etc/none")


def test_power_cut_ends_programs_and_keeps_the_disk(box: Box) -> None:
    box.put(b"kept", "/var/lib/kept")
    box.put(b"lost", "/run/lost")
    box.run("sleep 1000 </dev/null >/dev/null 2>&1 &").text()
    box.cut()
    with pytest.raises(Unreachable):
        box.run("true")
    box.start()
    assert box.get("/var/lib/kept") == b"kept"
    assert box.run("ls /run/lost; pidof sleep").stdout == ""


def test_log_has_lines_as_busybox_writes_them(box: Box) -> None:
    box.run("logger -p daemon.notice -t hostapd 'wlan0: AP-STA-CONNECTED 02:00:00:00:00:01'").text()
    assert "daemon.notice hostapd: wlan0: AP-STA-CONNECTED" in box.get("/var/log/messages").decode()


def test_multicast_and_pings_pass_between_boxes(box: Box, net: Lan) -> None:
    with Box(net, "other") as other:
        box.run(f"ping -c 1 -W 5 {other.address}").text()
        assert multicast_from(other, net) == other.address


def test_closed_box_leaves_no_file_mount_or_process(net: Lan) -> None:
    with Box(net, "short") as short:
        folder = short.folder
        assert _uses(str(folder))
        short.run("sleep 1000 </dev/null >/dev/null 2>&1 &").text()
    assert not folder.exists()
    assert str(folder) not in Path("/proc/mounts").read_text()
    assert not _uses(str(folder))
    short.close()


def test_killed_test_run_leaves_nothing_after_the_next() -> None:
    text = "import time\nfrom hil.standins import Box, lan\n"
    text += "with lan() as net, Box(net, 'left') as box:\n    print(net.prefix, box.folder, flush=True)\n    time.sleep(600)\n"
    with subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True, cwd=ROOT) as run:
        try:
            assert run.stdout is not None
            prefix, folder = run.stdout.readline().split()
            assert _uses(folder)
        finally:
            run.kill()
    end = time.monotonic() + 30
    while _uses(folder):
        assert time.monotonic() < end, "the box outlived its test run"
    sweep()
    assert prefix not in subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    assert not Path(folder).exists()


def _uses(folder: str) -> list[str]:
    """The processes that have a folder in their command line."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if folder.encode() in file.read_bytes():
                found.append(file.parent.name)
    return found
