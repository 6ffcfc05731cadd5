"""Handing out the release that this node holds, and the lines that new devices use for it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
from collections.abc import Callable

from agent import ticks
from agent.config import Config
from agent.errors import CannotListen
from agent.handout import SCRIPT, is_complete
from agent.identity import Identity, node_context, spki
from agent.model.install_line import InstallLines, install_lines
from agent.node.configured import packages_folder

log = logging.getLogger(__name__)

LOOK_EVERY = 60.0
"""Seconds between looks for a release, and after a port that is in use."""
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:@SECLEVEL=0"
"""Busybox's TLS 1.2 names no signature algorithms, so that SHA-1 signs its handshake (RFC 5246, 7.4.1.4.1), which OpenSSL refuses
at higher levels. Such a device checks no certificate: it knows the script by the SHA-256 in its line.
"""


class HandingOut:
    """Serves the release in `packages` of the state folder, where it holds one; nothing is loaded for it before."""

    def __init__(self, config: Config, identity: Callable[[], Identity], addresses: Callable[[], list[str]]) -> None:
        """`addresses` gives `host:port` of this node's enrolment server, the best first."""
        self._config, self._identity, self._addresses = config, identity, addresses
        self._folder = packages_folder(config)

    async def run(self) -> None:
        """Serve until cancelled; a port in use is tried again, since nothing else of the node needs it."""
        while self._config.install.serve:
            if is_complete(self._folder):
                from agent.api import serve_install

                config, context = self._config, node_context(self._identity())
                context.set_ciphers(CIPHERS)
                try:
                    await serve_install(self._folder, config.mesh.listen, config.install.port, context)
                except CannotListen as e:
                    log.error("%s: %s", e.message, e.hint)
            await ticks.sleep(LOOK_EVERY)

    async def lines(self, token: str) -> InstallLines | None:
        """The lines for a new device with this token; None where this node hands out no release."""
        addresses = self._addresses()
        if not self._config.install.serve or not addresses or not is_complete(self._folder):
            return None
        script = await asyncio.to_thread((self._folder / SCRIPT).read_bytes)
        host = addresses[0].rpartition(":")[0]
        url = f"https://{host}:{self._config.install.port}/install"
        return install_lines(url, key_pin(self._identity()), hashlib.sha256(script).hexdigest(), token)


def key_pin(identity: Identity) -> str:
    """The pin of a node's key as `curl --pinnedpubkey` takes it after `sha256//`."""
    return base64.b64encode(hashlib.sha256(spki(identity.key.public_key())).digest()).decode()
