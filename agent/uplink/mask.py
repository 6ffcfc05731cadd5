"""MAC addresses leave the building only as a keyed hash, unless the owner says otherwise.

The key is made at first use and stays in the mesh. So the sink can tell two devices apart and recognise one again, but
cannot compute its MAC address, and the ids of two buildings cannot be compared.
"""

from __future__ import annotations

import hmac
import re
import secrets
from base64 import b32encode
from pathlib import Path
from typing import Any

import msgspec

from agent.errors import IdentityError
from agent.files import write_private
from agent.model.event import Event
from agent.model.mac import MAC_IN_TEXT

KEY_SIZE = 32


def load_mask_key(path: Path) -> bytes:
    """The key in the file, which is made (0600) when it does not exist; raises IdentityError when the file holds no key."""
    if not path.exists():
        write_private(path, secrets.token_bytes(KEY_SIZE))
    key = path.read_bytes()
    if len(key) != KEY_SIZE:
        raise IdentityError(
            f"{path} is not a masking key", hint="remove the file; devices then get new ids at the sink"
        )
    return key


def masked(mac: str, key: bytes) -> str:
    """The id that stands for a MAC address, however it is written: `dev-` and 16 letters of base32 (80 bits)."""
    plain = re.sub(r"[^0-9a-f]", "", mac.lower())
    return "dev-" + b32encode(hmac.digest(key, plain.encode(), "sha256")[:10]).decode().lower()


def mask_device(data: dict[str, Any], key: bytes) -> dict[str, Any]:
    """A copy of an event's data in which `device.mac` became `device.id`, and every other MAC address its id."""
    data = dict(data)
    device = data.get("device")
    if isinstance(device, dict) and isinstance(device.get("mac"), str):
        device = {k: v for k, v in device.items() if k != "mac"} | {"id": masked(device["mac"], key)}
        data["device"] = device
    return {k: _walk(v, key) for k, v in data.items()}


def mask_event(event: Event, key: bytes) -> Event:
    """A copy of the event without any MAC address in its data or subject."""
    return msgspec.structs.replace(event, data=mask_device(event.data, key), subject=_walk(event.subject, key))


def has_mac(event: Event) -> bool:
    """Whether a MAC address is anywhere in the event's data or subject."""
    return MAC_IN_TEXT.search(msgspec.json.encode([event.subject, event.data]).decode()) is not None


def _walk(value: Any, key: bytes) -> Any:
    if isinstance(value, str):
        return MAC_IN_TEXT.sub(lambda m: masked(m[0], key), value)
    if isinstance(value, dict):
        return {_walk(k, key): _walk(v, key) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_walk(v, key) for v in value]
    return value
