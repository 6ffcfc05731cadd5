"""A machine with a real systemd as its first process, in a container of the running Docker engine.

systemd, its units, sandboxes, watchdogs and memory limits, journald and dbus are real. The kernel is this machine's, the disk
has this machine's size, and there are no hardware devices.

The container has its own network, which ends at this machine: programs in it reach a server here at `network.gateway`, and
nothing beyond it. It has its own cgroups, because systemd would take over this machine's otherwise. Docker mounts them
read-only without `--privileged`; the first process makes them writable.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import subprocess
import tarfile
import time
import uuid
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Self

from hil.standins.machine import Done, Failed

IMAGE = "edge/systemd:bookworm"
BASE = Path(__file__).resolve().parents[2] / "scripts" / "docker-base.sh"
READY = 60.0
"""Seconds until systemd has started its units, at most; it takes one."""
_FIRST = r"""
grep " /sys/fs/cgroup" /proc/self/mounts | while read -r _ at _; do mount -o remount,rw,bind "$at"; done
[ -s /etc/machine-id ] || dbus-uuidgen >/etc/machine-id
exec /lib/systemd/systemd
"""


def missing() -> str:
    """Why such a machine cannot be made here; empty where it can."""
    if shutil.which("docker") is None:
        return "no docker client is installed"
    if subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:
        return "no Docker engine answers"
    return ""


class Network:
    """A network of several machines. It ends at this host: `gateway` is the host's address in it."""

    def __init__(self, name: str = "") -> None:
        self.name = name or f"edge-systemd-{uuid.uuid4().hex[:8]}"
        _docker("network", "create", "--internal", self.name)
        (described,) = json.loads(_docker("network", "inspect", self.name))
        self.gateway: str = described["IPAM"]["Config"][0]["Gateway"]
        # Docker drops what leaves an internal network, and counts multicast, which mDNS needs, among it.
        bridge = f"br-{described['Id'][:12]}"
        self._rule = ["DOCKER-USER", "--in-interface", bridge, "--out-interface", bridge, "--jump", "ACCEPT"]
        try:
            self._iptables("--insert")
        except BaseException:
            _docker("network", "rm", self.name)
            raise

    def close(self) -> None:
        """Delete the network; its machines must be closed before."""
        self._iptables("--delete")
        _docker("network", "rm", self.name)

    def _iptables(self, verb: str) -> None:
        done = subprocess.run(["iptables", "--wait", verb, *self._rule], capture_output=True, text=True, check=False)
        if done.returncode:
            raise Failed(f"iptables {verb}: {done.stderr.strip()}")


class SystemdMachine:
    """A Debian 12 with systemd. See `Machine` for what it can do; it is also a context manager.

    `mounts` are folders or files of this machine by their path in the container, read-only; `binds` are the same, writable.
    `hostname` is the name of the machine. Without `network` a new network is made, and deleted with the machine.
    """

    def __init__(
        self,
        hostname: str = "box",
        *,
        network: Network | None = None,
        mounts: Mapping[str, Path] | None = None,
        binds: Mapping[str, Path] | None = None,
    ) -> None:
        made = subprocess.run([str(BASE), "systemd"], capture_output=True, text=True, check=False)
        if made.returncode:
            raise Failed(made.stdout + made.stderr)
        self._own_network = None if network else Network()
        self.network = network or self._own_network
        assert self.network is not None
        self.name = f"edge-systemd-{hostname}-{uuid.uuid4().hex[:8]}"
        volumes = [f"--volume={path}:{at}:ro" for at, path in (mounts or {}).items()]
        volumes += [f"--volume={path}:{at}" for at, path in (binds or {}).items()]
        try:
            _docker(
                *("run", "--detach", "--name", self.name, "--hostname", hostname, "--network", self.network.name),
                *("--cgroupns=private", "--cap-add=SYS_ADMIN", "--cap-add=NET_ADMIN", "--cap-add=SYS_PTRACE"),
                *("--security-opt=seccomp=unconfined", "--security-opt=apparmor=unconfined"),
                *("--tmpfs=/run:exec", "--tmpfs=/tmp:exec", "--env=container=docker", *volumes),
                *(IMAGE, "sh", "-c", _FIRST),
            )
            self._wait()
        except BaseException:
            self.close()
            raise

    def run(self, command: str | list[str], input: bytes = b"", *, timeout: float = 60.0, user: str = "root") -> Done:
        """See `Machine`; `user` runs it."""
        words = ["sh", "-c", command] if isinstance(command, str) else command
        done = subprocess.run(
            ["docker", "exec", "--interactive", "--user", user, self.name, *words],
            input=input,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
        return Done(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))

    def put(self, what: bytes | Path, to: str, *, mode: int = 0o644) -> None:
        """See `Machine`. The owner is root."""
        # docker cp does not reach what is mounted inside the container, /tmp among it.
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            if isinstance(what, Path):
                archive.add(what, PurePosixPath(to).name, filter=_of_root)
            else:
                entry = tarfile.TarInfo(PurePosixPath(to).name)
                entry.size, entry.mode, entry.mtime = len(what), mode, int(time.time())
                archive.addfile(entry, io.BytesIO(what))
        folder = str(PurePosixPath(to).parent)
        self.run(["mkdir", "-p", folder]).text()
        self.run(["tar", "-x", "-C", folder, "-f", "-"], packed.getvalue()).text()

    def get(self, path: str) -> bytes:
        """See `Machine`."""
        done = subprocess.run(["docker", "exec", self.name, "cat", path], capture_output=True, check=False)
        if done.returncode:
            raise Failed(done.stderr.decode(errors="replace"))
        return done.stdout

    @property
    def address(self) -> str:
        """The machine's address in its network."""
        (described,) = json.loads(_docker("container", "inspect", self.name))
        (network,) = described["NetworkSettings"]["Networks"].values()
        address: str = network["IPAddress"]
        return address

    def restart(self) -> None:
        """See `Machine`. /run and /tmp are empty afterwards."""
        _docker("kill", self.name)
        _docker("start", self.name)
        self._wait()

    def close(self) -> None:
        """See `Machine`."""
        with contextlib.suppress(Failed):
            _docker("rm", "--force", "--volumes", self.name)
        if self._own_network is not None:
            with contextlib.suppress(Failed):
                self._own_network.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _wait(self) -> None:
        """Until systemd has started its units. Before its bus is there, `--wait` ends at once."""
        end = time.monotonic() + READY
        while True:
            done = self.run(["systemctl", "is-system-running", "--wait"])
            if done.stdout.strip() in ("running", "degraded"):
                return
            if time.monotonic() > end:
                raise Failed(f"systemd does not start: {done.stdout}{done.stderr}{_docker('logs', self.name)}")
            time.sleep(0.05)


def _of_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    return entry


def _docker(*words: str) -> str:
    done = subprocess.run(["docker", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"docker {words[0]}: {done.stderr.strip()}")
    return done.stdout.strip()
