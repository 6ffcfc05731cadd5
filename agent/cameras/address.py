"""The check of a camera's address for characters that its login may not hold as they are (RFC 3986, section 3.2.1)."""

from __future__ import annotations

import re
from urllib.parse import quote

from agent.errors import ConfigError

_ALLOWED = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*\Z")
_KEPT = "-._~!$&'()*+,;="
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+(?:%[\w.-]+)?\]|[\w.-]+)(:\d{1,5})?(?=[/?#]|\Z)")


def check_login(source: str) -> None:
    """Raise ConfigError where user or password of an address need percent-encoding; the message shows how, not what."""
    scheme, found, rest = source.strip().partition("://")
    login, at = _split_login(rest) if found else ("", -1)
    if at < 0:
        return
    user, _, password = login.partition(":")
    if _ALLOWED.match(user) and _ALLOWED.match(password.replace(":", "")):
        return
    odd = sorted({c for c in re.sub(r"%[0-9A-Fa-f]{2}", "", login) if not _ALLOWED.match(c) and c != ":"})
    shown = ", ".join(f"{'a space' if c == ' ' else c} as {_encoded(c)}" for c in odd)
    hidden = f"{scheme}://{_encoded(user)}{':***' if password else ''}@{rest[at + 1 :].partition('/')[0].partition('?')[0]}/…"
    raise ConfigError(
        f"user or password of the address have characters that an address cannot hold: {' '.join(odd)}",
        hint=f"write {shown}: {hidden}",
        code="camera.address",
    )


def _split_login(rest: str) -> tuple[str, int]:
    """User and password of an address without its scheme, and where their @ is; -1 where there is none.

    A password may hold a slash or another @: the last @ that a host follows ends it. An address like `10.0.0.7/name@2` has
    no login.
    """
    hosts = {m.start(): _HOST.match(rest, m.start() + 1) for m in re.finditer("@", rest)}
    ends = [at for at, host in hosts.items() if host]
    certain = [at for at, host in hosts.items() if host and _certain(host[1], bool(host[2]))]
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    host, colon, port = authority.rpartition("@")[2].partition(":")
    if _certain(host, port.isdigit() and "@" in authority):
        return authority.rpartition("@")[0], authority.rfind("@")
    if colon and not port.isdigit() and ends:
        return rest[: ends[-1]], ends[-1]
    if ("@" in authority or port) and certain and "?" not in rest[: certain[-1]]:
        return rest[: certain[-1]], certain[-1]
    return authority.rpartition("@")[0], authority.rfind("@")


def _certain(host: str, port: bool) -> bool:
    """Whether it is a host rather than a piece of a password."""
    return port or "." in host or host.startswith("[") or host == "localhost"


def _encoded(text: str) -> str:
    return quote(text, safe=_KEPT)
