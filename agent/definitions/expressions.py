"""JMESPath over events: `when` and the keys of `dedupe` and `cooldown`.

An expression reads the event's JSON: `data.device.known`, `type`, `root`. Where a value has the wrong type, `when` is false
and a key is null; evaluation never raises, whatever an event contains.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, ClassVar

import jmespath
import jmespath.exceptions
import jmespath.functions
import jmespath.parser
import jmespath.visitor
import msgspec

from agent.definitions.geometry import area, contains_foot, fits
from agent.model.event import Event

MAX_EXPRESSION = 4096
MAX_DEPTH = 50
"""Deepest nesting of an expression's parts; the library walks them by recursion."""
_RAISED = (
    jmespath.exceptions.JMESPathError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
"""Errors that the library raises on values that do not fit, such as `'a' > `0`` or `[::0]`."""


class _Functions(jmespath.functions.Functions):
    """JMESPath's functions, and those about boxes of labels; zones and limits are those of the event's data, by its camera."""

    def __init__(self, data: dict[str, Any] | None = None) -> None:
        self._data = data or {}

    @jmespath.functions.signature({"types": ["array", "null"]})
    def _func_area(self, box: Any) -> float | None:
        return area(box)

    @jmespath.functions.signature({"types": ["array", "null"]}, {"types": ["string", "array"]})
    def _func_inside(self, box: Any, zone: Any) -> bool:
        zones = self._data.get("zones")
        if isinstance(zone, str):
            zone = zones.get(zone) if isinstance(zones, dict) else None
        return contains_foot(zone, box)

    @jmespath.functions.signature({"types": ["array", "null"]})
    def _func_fits(self, box: Any) -> bool:
        return fits(box, self._data.get("min_area"), self._data.get("max_area"))


class _Parser(jmespath.parser.Parser):
    """JMESPath with a `!` that takes the whole path after it: `!data.device.known` is `!(data.device.known)`.

    The library reads it as `(!data).device.known`, which is never intended (docs/decisions/0002).
    """

    BINDING_POWER: ClassVar[dict[str, int]] = {**jmespath.parser.Parser.BINDING_POWER, "not": 8}
    _CACHE: ClassVar[dict[str, Any]] = {}


@lru_cache(maxsize=1024)
def compile_expression(text: str) -> Any:
    """The compiled expression, its functions checked; raises jmespath.exceptions.JMESPathError."""
    if len(text) > MAX_EXPRESSION:
        raise jmespath.exceptions.JMESPathError(f"longer than {MAX_EXPRESSION} characters")
    try:
        made = _Parser().parse(text)
    except RecursionError:
        raise jmespath.exceptions.JMESPathError("nested too deeply") from None
    _check(made.parsed, 0)
    return made


def _check(node: Any, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise jmespath.exceptions.JMESPathError("nested too deeply")
    if node["type"] == "function_expression":
        name, given = node["value"], len(node["children"])
        known = _Functions.FUNCTION_TABLE.get(name)
        if known is None:
            raise jmespath.exceptions.UnknownFunctionError(f"there is no function {name}()")
        signature = known["signature"]
        more = bool(signature) and signature[-1].get("variadic", False)
        if given < len(signature) or (given > len(signature) and not more):
            raise jmespath.exceptions.JMESPathError(f"{name}() takes {len(signature)} arguments, not {given}")
    for child in node["children"]:
        if isinstance(child, dict):
            _check(child, depth + 1)


def _view(event: Event) -> dict[str, Any]:
    """The event as an expression reads it; a root event is its own `root`."""
    made: dict[str, Any] = msgspec.to_builtins(event)
    made["root"] = event.root or event.id
    return made


def _search(text: str, seen: dict[str, Any]) -> Any:
    options = jmespath.visitor.Options(custom_functions=_Functions(seen.get("data")))
    return compile_expression(text).search(seen, options=options)


def passes(text: str, event: Event) -> bool:
    """Whether `when` lets the event through; truth is as in JMESPath."""
    if not text:
        return True
    try:
        return _truth(_search(text, _view(event)))
    except _RAISED:
        return False


def key_of(expressions: list[str], event: Event) -> str:
    """The window's key for this event: the values of the expressions as JSON."""
    seen = _view(event)
    return msgspec.json.encode([_value(e, seen) for e in expressions]).decode()


def _value(expression: str, seen: dict[str, Any]) -> Any:
    try:
        value = _search(expression, seen)
        msgspec.json.encode(value)
        return value
    except _RAISED:
        return None


def _truth(value: Any) -> bool:
    return value is not None and value is not False and value not in ("", [], {})
