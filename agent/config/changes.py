"""The differences of two configurations."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec

from agent.config.keys import keys, value_of
from agent.config.schema import Config


def changed_keys(old: Config, new: Config) -> list[str]:
    """The dotted keys whose values differ, in the order of docs/configuration.md."""
    return [key for key in keys() if value_of(old, key) != value_of(new, key)]


def with_keys(old: Config, new: Config, chosen: Collection[str]) -> Config:
    """`old` with the values and origins that `new` has for the chosen keys."""
    changes: dict[str, Any] = {}
    for key in chosen:
        section, _, leaf = key.rpartition(".")
        if section:
            held = changes.get(section, getattr(old, section))
            changes[section] = msgspec.structs.replace(held, **{leaf: value_of(new, key)})
        else:
            changes[leaf] = value_of(new, key)
    origins = {k: v for k, v in old.origins.items() if k not in chosen}
    origins |= {k: v for k, v in new.origins.items() if k in chosen}
    return msgspec.structs.replace(old, **changes, origins=origins)
