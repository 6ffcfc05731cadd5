"""The part that all stand-ins reached by SSH share: a work folder, a key made for the run, and the life of one device."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from hil.standins.errors import DeviceError
from hil.standins.machine import Done
from hil.standins.network import FOLDER, Lan
from hil.standins.ssh import Ssh


class StandIn:
    """One device on a Lan, reached by a real SSH server with a key of this run.

    `start` switches it on; `cut` takes its power away, in the middle of its work; `restart` is both; `close` leaves
    nothing behind. `kind` and `arch` are for the report.
    """

    kind = "emulated"
    arch = ""
    booting = 60.0
    """Seconds that it may take from power-on to SSH."""

    def __init__(self, lan: Lan, name: str) -> None:
        self.lan, self.name = lan, name
        self.number = lan.number()
        self.address = lan.address(self.number)
        self.folder = Path(tempfile.mkdtemp(prefix=f"{FOLDER}{os.getpid()}-{name}-"))
        self.log = self.folder / "console.log"
        key = self.folder / "key"
        try:
            made = subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", key], capture_output=True, check=False
            )
        except FileNotFoundError:
            raise DeviceError("ssh-keygen is missing; install openssh-client") from None
        if made.returncode:
            raise DeviceError(f"ssh-keygen failed: {made.stderr.decode(errors='replace').strip()}")
        self.public = key.with_suffix(".pub").read_text().split()[1]
        self.ssh = Ssh(self.address, self.folder / "known_hosts", key, inside=lan.inside)

    @property
    def facts(self) -> str:
        """The facts that its start scripts need, in the form of a kernel's command line."""
        return f"standin.name={self.name} standin.key={self.public}"

    def power(self) -> None:
        """Switch it on, and return at once."""
        raise NotImplementedError

    def cut(self) -> None:
        """Take its power away: unwritten data is lost."""
        raise NotImplementedError

    def words(self) -> str:
        """The end of its console, for errors."""
        return self.log.read_text(errors="replace")[-4000:] if self.log.exists() else ""

    def start(self) -> float:
        """Switch it on and wait for SSH; the seconds that it took. Raises DeviceError with its console's last words."""
        self.power()
        try:
            return self.ssh.wait(self.booting)
        except DeviceError as error:
            raise DeviceError(f"{self.name} did not start: {error}\n{self.words()}") from None

    def restart(self) -> None:
        """See `Machine`."""
        self.cut()
        self.start()

    def run(self, command: str | list[str], input: bytes = b"", *, timeout: float = 60.0) -> Done:
        """See `Machine`."""
        return self.ssh.run(command, input, timeout=timeout)

    def put(self, what: bytes | Path, to: str, *, mode: int = 0o644) -> None:
        """See `Machine`."""
        self.ssh.put(what, to, mode=mode)

    def get(self, path: str) -> bytes:
        """See `Machine`."""
        return self.ssh.get(path)

    def close(self) -> None:
        """See `Machine`. May be called twice."""
        self.cut()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
