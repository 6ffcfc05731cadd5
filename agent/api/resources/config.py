"""The configuration in force."""

from __future__ import annotations

from agent.api import results
from agent.config import Config, blob_quota, show_config


class Configuration:
    """The values in force: those that this node was started with, and changes that it has applied since."""

    def __init__(self, values: Config) -> None:
        self.values = values

    async def all(self) -> list[results.ConfigValue]:
        """Every key with its value and origin."""
        return [results.ConfigValue(**row) for row in show_config(self.values)]

    def largest_blob(self) -> int:
        """The quota of blobs in bytes."""
        return blob_quota(self.values.blobs.quota, self.values.volatile_folder)
