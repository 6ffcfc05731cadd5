"""Labels and selectors in Kubernetes label-selector syntax.

Grammar (Kubernetes' documentation, "Labels and Selectors"): comma-separated requirements that must all hold:
`key=value`, `key==value`, `key!=value`, `key in (a,b)`, `key notin (a,b)`, `key`, `!key`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from agent.errors import ConfigError

KEY = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_./-]{0,61}[A-Za-z0-9])?\Z")
VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.:-]{0,61}[A-Za-z0-9])?)?\Z")
RESERVED = frozenset({"node", "id", "arch"})
_SET = re.compile(r"(?P<key>\S+)\s+(?P<op>in|notin)\s*\((?P<values>[^()]*)\)\Z")
_HINT = "write it like camera=true,role in (ap,edge),!battery"


def check_label(key: str, value: str) -> None:
    """Raise ConfigError unless `key=value` is a valid label that users may set."""
    if not KEY.match(key) or not VALUE.match(value):
        raise ConfigError(f"{key}={value} is not a label", hint="letters, digits, '-', '_', '.', at most 63 each")
    if key in RESERVED:
        raise ConfigError(f"the label {key} is reserved", hint="node, id and arch are set by the agent itself")


class Requirement(msgspec.Struct, frozen=True):
    """One requirement; `op` is one of `in`, `notin`, `exists`, `absent`."""

    key: str
    op: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether these labels meet it; as in Kubernetes, `notin` and `!=` hold where the key is absent."""
        has = self.key in labels
        match self.op:
            case "in":
                return has and labels[self.key] in self.values
            case "notin":
                return not has or labels[self.key] not in self.values
            case "exists":
                return has
            case _:
                return not has


class Selector(msgspec.Struct, frozen=True):
    """A parsed selector; the empty one matches every node."""

    text: str
    requirements: tuple[Requirement, ...]

    @classmethod
    def parse(cls, text: str) -> Selector:
        """Parse a selector; raises ConfigError naming the part that is wrong."""
        return cls(text, tuple(_requirement(part) for part in _split(text)))

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether all requirements hold."""
        return all(r.matches(labels) for r in self.requirements)


def _split(text: str) -> list[str]:
    parts, depth, start = [], 0, 0
    for i, c in enumerate(text):
        depth += (c == "(") - (c == ")")
        if depth < 0 or depth > 1:
            raise ConfigError(f"selector {text!r}: parentheses do not match", hint=_HINT)
        if c == "," and depth == 0:
            parts.append(text[start:i])
            start = i + 1
    parts.append(text[start:])
    if depth:
        raise ConfigError(f"selector {text!r}: parentheses do not match", hint=_HINT)
    if len(parts) == 1 and not parts[0].strip():
        return []
    return [p.strip() for p in parts]


def _requirement(part: str) -> Requirement:
    if m := _SET.match(part):
        values = tuple(v.strip() for v in m["values"].split(","))
        return _checked(Requirement(m["key"], m["op"], values), part)
    for sign, op in (("!=", "notin"), ("==", "in"), ("=", "in")):
        key, found, value = part.partition(sign)
        if found:
            return _checked(Requirement(key.strip(), op, (value.strip(),)), part)
    if part.startswith("!"):
        return _checked(Requirement(part[1:].strip(), "absent"), part)
    return _checked(Requirement(part, "exists"), part)


def _checked(r: Requirement, part: str) -> Requirement:
    if not KEY.match(r.key) or not all(VALUE.match(v) for v in r.values):
        raise ConfigError(f"selector: {part!r} is not a requirement", hint=_HINT)
    return r
