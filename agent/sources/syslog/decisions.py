"""The decisions of operators about networks that send logs: one signed document for each network."""

from __future__ import annotations

import ipaddress

import msgspec

from agent.errors import ConfigError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class SenderRule(msgspec.Struct, omit_defaults=True):
    """The body of a document of kind `sender`, whose name is `rule_name` of its network."""

    allow: bool = False


def rule_name(about: Network) -> str:
    """The name of the document about a network: a slash cannot be in it."""
    return f"net-{about.network_address}-{about.prefixlen}"


def network(text: str) -> Network:
    """The network of a text; raises ConfigError."""
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise ConfigError(
            f"not an address or network: {error}", hint="write it like 192.168.1.7 or 192.168.1.0/24"
        ) from error


class Decisions:
    """The networks that operators allowed or denied. The receivers of a node share one."""

    def __init__(self) -> None:
        self.version = 0
        """Changes with each decision."""
        self._networks: dict[Network, bool] = {}

    def decide(self, about: Network, allowed: bool | None) -> None:
        """Allow or deny a network; None takes the decision back."""
        self.version += 1
        if allowed is None:
            self._networks.pop(about, None)
        else:
            self._networks[about] = allowed

    def apply(self, name: str, body: bytes | None) -> None:
        """Apply a document, None: its removal. Raises msgspec.MsgspecError where it is not readable."""
        try:
            about = ipaddress.ip_network("/".join(name.removeprefix("net-").rsplit("-", 1)))
        except ValueError as error:
            raise msgspec.ValidationError(str(error)) from None
        self.decide(about, None if body is None else msgspec.json.decode(body, type=SenderRule).allow)

    def about(self, address: Address) -> tuple[int, bool] | None:
        """The decision about the smallest network with this address, after the length of its prefix."""
        found = [(n.prefixlen, allowed) for n, allowed in self._networks.items() if address in n]
        return max(found, key=lambda f: f[0]) if found else None
