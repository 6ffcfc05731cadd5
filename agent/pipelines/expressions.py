"""JMESPath over events: `when` and the keys of `dedupe` and `cooldown`.

The event is seen as its JSON, so `data.device.known`, `type` and `root` work. An expression that meets a value of the wrong
type is false rather than an error, as JMESPath's null would be.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, ClassVar

import jmespath
import jmespath.exceptions
import jmespath.parser
import msgspec

from agent.model.event import Event

MAX_EXPRESSION = 4096


class _Parser(jmespath.parser.Parser):
    """JMESPath whose `!` takes the whole path after it: `!data.device.known` is `!(data.device.known)`.

    The library reads it as `(!data).device.known`, which is never what people mean (docs/decisions/0002).
    """

    BINDING_POWER: ClassVar[dict[str, int]] = {**jmespath.parser.Parser.BINDING_POWER, "not": 8}
    _CACHE: ClassVar[dict[str, Any]] = {}


@lru_cache(maxsize=1024)
def compile_when(text: str) -> Any:
    """The compiled expression; raises jmespath.exceptions.JMESPathError."""
    if len(text) > MAX_EXPRESSION:
        raise jmespath.exceptions.JMESPathError(f"longer than {MAX_EXPRESSION} characters")
    return _Parser().parse(text)


compile_key = compile_when


def view(event: Event) -> dict[str, Any]:
    """The event as an expression sees it; `root` is the event's own id where it is the root."""
    made: dict[str, Any] = msgspec.to_builtins(event)
    made["root"] = event.root or event.id
    return made


def passes(text: str, event: Event) -> bool:
    """Whether `when` lets the event through (JMESPath's own idea of truth)."""
    if not text:
        return True
    try:
        return _truth(compile_when(text).search(view(event)))
    except jmespath.exceptions.JMESPathError:
        return False


def key_of(expressions: list[str], event: Event) -> str:
    """The window's key for this event: JSON of the expressions' values."""
    seen = view(event)
    return msgspec.json.encode([_value(e, seen) for e in expressions]).decode()


def _value(expression: str, seen: dict[str, Any]) -> Any:
    try:
        return compile_key(expression).search(seen)
    except jmespath.exceptions.JMESPathError:
        return None


def _truth(value: Any) -> bool:
    return value is not None and value is not False and value not in ("", [], {})
