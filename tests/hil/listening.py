"""A listener to a multicast group at the desk of a Lan."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator

from hil.standins import Lan, Machine

GROUP = "224.0.0.251"
"""The group of mDNS (RFC 6762)."""
LISTEN = """
import socket, struct, sys
heard = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
heard.bind(("", 53))
group = struct.pack("4s4s", socket.inet_aton(sys.argv[1]), socket.inet_aton(sys.argv[2]))
heard.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
heard.settimeout(30)
print("ready", flush=True)
print(heard.recvfrom(1500)[1][0])
"""


@contextlib.contextmanager
def listener(net: Lan) -> Iterator[subprocess.Popen[str]]:
    """A process that prints the address of the first sender to GROUP."""
    command = [*net.inside, "python3", "-c", LISTEN, GROUP, net.desk]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process


def multicast_from(machine: Machine, net: Lan) -> str:
    """The address from which the desk hears a packet that the machine sends to GROUP."""
    with listener(net) as process:
        # busybox's nc has no UDP; a question for a name is a packet to port 53.
        machine.run(f"timeout 1 nslookup any.example {GROUP}")
        assert process.stdout is not None
        return process.stdout.readline().strip()
