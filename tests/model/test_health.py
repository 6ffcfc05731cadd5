"""Codes and counts of warnings, as they travel."""

from __future__ import annotations

from typing import Any

import msgspec

from agent.model.health import MAX_CODES, HealthCount, Warning, count_codes, usable
from agent.model.node import NodeRecord


def warning(code: str, subject: str = "x", severity: str = "warning") -> Warning:
    return Warning(code, subject, "text", "remedy", severity)


def test_warnings_of_one_code_are_counted_worst_first() -> None:
    found = count_codes([warning("a.b", "1", "info"), warning("a.b", "2", "error"), warning("a.a")])
    assert found == [HealthCount("a.b", 2, "error"), HealthCount("a.a", 1, "warning")]


def test_the_announced_codes_are_bounded() -> None:
    found = count_codes(warning(f"code.{n}" + "x" * 200) for n in range(100))
    assert len(found) == MAX_CODES
    assert len(msgspec.msgpack.encode(found)) < 3000


def test_counts_that_no_node_makes_are_not_used() -> None:
    odd = [HealthCount("x" * 65), HealthCount(""), HealthCount("a", -1), HealthCount("a", 1, "fatal"), HealthCount("b")]
    assert usable(odd) == [HealthCount("b")]
    assert len(usable([HealthCount("b")] * 1000)) == MAX_CODES


def test_a_record_is_readable_by_versions_without_health() -> None:
    class Previous(msgspec.Struct, omit_defaults=True, kw_only=True):
        id: str
        name: str
        labels: dict[str, str] = {}

    raw = msgspec.msgpack.encode(NodeRecord(id="i", name="n", health=[HealthCount("a.b")]))
    assert msgspec.msgpack.decode(raw, type=Previous).name == "n"
    old: Any = msgspec.msgpack.encode(Previous(id="i", name="n"))
    assert msgspec.msgpack.decode(old, type=NodeRecord).health == []
