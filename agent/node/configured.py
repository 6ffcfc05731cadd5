"""Files and interfaces that follow from the configuration."""

from __future__ import annotations

from pathlib import Path

import psutil

from agent.config import Config


def cameras_file(config: Config) -> Path:
    """The file of this node's cameras."""
    return config.state / "cameras.yaml" if config.cameras_file == Path() else config.cameras_file


def journal_file(config: Config) -> Path:
    """The journal's database."""
    return (config.volatile_folder if config.journal.dir == Path() else config.journal.dir) / "journal.db"


def packages_folder(config: Config) -> Path:
    """The folder of the release that this node hands out."""
    return config.state / "packages"


def logs_folder(config: Config) -> Path:
    """The folder of the logs of steps, beside the journal."""
    return journal_file(config).parent / "logs"


def mdns_interfaces(config: Config) -> list[str] | None:
    """The interfaces that have the listen address; None for all of them."""
    if config.mesh.listen in ("0.0.0.0", "::"):  # noqa: S104
        return None
    found = [
        name for name, addresses in psutil.net_if_addrs().items() for a in addresses if a.address == config.mesh.listen
    ]
    return found or None
