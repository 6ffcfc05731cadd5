"""The lines that install the agent on a device. A node and the sink print them.

The first uses curl, which knows the server by the hash of its key. The second is for wget and uclient-fetch, which cannot do
that: it downloads to a file and runs the file only if its SHA-256 is the one in the line. A token goes into the environment of
the shell that runs the script. It is in no program's arguments; a shell's history keeps it like the rest of the line.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta


class InstallLines(msgspec.Struct, frozen=True):
    """The commands for a new device, for any POSIX shell."""

    curl: Annotated[str, Meta(description="the command for a device with curl")]
    wget: Annotated[str, Meta(description="the command for a device with wget or uclient-fetch")]


def install_lines(url: str, pin: str, script: str, token: str = "") -> InstallLines:
    """The lines for a server at `url` (`https://HOST:PORT/install`).

    `pin` is the base64 of the SHA-256 of the SubjectPublicKeyInfo of its key, `script` the SHA-256 of the script in hex.
    Without a token the script asks for one.
    """
    given = f"EDGE_AGENT_TOKEN={token} " if token else ""
    source = f"--from '{url}#sha256//{pin}'"
    return InstallLines(
        curl=f"curl -fsSk --pinnedpubkey 'sha256//{pin}' {url} | {given}sh -s -- {source}",
        wget=f'f=$(mktemp) && wget -q --no-check-certificate -O "$f" {url} && echo "{script}  $f" | sha256sum -c - && '
        f'{given}sh "$f" {source}; e=$?; rm -f "$f"; (exit $e)',
    )
