"""Answers to the challenges of HTTP and RTSP cameras: Basic (RFC 7617) and Digest (RFC 7616).

httpx knows neither SHA-512-256 nor `auth-int`, and cameras offer several challenges in one header or in several.
"""

from __future__ import annotations

import hashlib
import os
import re
from base64 import b64encode
from collections.abc import Iterable

import msgspec

from agent.cameras.session import failed
from agent.errors import CameraError

_HASHES = {"MD5": "md5", "SHA-256": "sha256", "SHA-512-256": "sha512_256", "SHA": "sha1", "SHA-512": "sha512"}
_ITEM = re.compile(r"""([\w!#$%&'*+.^`|~/-]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*)))?""")
_MAX_HEADER = 8192


class Challenge(msgspec.Struct, frozen=True):
    """One challenge: its scheme in lower case and its parameters with lower-case names."""

    scheme: str
    fields: dict[str, str] = {}

    @property
    def algorithm(self) -> str:
        """The hash in upper case, without `-SESS`."""
        return self.fields.get("algorithm", "MD5").upper().removesuffix("-SESS")

    @property
    def session(self) -> bool:
        """Whether the hash covers the nonces of the session."""
        return self.fields.get("algorithm", "").upper().endswith("-SESS")

    @property
    def quality(self) -> str:
        """The `qop` that is used: `auth`, else `auth-int`, else none (RFC 2069)."""
        offered = re.split(r"[\s,]+", self.fields.get("qop", "").lower())
        return next((q for q in ("auth", "auth-int") if q in offered), "")

    @property
    def stale(self) -> bool:
        """Whether only the nonce was too old."""
        return self.fields.get("stale", "").lower() == "true"

    @property
    def supported(self) -> bool:
        """Whether it can be answered here."""
        if self.scheme == "basic":
            return True
        known = self.algorithm in _HASHES and (not self.fields.get("qop") or self.quality)
        return self.scheme == "digest" and "nonce" in self.fields and bool(known)


def read_challenges(headers: Iterable[str]) -> list[Challenge]:
    """The challenges of all `WWW-Authenticate` headers, in their order."""
    found: list[Challenge] = []
    for header in headers:
        for match in _ITEM.finditer(header[:_MAX_HEADER]):
            name, quoted, bare = match.groups()
            if "=" not in match.group():
                found.append(Challenge(name.lower(), {}))
            elif found:
                found[-1].fields.setdefault(name.lower(), re.sub(r"\\(.)", r"\1", quoted or "") or bare or "")
    return found


def choose(challenges: Iterable[Challenge]) -> Challenge | None:
    """The first supported Digest challenge (the server lists them as it prefers), else Basic; None: no supported one."""
    usable = [c for c in challenges if c.supported]
    return next((c for c in usable if c.scheme == "digest"), usable[0] if usable else None)


class Login:
    """A user with a password, and the challenge that the camera gave last."""

    def __init__(self, user: str, password: str) -> None:
        self.user = user
        self._password = password
        self._challenge: Challenge | None = None
        self._count = 0

    def __bool__(self) -> bool:
        """Whether there is a user or a password."""
        return bool(self.user or self._password)

    @property
    def digest(self) -> str:
        """The hash of the challenge that is answered; empty for none and for Basic."""
        return self._challenge.algorithm if self._challenge is not None and self._challenge.scheme == "digest" else ""

    def take(self, challenge: Challenge) -> None:
        """Answer this challenge from now on."""
        self._challenge, self._count = challenge, 0

    def header(self, method: str, uri: str) -> str | None:
        """The value of `Authorization` for a request without a body; None before the first challenge."""
        c = self._challenge
        if c is None:
            return None
        if c.scheme == "basic":
            return "Basic " + b64encode(f"{self.user}:{self._password}".encode()).decode()
        self._count += 1
        return self._digest(c, method, uri, os.urandom(8).hex())

    def _digest(self, c: Challenge, method: str, uri: str, own: str) -> str:
        def digest(*parts: str) -> str:
            return hashlib.new(_HASHES[c.algorithm], ":".join(parts).encode(), usedforsecurity=False).hexdigest()

        realm, nonce, quality, count = c.fields.get("realm", ""), c.fields["nonce"], c.quality, f"{self._count:08x}"
        secret = digest(self.user, realm, self._password)
        if c.session:
            secret = digest(secret, nonce, own)
        asked = digest(method, uri, digest("")) if quality == "auth-int" else digest(method, uri)
        middle = [nonce, count, own, quality] if quality else [nonce]
        out = {"username": self.user, "realm": realm, "nonce": nonce, "uri": uri}
        out["response"] = digest(secret, *middle, asked)
        text = ", ".join(f"{k}={_quoted(v)}" for k, v in out.items())
        if "opaque" in c.fields:
            text += f", opaque={_quoted(c.fields['opaque'])}"
        if "algorithm" in c.fields:
            text += f", algorithm={c.fields['algorithm']}"
        if quality:
            text += f', qop={quality}, nc={count}, cnonce="{own}"'
        elif c.session:
            text += f', cnonce="{own}"'
        return "Digest " + text


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def login_error(status: str, challenges: list[Challenge], login: Login, url: str) -> CameraError:
    """Why a camera refuses the login; `status` like `HTTP 401`, `url` as it may be shown."""
    if not login:
        hint = "add it again with USER:PASSWORD@ before the host of its address: edge-agent camera add NAME - --replace"
        return failed(f"it asks for a user and a password ({status}) at {url}", "camera.password", hint)
    if challenges and choose(challenges) is None:
        asked = ", ".join(sorted({_described(c) for c in challenges}))
        return failed(f"it asks for a login by {asked}, which edge-agent does not know", "camera.authentication")
    return failed(f"it refuses the user {login.user!r} or the password ({status}) at {url}", "camera.password")


def _described(challenge: Challenge) -> str:
    if challenge.scheme != "digest":
        return challenge.scheme.title()[:40]
    return f"Digest {challenge.fields.get('algorithm', '')} {challenge.fields.get('qop', '')}".strip()[:80]
