"""Addresses of sinks: `https://HOST[:PORT]#sha256=HEX`, or `mqtts://[USER@]BROKER[:PORT]#sha256=HEX` by way of a broker.

The pin is the SHA-256 of the DER certificate that the sink (or the broker) shows, as lower-case hex: a bare IP address
works and no authority has to be trusted. Plain `mqtt://` has no pin: alerts and answers are authenticated end to
end with the sink's key, but everybody on the way can read them. Use it for brokers on the same machine or a private
line.
"""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

import msgspec

from agent.errors import ConfigError

_PORTS = {"https": 443, "mqtt": 1883, "mqtts": 8883}
_HINT = "copy the whole line that `edge-sink serve` printed: https://HOST:PORT#sha256=…"


class SinkAddress(msgspec.Struct, frozen=True):
    """A checked address; `pin` is empty only for plain MQTT."""

    scheme: str
    host: str
    port: int
    pin: str = ""
    user: str = ""

    @property
    def url(self) -> str:
        """The address without the pin and without the user, as logs and `status` show it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @property
    def line(self) -> str:
        """The address with everything, as `parse_address` reads it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        user = f"{self.user}@" if self.user else ""
        return f"{self.scheme}://{user}{host}:{self.port}" + (f"#sha256={self.pin}" if self.pin else "")


def parse_address(text: str) -> SinkAddress:
    """The address in `text`; raises ConfigError saying which part is wrong. A password in it is refused."""
    try:
        parts = urlsplit(text.strip())
        host, port = parts.hostname, parts.port
    except ValueError as e:
        raise ConfigError(f"{text!r} is not an address of a sink: {e}", hint=_HINT) from e
    if parts.scheme not in _PORTS or not host:
        raise ConfigError(f"{text!r} is not an address of a sink", hint=_HINT)
    if parts.password is not None:
        raise ConfigError(
            "the address must not contain a password", hint="the command asks for it, or reads it from a file"
        )
    if parts.path.strip("/") or parts.query:
        raise ConfigError(f"{text!r}: only the pin may follow the port", hint=_HINT)
    if parts.username and parts.scheme == "https":
        raise ConfigError("https takes a key, not a user", hint=_HINT)
    return SinkAddress(
        parts.scheme,
        host,
        port or _PORTS[parts.scheme],
        _pin(parts.fragment, parts.scheme),
        unquote(parts.username or ""),
    )


def _pin(fragment: str, scheme: str) -> str:
    pin = fragment.removeprefix("sha256=").replace(":", "").lower()
    if not fragment:
        if scheme == "mqtt":
            return ""
        raise ConfigError("the certificate's pin is missing", hint=_HINT)
    if not fragment.startswith("sha256=") or not re.fullmatch(r"[0-9a-f]{64}", pin):
        raise ConfigError("the pin is not sha256= and 64 hex digits", hint=_HINT)
    if scheme == "mqtt":
        raise ConfigError("plain mqtt has no certificate to pin", hint="use mqtts://, or leave the pin out")
    return pin
