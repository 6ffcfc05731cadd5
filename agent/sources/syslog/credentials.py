"""The certificate of a `tls://` receiver: the user's files, else the node's own."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from agent.errors import ConfigError, in_words
from agent.identity import Identity, node_context

logger = logging.getLogger(__name__)


class Files(NamedTuple):
    """PEM files as written in a source: all may be empty. `client_ca` demands a certificate of the sender."""

    certificate: str = ""
    key: str = ""
    client_ca: str = ""


class Credentials:
    """Makes the TLS of a receiver, again when a file or the node's certificate has changed."""

    def __init__(self, files: Files, identity: Callable[[], Identity] | None) -> None:
        self._files, self._identity = files, identity
        self._made: ssl.SSLContext | None = None
        self._made_of: Any = None

    def context(self) -> ssl.SSLContext:
        """The TLS for a new connection. Raises ConfigError at first; later the last good one stays in use."""
        try:
            made_of: list[Any] = [self._identity() if self._identity and not self._files.certificate else None]
            made_of += [Path(name).stat().st_mtime_ns for name in self._files if name]
            if self._made is None or made_of != self._made_of:
                self._made, self._made_of = self._make(made_of[0]), made_of
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            if self._made is None:
                names = ", ".join(name for name in self._files if name) or "the node's certificate"
                raise ConfigError(
                    f"{names} cannot be used for TLS: {in_words(error, file=True)}",
                    hint="certificate, key and client_ca are PEM files that the agent may read; the key has no password",
                ) from None
            logger.warning("the last certificate stays in use: %s", error)
        return self._made

    def _make(self, identity: Identity | None) -> ssl.SSLContext:
        files = self._files
        if files.certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(files.certificate, files.key, password=lambda: "")
        elif identity is not None:
            context = node_context(identity)
        else:
            raise ValueError("this program is no node of a mesh")
        if files.client_ca:
            context.load_verify_locations(files.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context
