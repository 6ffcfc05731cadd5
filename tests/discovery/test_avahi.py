"""An independent client sees a node: avahi in another network namespace, connected by a virtual cable."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.skipif(not shutil.which("avahi-daemon"), reason="needs avahi-daemon and avahi-utils"),
]

_BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=/run/dbus/system_bus_socket</listen>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*"/>
<allow receive_sender="*"/></policy></busconfig>"""

_NODE = """
import asyncio, sys
from agent.discovery import Discovery, listen_for_meshes
async def main():
    node = Discovery(lambda found: print("found", found.name, *found.enrol_addresses, flush=True), poll=0.2)
    node.announce("m" * 20, sys.argv[1] * 20, sys.argv[2], 7946, 7947, version="0.1")
    await node.run()
asyncio.run(main())
"""

_BROWSER = """
mount -t tmpfs tmpfs /run && mkdir -p /run/dbus /run/avahi-daemon
dbus-daemon --config-file="$1" --nofork --nopidfile & bus=$!
until [ -S /run/dbus/system_bus_socket ]; do sleep 0.1; done
avahi-daemon --no-drop-root --no-chroot --no-rlimits -f /dev/null >/dev/null 2>&1 & daemon=$!
until avahi-browse -rpt _edge-agent._tcp; do sleep 0.2; done | grep -m1 '^=;.*IPv4'
code=$?
kill $daemon $bus; wait
exit $code
"""


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def cable() -> Iterator[tuple[str, str]]:
    """Two namespaces joined by a cable: 198.51.100.1 and .2."""
    a, b = f"ea{os.getpid()}a", f"ea{os.getpid()}b"
    with contextlib.ExitStack() as stack:
        for name in (a, b):
            _ip("netns", "add", name)
            stack.callback(_ip, "netns", "del", name)
        _ip("link", "add", "edge0", "netns", a, "type", "veth", "peer", "name", "edge0", "netns", b)
        for name, address in ((a, "198.51.100.1"), (b, "198.51.100.2")):
            _ip("-n", name, "addr", "add", f"{address}/24", "dev", "edge0")
            _ip("-n", name, "link", "set", "edge0", "up")
            _ip("-n", name, "link", "set", "lo", "up")
        yield a, b


@contextlib.contextmanager
def node(namespace: str, letter: str, name: str) -> Iterator[subprocess.Popen[str]]:
    command = ["ip", "netns", "exec", namespace, sys.executable, "-c", _NODE, letter, name]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=10)


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_avahi_browse_shows_a_node(cable: tuple[str, str], tmp_path: Path) -> None:
    bus = tmp_path / "bus.conf"
    bus.write_text(_BUS)
    with node(cable[0], "h", "hall"):
        process = subprocess.Popen(
            ["ip", "netns", "exec", cable[1], "sh", "-c", _BROWSER, "browse", str(bus)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            seen, complaints = process.communicate(timeout=60)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert process.returncode == 0, complaints
    assert ";198.51.100.1;7946;" in seen
    for word in ("mesh=" + "m" * 20, "node=" + "h" * 20, "port=7946", "enrol=7947", "version=0.1", "name=hall"):
        assert f'"{word}"' in seen


async def test_a_node_is_heard_at_its_address_in_a_new_network(cable: tuple[str, str]) -> None:
    with node(cable[0], "h", "hall"), node(cable[1], "p", "porch") as porch:
        assert await asyncio.to_thread(_line, porch) == "found hall 198.51.100.1:7947"
        for namespace, address in ((cable[0], "203.0.113.1"), (cable[1], "203.0.113.2")):
            _ip("-n", namespace, "addr", "flush", "dev", "edge0")
            _ip("-n", namespace, "addr", "add", f"{address}/24", "dev", "edge0")
        line = ""
        while "203.0.113.1" not in line:
            line = await asyncio.to_thread(_line, porch)
            assert line.startswith("found hall")
