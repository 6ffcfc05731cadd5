"""Reading the configuration again while the node runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from agent.config import Config, changed_keys, with_keys
from agent.errors import ConfigError, EdgeError, in_words
from agent.health import setup_logging
from agent.mesh import parse_address
from agent.model.health import Warning
from agent.model.labels import RESERVED
from agent.node.node import Node
from agent.service_manager import ServiceManager

log = logging.getLogger(__name__)

RUNNING = frozenset({"api.operators", "labels", "log.format", "log.level", "mesh.join", "sources.tail"})
"""The keys that change while the node runs; all others wait for the next start."""
Reread = Callable[[], Config]
"""Reads the configuration as the start did, from the file, the environment and the options; raises EdgeError."""


class Reload:
    """Applies the changes of the configuration to a running node. A configuration with a fault changes nothing."""

    def __init__(self, node: Node, reread: Reread, manager: ServiceManager) -> None:
        self._node, self._reread, self._manager = node, reread, manager

    async def run(self, asked: asyncio.Event) -> None:
        """Read it each time when `asked` is set, until cancelled."""
        while True:
            await asked.wait()
            asked.clear()
            self._manager.reloading()
            try:
                await self.now()
            finally:
                self._manager.ready()

    async def now(self) -> bool:
        """Read it and apply what changed; returns whether it could be read. A fault becomes a warning."""
        health, old = self._node.health, self._node.api.config.values
        try:
            new = await asyncio.to_thread(self._reread)
            for address in new.mesh.join:
                parse_address(address, new.mesh.port)
        except (EdgeError, OSError) as e:
            fault = e if isinstance(e, EdgeError) else ConfigError(f"the configuration cannot be read: {in_words(e)}")
            log.error("the configuration stays as it was: %s", fault.message)
            remedy = f"{fault.hint}; then reload the agent" if fault.hint else "correct it, then reload the agent"
            text = f"the new configuration is not used: {fault.message}"
            health.set(Warning("config.invalid", self._node.config.name, text, remedy, "error"))
            return False
        health.clear("config.invalid")
        changed = changed_keys(old, new)
        now = [key for key in changed if key in RUNNING]
        later = [key for key in changed if key not in RUNNING]
        self._apply(old, with_keys(old, new, now), now)
        if later:
            text = f"restart to apply {', '.join(later)}"
            log.warning("the configuration was read again: %s", text)
            health.set(Warning("config.restart", self._node.config.name, text, "systemctl restart edge-agent"))
        else:
            health.clear("config.restart")
        log.info("the configuration was read again; changed: %s", ", ".join(now) or "nothing")
        return True

    def _apply(self, old: Config, new: Config, keys: list[str]) -> None:
        node = self._node
        node.api.config.values = new
        if {"log.format", "log.level"} & set(keys):
            setup_logging(new.log)
        if "sources.tail" in keys:
            node.delivery.engine.steps.parts.logs.auto = new.sources.tail
            node.changed.send()
        if "labels" in keys:
            self._change_labels(old.labels, new.labels)
        for address in set(new.mesh.join) - set(old.mesh.join):
            node.mesh.add_endpoint(address)

    def _change_labels(self, old: dict[str, str], new: dict[str, str]) -> None:
        """Ask for the new labels. Signed labels stay until an operator drops them."""
        me = self._node.mesh.me.name
        for key in old.keys() - new.keys():
            if self._node.wanted.pop(key, None) is not None:
                log.info("label %s is no longer asked for; on an operator: edge-agent node label %s %s-", key, me, key)
        self._node.wanted.update({k: v for k, v in new.items() if old.get(k) != v and k not in RESERVED})
