"""The network of the stand-ins: a bridge in a namespace, with nothing of this machine's network in reach.

Boxes have a pair of veth devices, virtual machines a tap device; multicast passes between all of them. The bridge's own
address is the desk: the place of the person who installs, where SSH clients and file servers run.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.netns import Host, Network, run

PREFIX_LENGTH = 16
FOLDER = "edge-hil-"
"""The beginning of the names of stand-ins' folders for temporary files; the number of their process follows."""


class Lan(Network):
    """A bridge, its hosts, and tap devices for virtual machines."""

    def __init__(self) -> None:
        super().__init__()
        self.prefix = f"ea{os.getpid()}h"
        self.switch = f"{self.prefix}br"
        self._taken = 0

    @property
    def desk(self) -> str:
        """The address of the desk."""
        return "10.77.255.254"

    @property
    def inside(self) -> tuple[str, ...]:
        """The prefix that runs a command at the desk."""
        return ("ip", "netns", "exec", self.switch)

    def start(self) -> None:
        """Make the bridge; raises tests.netns.NoNamespaces where that is not allowed."""
        sweep()
        self.up(())
        run("ip", "-n", self.switch, "link", "set", "lo", "up")
        run("ip", "-n", self.switch, "address", "add", f"{self.desk}/{PREFIX_LENGTH}", "dev", "br0")

    def number(self) -> int:
        """The number of the next host."""
        self._taken += 1
        return self._taken

    def host(self, name: str, number: int) -> Host:
        """A namespace with `eth0` on the bridge, for the host with this number."""
        self.hosts[name] = made = Host(self, name, number)
        made.ip("route", "add", "default", "dev", "eth0")
        return made

    def tap(self, number: int) -> str:
        """A tap device on the bridge, in the bridge's namespace."""
        device = f"tap{number}"
        run("ip", "-n", self.switch, "tuntap", "add", device, "mode", "tap")
        run("ip", "-n", self.switch, "link", "set", device, "master", "br0", "up")
        return device

    def plug(self, pid: int) -> str:
        """Give the network namespace of a process (a container's, say) an `eth0` on the bridge; its address."""
        number = self.number()
        device, address = f"plug{number}", self.address(number)
        run("ip", "-n", self.switch, "link", "add", device, "type", "veth", "peer", "name", "eth0", "netns", str(pid))
        run("ip", "-n", self.switch, "link", "set", device, "master", "br0", "up")
        for command in (
            ("link", "set", "lo", "up"),
            ("link", "set", "eth0", "up"),
            ("address", "add", f"{address}/{PREFIX_LENGTH}", "brd", "+", "dev", "eth0"),
            ("route", "add", "default", "dev", "eth0"),
        ):
            run("nsenter", "-t", str(pid), "-n", "ip", *command)
        return address


def sweep() -> None:
    """Remove namespaces and folders of test runs that were killed: their names hold the number of a process that is gone."""
    with contextlib.suppress(OSError, AssertionError):
        for line in run("ip", "netns", "list").splitlines():
            name = line.split()[0]
            found = re.fullmatch(r"ea(\d+)[nh](br|\d+)", name)
            if found and _is_gone(found[1]):
                subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER}*"):
        if _is_gone(folder.name.removeprefix(FOLDER).partition("-")[0]):
            shutil.rmtree(folder, ignore_errors=True)


def _is_gone(pid: str) -> bool:
    return pid.isdigit() and not Path(f"/proc/{pid}").exists()


@contextlib.contextmanager
def lan() -> Iterator[Lan]:
    """A network that ends with the block."""
    made = Lan()
    try:
        made.start()
        yield made
    finally:
        made.down()
