"""Commands and files on a device, through OpenSSH's client. Real devices and stand-ins are reached by the same code."""

from __future__ import annotations

import io
import shlex
import subprocess
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from hil.standins.errors import DeviceError, Unreachable
from hil.standins.machine import Done, Failed

NO_CONNECTION = 255
"""The exit code of ssh where the connection fails (ssh(1))."""
INSTEAD = 254
"""The exit code that is reported for a command that exits with NO_CONNECTION; one that a signal kills gives 128 + its number."""
CONNECT = 10
"""Seconds for one attempt to connect."""
TRANSFER = 600.0
"""Seconds that a file may take."""
AGAIN = 0.25
"""Seconds between two attempts while a device starts."""


@dataclass(frozen=True)
class Ssh:
    """How a device is reached. `inside` is a prefix that runs the client elsewhere, such as in a network namespace.

    `known_hosts` holds the device's host key. Where it has none yet, the first key is accepted and kept, unless `pinned`.
    `become` is a prefix for commands that need root, such as `sudo -n`. Without `key` the user's own keys and agent serve.
    """

    host: str
    known_hosts: Path
    key: Path | None = None
    user: str = "root"
    port: int = 22
    pinned: bool = False
    become: str = ""
    inside: tuple[str, ...] = ()

    def command(self, *words: str) -> list[str]:
        """The command line of the client; secrets belong into stdin, never here."""
        options = {
            "BatchMode": "yes",
            "ConnectTimeout": str(CONNECT),
            "LogLevel": "ERROR",
            "ServerAliveCountMax": "3",
            "ServerAliveInterval": "10",
            "StrictHostKeyChecking": "yes" if self.pinned else "accept-new",
            "UserKnownHostsFile": str(self.known_hosts),
        }
        key = [] if self.key is None else ["-o", "IdentitiesOnly=yes", "-i", str(self.key)]
        given = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        target = ["-p", str(self.port), f"{self.user}@{self.host}"]
        return [*self.inside, "ssh", "-F", "/dev/null", *given, *key, *target, *words]

    def run_bytes(self, command: str | list[str], input: bytes, timeout: float) -> tuple[int, bytes, str]:
        """Exit code, stdout and stderr of a command; raises Unreachable and subprocess.TimeoutExpired."""
        line = command if isinstance(command, str) else shlex.join(command)
        line = f"(\n{line}\n)\ncode=$?; [ $code -ne {NO_CONNECTION} ] || code={INSTEAD}; exit $code"
        if self.become:
            line = f"{self.become} sh -c {shlex.quote(line)}"
        try:
            done = subprocess.run(self.command(line), input=input, capture_output=True, check=False, timeout=timeout)
        except OSError as error:
            raise DeviceError(f"cannot start ssh: {error.strerror}; install openssh-client") from None
        said = done.stderr.decode(errors="replace")
        if done.returncode == NO_CONNECTION:
            raise Unreachable(f"{self.user}@{self.host} port {self.port} cannot be reached: {said.strip()[-500:]}")
        return done.returncode, done.stdout, said

    def run(self, command: str | list[str], input: bytes = b"", *, timeout: float = 60.0) -> Done:
        """See `Machine`; raises Unreachable where the device does not answer."""
        code, out, said = self.run_bytes(command, input, timeout)
        return Done(code, out.decode(errors="replace"), said)

    def put(self, what: bytes | Path, to: str, *, mode: int = 0o644) -> None:
        """See `Machine`. busybox has no sftp server: a file goes through `cat`, a folder through `tar`."""
        place, folder = shlex.quote(to), shlex.quote(str(PurePosixPath(to).parent))
        if isinstance(what, Path) and what.is_dir():
            packed = io.BytesIO()
            with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as archive:
                archive.add(what, ".")
            line = f"mkdir -p {place} && tar -xzf - -C {place}"
            self.run(line, packed.getvalue(), timeout=TRANSFER).text()
            return
        data = what.read_bytes() if isinstance(what, Path) else what
        line = f"mkdir -p {folder} && umask 077 && cat >{place} && chmod {mode:o} {place}"
        self.run(line, data, timeout=TRANSFER).text()

    def get(self, path: str) -> bytes:
        """See `Machine`."""
        code, out, said = self.run_bytes(f"cat {shlex.quote(path)}", b"", TRANSFER)
        if code:
            raise Failed(said)
        return out

    def wait(self, timeout: float) -> float:
        """Wait until a command runs on the device; the seconds that it took. Raises Unreachable."""
        began = time.monotonic()
        while True:
            try:
                self.run("true", timeout=CONNECT * 3.0)
                return time.monotonic() - began
            except (Unreachable, subprocess.TimeoutExpired) as error:
                if time.monotonic() - began > timeout:
                    raise Unreachable(f"{self.host} answers no SSH after {timeout:.0f} s: {error}") from None
            time.sleep(AGAIN)
