"""Failed TLS handshakes: the reason why an address cannot be linked, and counts of refused connections.

zenoh does TLS itself and reports failed handshakes only in its log, which it writes to standard output: one line
for each, without a name or an address. `watch_handshakes` takes that log and leaves
everything else on standard output as it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import ssl
import sys
import threading
from collections import Counter

import zenoh

from agent.identity import Identity
from agent.mesh.addresses import split_address

logger = logging.getLogger(__name__)

TIMEOUT = 5.0
FILTER = "off,zenoh_link_tls::unicast=warn"
_COLOUR = re.compile(rb"\x1b\[[0-9;]*m")
_FAILED = re.compile(rb"zenoh_link_tls::unicast: (.+)")
_REASONS = (
    (b"no certificates", "a connection without a certificate"),
    (b"corrupt message", "a connection that does not speak TLS"),
    (b"UnknownCA", "a connection of another mesh's node: it does not accept this mesh's certificate"),
    (b"UnknownIssuer", "a connection with a certificate of another mesh"),
    (b"BadSignature", "a connection with a certificate of another mesh"),
    (b"Expired", "a connection with an expired certificate"),
)
"""Messages of rustls and their meaning. A handshake that ends without a message is a member's probe of an address."""
_once = threading.Lock()
counts: Counter[str] = Counter()
"""Refused handshakes of this process by reason."""


async def why_not(address: str, identity: Identity) -> str:
    """The reason why this address cannot be a member of this mesh; empty where its certificate is of this mesh."""
    host, port = split_address(address)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=identity.ca_pem.decode())
    try:
        async with asyncio.timeout(TIMEOUT):
            _, writer = await asyncio.open_connection(host, port, ssl=context)
        writer.transport.abort()
    except ssl.SSLCertVerificationError:
        return "it is a node of another mesh"
    except ssl.SSLError:
        return "it is not a node of a mesh: it does not speak TLS"
    except (OSError, TimeoutError) as error:
        return f"it cannot be reached ({getattr(error, 'strerror', None) or 'no answer in time'})"
    return ""


def watch_handshakes() -> None:
    """Log each kind of refused handshake once and count them. For the start of a process: takes over descriptor 1."""
    if sys.__stdout__ is None or not _once.acquire(blocking=False):
        return
    sys.stdout.flush()
    kept = os.dup(1)
    reading, writing = os.pipe()
    os.dup2(writing, 1)
    os.close(writing)
    sys.stdout = os.fdopen(kept, "w", encoding=sys.stdout.encoding, errors="replace", buffering=1)
    threading.Thread(target=_read, args=(reading, kept), name="handshakes", daemon=True).start()
    zenoh.init_log_from_env_or(FILTER)


def _read(reading: int, kept: int) -> None:
    with os.fdopen(reading, "rb") as lines:
        for line in lines:
            if (found := _FAILED.search(_COLOUR.sub(b"", line))) is None:
                with contextlib.suppress(OSError):  # standard output is closed; zenoh must still get its lines read
                    os.write(kept, line)
            elif reason := reason_of(found[1]):
                counts[reason] += 1
                if counts[reason] == 1:
                    logger.warning("mesh: refused %s", reason)


def reason_of(text: bytes) -> str:
    """The meaning of a line of zenoh's log about a handshake; empty for other lines."""
    return next((reason for word, reason in _REASONS if word in text), "")
