"""The inventory: the real devices of a test run, in TOML. `hil/inventory.example.toml` describes each key."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Literal

import msgspec

from agent.config import parse_duration
from agent.errors import ConfigError
from agent.model.labels import check_label

MAX_FILE = 1 << 20
"""Bytes of an inventory, at most."""
Role = Literal["operator", "access-point", "camera", "detector"]
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")
_HOST_KEY = re.compile(r"(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp\d{3}) [A-Za-z0-9+/=]{40,}\Z")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}\Z")
_EXAMPLE = "hil/inventory.example.toml describes each key"


class Power(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A switchable socket: commands of this machine that take a device's power away and give it back."""

    off: list[str]
    on: list[str]
    pause: str = "5s"


class Phone(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A real phone: its MAC, and commands of this machine that let it join and leave."""

    mac: str
    join: list[str]
    leave: list[str] = []


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One device, reached by SSH."""

    name: str
    host: str
    host_key: str
    user: str = "root"
    port: int = 22
    key: str = ""
    become: str = ""
    roles: list[Role] = []
    labels: dict[str, str] = {}
    variant: Literal["", "camera", "detector"] = ""
    power: Power | None = None

    @property
    def known_host(self) -> str:
        """Its line in a file of known hosts (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT)."""
        host = self.host if self.port == 22 else f"[{self.host}]:{self.port}"
        return f"{host} {self.host_key}\n"


class Inventory(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The devices of one run, the release to install, and what else there is.

    `desk` is this machine's address as the devices reach it: the sink of the test runs there.
    """

    device: list[Entry]
    release: str = "dist"
    soak: str = "0s"
    desk: str = ""
    phone: Phone | None = None

    @property
    def operator(self) -> Entry:
        """The device that makes the mesh."""
        return next(d for d in self.device if "operator" in d.roles)


def load(path: Path) -> Inventory:
    """The inventory in a file; raises ConfigError that names the file, the device and the mistake."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read the inventory {path}: {error.strerror}", hint=_EXAMPLE) from None
    if len(data) > MAX_FILE:
        raise ConfigError(f"the inventory {path} has more than {MAX_FILE} bytes", hint=_EXAMPLE)
    try:
        content = tomllib.loads(data.decode())
        found = msgspec.convert(content, Inventory)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"the inventory {path} is not TOML: {error}", hint=_EXAMPLE) from None
    except msgspec.ValidationError as error:
        raise ConfigError(f"the inventory {path} is wrong: {_with_name(str(error), content)}", hint=_EXAMPLE) from None
    for fault in _faults(found):
        raise ConfigError(f"the inventory {path} is wrong: {fault}", hint=_EXAMPLE)
    return found


def _with_name(said: str, content: dict[str, object]) -> str:
    """msgspec's message, with the name of the device where it gives a number."""
    at = re.search(r"\$\.device\[(\d+)\]", said)
    devices = content.get("device")
    if at and isinstance(devices, list):
        entry = devices[int(at[1])]
        if isinstance(entry, dict) and isinstance(entry.get("name"), str):
            return f"device {entry['name']}: {said}"
    return said


def _faults(found: Inventory) -> list[str]:
    """Mistakes that the types do not show, in words."""
    faults: list[str] = []
    if not found.device:
        faults.append("it has no [[device]]")
    names = [d.name for d in found.device]
    faults += [f"two devices have the name {n}" for n in dict.fromkeys(names) if names.count(n) > 1]
    operators = [d.name for d in found.device if "operator" in d.roles]
    if len(operators) != 1:
        faults.append(f"one device must have the role operator, and {len(operators)} have it")
    for device in found.device:
        faults += [f"device {device.name}: {fault}" for fault in _faults_of(device)]
    faults += _bad_duration("soak", found.soak)
    if found.phone is not None:
        if not _MAC.match(found.phone.mac):
            faults.append("phone: mac is not an address like 02:00:00:aa:bb:cc, in small letters")
        if not found.phone.join:
            faults.append("phone: join is an empty command")
    return faults


def _faults_of(device: Entry) -> list[str]:
    faults = []
    if not _NAME.match(device.name):
        faults.append("name is not a node's name: small letters, digits and '-'")
    if not device.host or device.host.startswith("-") or any(c.isspace() for c in device.host):
        faults.append("host is not a host's name or address")
    if not device.user or device.user.startswith("-") or any(c.isspace() for c in device.user):
        faults.append("user is not a user's name")
    if not 0 < device.port < 1 << 16:
        faults.append("port is not between 1 and 65535")
    if not _HOST_KEY.match(device.host_key):
        faults.append("host_key is not a public key like `ssh-ed25519 AAAA…` (ssh-keyscan shows it)")
    if device.key and not Path(device.key).expanduser().is_file():
        faults.append(f"there is no key {device.key}")
    for key, value in device.labels.items():
        try:
            check_label(key, value)
        except ConfigError as error:
            faults.append(error.message)
    if device.power is not None:
        if not device.power.off or not device.power.on:
            faults.append("power needs the commands off and on")
        faults += _bad_duration("power.pause", device.power.pause)
    return faults


def _bad_duration(what: str, text: str) -> list[str]:
    try:
        parse_duration(text)
    except ConfigError as error:
        return [f"{what}: {error.message}"]
    return []
