"""Messages to the service manager that started this process: systemd's protocol of sd_notify(3) and sd_watchdog_enabled(3).

Without the variables that systemd sets, each call does nothing.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import MutableMapping

log = logging.getLogger(__name__)

PATIENCE = 1.0
"""Seconds that a message may wait for room in the manager's queue."""
MAX_STATUS = 500
"""Longest status in characters."""


class ServiceManager:
    """Sends messages to `address`, a path or an abstract name with `@`; empty: nobody listens.

    `watchdog` is the longest time in seconds between two calls of `alive`, 0 where no watchdog runs.
    """

    def __init__(self, address: str = "", watchdog: float = 0.0) -> None:
        self.watchdog = watchdog if address else 0.0
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._status = ""

    @classmethod
    def take(cls, environ: MutableMapping[str, str] | None = None) -> ServiceManager:
        """The manager that the environment names. Removes its variables, so that no child speaks in this process's name."""
        environ = os.environ if environ is None else environ
        address = environ.pop("NOTIFY_SOCKET", "")
        pid, microseconds = environ.pop("WATCHDOG_PID", ""), environ.pop("WATCHDOG_USEC", "")
        mine = pid in ("", str(os.getpid())) and microseconds.isdecimal()
        return cls(address if address.startswith(("/", "@")) else "", int(microseconds) / 1e6 if mine else 0.0)

    def ready(self) -> None:
        """The start, or a reload, is complete."""
        self._send("READY=1")

    def reloading(self) -> None:
        """The configuration is read again; `ready` ends this."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The end has begun."""
        self._send("STOPPING=1")

    def alive(self) -> None:
        """This process works; see `watchdog`."""
        self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """Say in one line what this process does; the same line again is not sent."""
        line = " ".join(text.split())[:MAX_STATUS]  # a line break would begin another message
        if line != self._status:
            self._status = line
            self._send(f"STATUS={line}")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
                channel.settimeout(PATIENCE)
                channel.connect(self._address)
                channel.send(message.encode(errors="replace"))
        except OSError as e:
            log.warning("the service manager did not take %s: %s", message.partition("\n")[0], e)
