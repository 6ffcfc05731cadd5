"""Hosts for tests: network namespaces on a bridge, with nothing of this machine's network in reach. Needs root.

The bridge has its own namespace, so that only names are left in the machine's own network.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path


class NoNamespaces(Exception):
    """This machine does not let us make network namespaces."""


def run(*command: str) -> str:
    """Run a command; raises AssertionError with its stderr where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr or done.stdout}"
    return done.stdout


class Host:
    """One namespace with `eth0` on the bridge."""

    def __init__(self, network: Network, name: str, number: int) -> None:
        self.network, self.name, self.namespace = network, name, f"{network.prefix}{number}"
        self.address = network.address(number)
        peer = f"v{os.getpid() % 10000}x{number}"
        run("ip", "netns", "add", self.namespace)
        network.namespaces.append(self.namespace)
        run(
            "ip",
            "link",
            "add",
            peer,
            "netns",
            network.switch,
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            self.namespace,
        )
        run("ip", "-n", network.switch, "link", "set", peer, "master", "br0", "up")
        self.ip("link", "set", "lo", "up")
        self.ip("link", "set", "eth0", "up")
        self.ip("address", "add", f"{self.address}/16", "dev", "eth0")

    def ip(self, *arguments: str) -> str:
        """Run `ip` inside."""
        return run("ip", "-n", self.namespace, *arguments)

    def command(self, *command: str) -> list[str]:
        """The command line that runs a command inside."""
        return ["ip", "netns", "exec", self.namespace, *command]

    def iptables(self, *arguments: str) -> str:
        """Run iptables inside."""
        return run(*self.command(self.network.iptables, "-w", *arguments))

    def close_inbound(self) -> None:
        """Accept no new connections from other hosts, as behind a router that forwards nothing."""
        self.iptables("-A", "INPUT", "-i", "eth0", "-p", "tcp", "--syn", "-j", "DROP")

    def cut(self, *others: Host) -> None:
        """Drop all packets to and from these hosts."""
        for other in others:
            self.iptables("-A", "INPUT", "-s", other.address, "-j", "DROP")
            self.iptables("-A", "OUTPUT", "-d", other.address, "-j", "DROP")

    def restore(self) -> None:
        """Undo `close_inbound` and `cut`."""
        self.iptables("-F")

    def move(self, address: str) -> None:
        """Give the host another address."""
        self.ip("address", "flush", "dev", "eth0")
        self.ip("address", "add", f"{address}/16", "dev", "eth0")
        self.address = address


class Network:
    """A bridge and its hosts."""

    def __init__(self) -> None:
        self.prefix = f"ea{os.getpid()}n"
        self.switch = f"{self.prefix}br"
        self.namespaces: list[str] = []
        self.hosts: dict[str, Host] = {}
        self.iptables = ""

    @staticmethod
    def address(number: int, subnet: int = 0) -> str:
        """The address of the host with this number."""
        return f"10.77.{subnet}.{10 + number}"

    def up(self, names: Sequence[str]) -> None:
        """Make the bridge and the hosts; raises NoNamespaces where that is not allowed."""
        if os.geteuid() != 0:
            raise NoNamespaces("network namespaces need root")
        try:
            run("ip", "netns", "add", self.switch)
            self.namespaces.append(self.switch)
            run("ip", "-n", self.switch, "link", "add", "br0", "type", "bridge")
        except (AssertionError, FileNotFoundError) as error:
            raise NoNamespaces(str(error)) from None
        run("ip", "-n", self.switch, "link", "set", "br0", "up")
        self.iptables = self._working_iptables()
        for number, name in enumerate(names):
            self.hosts[name] = Host(self, name, number)

    def _working_iptables(self) -> str:
        for program in ("iptables-nft", "iptables-legacy", "iptables"):
            with contextlib.suppress(AssertionError, FileNotFoundError):
                run("ip", "netns", "exec", self.switch, program, "-w", "-A", "INPUT", "-s", "192.0.2.1", "-j", "DROP")
                run("ip", "netns", "exec", self.switch, program, "-w", "-F")
                return program
        raise NoNamespaces("no iptables works here")

    def down(self) -> None:
        """Remove everything; processes inside must have ended."""
        for namespace in reversed(self.namespaces):
            run("ip", "netns", "delete", namespace)
        self.namespaces.clear()


@contextlib.contextmanager
def network(*names: str) -> Iterator[dict[str, Host]]:
    """The named hosts on one bridge."""
    made = Network()
    try:
        made.up(names)
        yield made.hosts
    finally:
        made.down()


def available() -> bool:
    """Whether namespaces can be made here at all."""
    return os.geteuid() == 0 and Path("/proc/self/ns/net").exists()
