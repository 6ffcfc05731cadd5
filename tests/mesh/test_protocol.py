from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from agent.mesh import wire
from agent.mesh.wire import Keys

PAGE = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()
STRUCTS = {
    name: kind
    for name, kind in vars(wire).items()
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind.__module__ == wire.__name__
}


def tables() -> dict[str, list[tuple[str, str]]]:
    """The (field, type) rows under each `###` heading."""
    found: dict[str, list[tuple[str, str]]] = {}
    for section in re.split(r"^### ", PAGE, flags=re.MULTILINE)[1:]:
        own = re.split(r"^## ", section, flags=re.MULTILINE)[0]
        rows = re.findall(r"^\| (\w+) \| ((?:\\\||[^|])+?) \|", own, flags=re.MULTILINE)
        found[section.splitlines()[0]] = [(f, t.replace("\\|", "|")) for f, t in rows if f != "field"]
    return found


@pytest.mark.parametrize("name", sorted(STRUCTS))
def test_every_struct_on_the_wire_is_documented_field_by_field(name: str) -> None:
    kind = STRUCTS[name]
    annotations = {field: kind.__annotations__[field] for field in kind.__struct_fields__}
    assert tables()[name] == list(annotations.items())


def test_limits_prefixes_and_keys_are_the_documented_ones() -> None:
    for prefix in (wire.REQUEST, wire.REPLY, wire.PRESENCE, wire.LOG):
        assert prefix.decode().replace("\0", "\\0") in PAGE
    keys = Keys("<mesh>")
    for key in (keys.alive("<node>"), keys.presence("<node>"), keys.rpc("<node>", "<verb>"), keys.log("<execution>")):
        assert f"`{key}`" in PAGE
    assert wire.MAX_BODY == 8 << 20
    assert (wire.MAX_HEADER, wire.MAX_RECORD, wire.MAX_LOG) == (16 << 10, 64 << 10, 256 << 10)
    assert wire.WORD.pattern.removesuffix(r"\Z") in PAGE


def test_arrays_on_the_wire_keep_their_order() -> None:
    raw = wire.encode(wire.Sealed(b"c", b"s", b"x"))
    assert msgspec.msgpack.decode(raw) == [b"c", b"s", b"x"]
