"""The configuration's keys as a flat table of dotted names, made from the structs."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import msgspec

from agent.config.schema import Config
from agent.config.units import format_duration, format_size

HIDDEN = frozenset({"origins"})


class Key(msgspec.Struct, frozen=True):
    """One leaf. `name` is dotted; `unit` is `duration`, `size` or empty."""

    name: str
    type: Any
    unit: str
    default: Any
    description: str

    @property
    def environment(self) -> str:
        """The environment variable that sets it."""
        return ENVIRONMENT_ALIASES.get(self.name, "EDGE_AGENT_" + self.name.replace(".", "_").upper())

    def type_name(self) -> str:
        """The expected type, in words."""
        if self.unit:
            return self.unit
        return _name_of(self.type)

    def show(self, value: Any) -> Any:
        """A value as a user would write it."""
        if self.unit == "duration":
            return format_duration(value)
        if self.unit == "size":
            return format_size(value)
        return msgspec.to_builtins(value, enc_hook=str)


ENVIRONMENT_ALIASES = {"run": "EDGE_AGENT_SOCKET"}


@cache
def keys() -> dict[str, Key]:
    """All leaves by dotted name, in the order of the structs."""
    return {k.name: k for k in _leaves(Config, "")}


@cache
def sections() -> dict[str, type[msgspec.Struct]]:
    """The sub-structs by name."""
    hints = get_type_hints(Config, include_extras=True)
    return {n: t for n, t in hints.items() if isinstance(t, type) and issubclass(t, msgspec.Struct)}


def value_of(config: Config, key: str) -> Any:
    """The value of a dotted key."""
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part)
    return value


def _leaves(struct: type[msgspec.Struct], prefix: str) -> list[Key]:
    hints = get_type_hints(struct, include_extras=True)
    out: list[Key] = []
    for field in msgspec.structs.fields(struct):
        hint = hints[field.name]
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
            out += _leaves(hint, f"{prefix}{field.name}.")
        elif prefix or field.name not in HIDDEN:
            out.append(_key(f"{prefix}{field.name}", hint, field))
    return out


def _key(name: str, hint: Any, field: Any) -> Key:
    meta = next((m for m in getattr(hint, "__metadata__", ()) if isinstance(m, msgspec.Meta)), msgspec.Meta())
    default = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    return Key(name, hint, (meta.extra or {}).get("unit", ""), default, meta.description or "")


def _name_of(hint: Any) -> str:
    if get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    arguments = get_args(hint)
    match get_origin(hint):
        case None:
            return {str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path"}.get(
                hint, ""
            )
        case o if o is list:
            return "list" if len(get_args(arguments[0])) else f"list of {_name_of(arguments[0])}s"
        case o if o is dict:
            return "map of text to text"
        case _:
            return " or ".join(f"`{a}`" for a in arguments)
