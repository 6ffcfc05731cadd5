"""`Meta` for fields of steps and tasks that are keys of a pipeline file.

A field with a `Meta` is a key. Its `title` says what is expected, in words; `description`, `examples` and bounds are for
messages, the JSON Schema and the docs. `extra` has the key's `name` in the file, and the `form` of the written value, where
they differ from the field's.
"""

from __future__ import annotations

from typing import Any

from msgspec import Meta

LONGEST = 400 * 86400.0
"""Longest duration in seconds; no node keeps a decision for longer."""


def key(
    description: str, example: Any, expected: str | None = None, *, form: str = "", name: str = "", **more: Any
) -> Meta:
    """A key; `name` is its name where that is not the field's, `more` is further arguments of `Meta`, such as bounds."""
    extra = {"form": form, "name": name}
    return Meta(title=expected, description=description, examples=[example], extra=extra, **more)


def duration(description: str, example: str | int, *, ge: float = 0.0, le: float = LONGEST, name: str = "") -> Meta:
    """A float of seconds, written like `30s` or as a number."""
    return key(description, example, "a duration", form="duration", name=name, ge=ge, le=le)


def size(description: str, example: str, *, ge: int = 0) -> Meta:
    """An int of bytes, written like `64MiB` or as a number."""
    return key(description, example, "a size", form="size", ge=ge, le=1 << 40)
