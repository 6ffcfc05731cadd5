"""The one error tree: every error has a code, a message and a hint that says what to do next.

The CLI prints all three, the local API returns them as JSON, logs carry the code. The tree is shallow on
purpose: callers branch on a class only where they can do something different.
"""

from __future__ import annotations

import errno
import os
import re
from typing import Any


class EdgeError(Exception):
    """Base of all errors that a user may see.

    `code` is stable and documented in `docs/errors.md`; `hint` says what to do; `fields` are details for `--json`.
    `exit_code` is what the CLI exits with.
    """

    code = "internal"
    exit_code = 1

    def __init__(self, message: str, *, hint: str = "", code: str | None = None, **fields: Any) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if code is not None:
            self.code = code
        self.fields = fields

    def to_dict(self) -> dict[str, Any]:
        """The error as the API and `--json` show it."""
        return {"code": self.code, "message": self.message, "hint": self.hint, **self.fields}


class ConfigError(EdgeError):
    """A configuration file, an option or an argument is wrong; `fields` has file, line and key where known."""

    code = "config"
    exit_code = 2


class CannotListen(ConfigError):
    """A port or a socket is not available, so that a service cannot start; a person has to free it or name another."""


class IdentityError(EdgeError):
    """A key, certificate, token or signature is missing, damaged, foreign or expired."""

    code = "identity"
    exit_code = 3


class JoinRefused(IdentityError):
    """The mesh did not let this node in; the code says why (`join.expired`, `join.used`, `join.foreign`, …)."""

    code = "join.refused"


class Unreachable(EdgeError):
    """A node, the sink or a daemon could not be reached in time. Uses up no attempt."""

    code = "unreachable"
    exit_code = 4


class Refused(EdgeError):
    """The other side understood the request and refused it, naming the rule (full queue, policy, not allowed, limits)."""

    code = "refused"
    exit_code = 5


class PipelineError(EdgeError):
    """A pipeline file is wrong; `fields` has line, column, step and key."""

    code = "pipeline"
    exit_code = 2


class StepFailed(EdgeError):
    """A step did not answer an event properly. `final` errors came from the program itself and are not retried."""

    code = "step.failed"

    def __init__(
        self, message: str, *, final: bool = False, hint: str = "", code: str | None = None, **fields: Any
    ) -> None:
        super().__init__(message, hint=hint, code=code, **fields)
        self.final = final


class CameraError(EdgeError):
    """A camera is absent, silent, or gives no pictures."""

    code = "camera"


class BlobError(EdgeError):
    """A blob is missing, does not match its CID, or does not fit the quota."""

    code = "blob"


class SinkError(EdgeError):
    """The sink refused, or its certificate is not the pinned certificate."""

    code = "sink"
    exit_code = 4


class NotFound(EdgeError):
    """The named thing does not exist; the hint lists near names."""

    code = "not-found"
    exit_code = 6


_ASYNCIO = re.compile(r"\[Errno (\d+)\] Connect call failed")


def in_words(error: BaseException, *, file: bool = False) -> str:
    """An error as a user reads it: what the system says, without its number and asyncio's words; with `file` its file too."""
    if isinstance(error, OSError):
        if error.errno and "Connect call failed" in (error.strerror or ""):
            return os.strerror(error.errno)
        if numbers := dict.fromkeys(_ASYNCIO.findall(str(error))):  # asyncio tried several addresses of a name
            return ", ".join(os.strerror(int(n)) for n in numbers)
    nothing = "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__
    words = getattr(error, "strerror", None) or str(error) or nothing
    name = getattr(error, "filename", None)
    return f"{os.fsdecode(name)}: {words}" if file and isinstance(name, (str, bytes)) else words


def listen_hint(number: int, port: str, address: str) -> str:
    """The remedy where listening fails with this errno; `port` and `address` name the settings."""
    if number == errno.EADDRINUSE:
        return f"another program listens there: stop it, or set another {port}"
    if number in (errno.EACCES, errno.EPERM):
        return f"ports below 1024 need root or the capability CAP_NET_BIND_SERVICE: set another {port}"
    if number == errno.EADDRNOTAVAIL:
        return f"no interface of this machine has this address: check {address}"
    return f"check {address} and {port}"
