"""Access points of a presence step, as the lines about their devices show them: calls, and restarts. No I/O.

A restart is told by the access point's own line, or shown by devices that join again at once without having left.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple

from agent.steps.presence_rules import Place, Seen, Sign
from agent.steps.roll_calls import Call, RollCalls, Shown

AT_ONCE = 60.0
"""Seconds within which the devices of a restarted access point join again."""
MANY = 3
"""Least devices that join again without having left, within that time, after which the access point has restarted."""
SHARE = 3
"""The same as a part of the devices that answered its last call: in a large building some phones wake up at any time."""
AGAIN = 10.0
"""Seconds of silence before such a join: one join may make several lines."""
MOST = 4096
"""Places that are remembered; the one that was heard longest ago is forgotten first."""
NEVER = float("-inf")


class Stored(NamedTuple):
    """A record to keep: its key, its time, and its values."""

    key: str
    at: float
    value: dict[str, str]


class AccessPoints:
    """The access points of one presence step."""

    def __init__(self) -> None:
        self._places: dict[str, RollCalls] = {}
        self._restarted: dict[str, float] = {}
        self._again: dict[str, deque[tuple[float, str]]] = {}

    def keys(self, place: Place) -> tuple[str, str]:
        """The keys of the records of the place and of its access point."""
        name = f"{place.sender or place.node}|{place.access_point}"
        return f"place {name}|{place.interface}", f"ap {name}"

    def at(self, place: Place) -> RollCalls:
        """The calls of the place."""
        key = self.keys(place)[0]
        calls = self._places.pop(key, None) or RollCalls()
        self._places[key] = calls  # the last one is the newest
        _bound(self._places)
        return calls

    def restarted(self, place: Place) -> float:
        """When the access point restarted last."""
        return self._restarted.get(self.keys(place)[1], NEVER)

    def again(self, place: Place) -> int:
        """How many devices joined again at the access point within AT_ONCE without having left."""
        return len({m for _, m in self._again.get(self.keys(place)[1], ())})

    def notice(self, mac: str, sign: Sign, seen: Seen | None) -> list[Stored]:
        """Take one sign of life in, before it is judged; returns the records that change."""
        place, access_point = self.keys(sign.place)
        if sign.kind == "active":
            return [stored(place, calls)] if (calls := self.at(sign.place)).heard(mac, sign.at) else []
        rejoins = sign.kind == "joined" and seen is not None and seen.present and seen.place.is_same(sign.place)
        if seen is None or not rejoins or sign.at - seen.at < AGAIN:
            return []
        joined = self._again[access_point] = self._again.pop(access_point, deque(maxlen=64))
        _bound(self._again)
        joined.append((sign.at, mac))
        while joined[0][0] < sign.at - AT_ONCE:
            joined.popleft()
        known = joined[0][0] - self.restarted(sign.place) <= AT_ONCE
        if known or self.again(sign.place) < max(MANY, self.at(sign.place).answers // SHARE):
            return []
        return self.restart(sign.place, joined[0][0])

    def restart(self, place: Place, at: float) -> list[Stored]:
        """The access point restarts: keep what its places showed before; returns the records that change."""
        _, key = self.keys(place)
        if at <= self._restarted.get(key, NEVER):
            return []
        self._restarted.pop(key, None)
        self._restarted[key] = at
        _bound(self._restarted)
        changed, places = [Stored(key, at, {})], f"place{key[2:]}|"
        for name, calls in self._places.items():
            if name.startswith(places):
                calls.restart(at)
                changed.append(stored(name, calls))
        return changed

    def load(self, key: str, at: float, value: Mapping[str, str]) -> None:
        """Take a stored record in where it is newer than what is known."""
        if key.startswith("ap "):
            self._restarted[key] = max(at, self._restarted.get(key, NEVER))
        elif key not in self._places or self._places[key].shown.heard < at:
            self._places[key] = restored(at, value)
        _bound(self._places)
        _bound(self._restarted)


def _bound(table: dict[str, Any]) -> None:
    """Forget the oldest above MOST: a sender may call itself by any name."""
    while len(table) > MOST:
        table.pop(next(iter(table)))


def stored(key: str, calls: RollCalls) -> Stored:
    """A place as a record; times are ages, since clocks of nodes differ."""
    at = max(calls.shown.heard, calls.restarted)
    value = {"shown": _written(calls.shown, at)}
    if calls.restarted > NEVER:
        value |= {"restarted": f"{at - calls.restarted:.0f}", "before": _written(calls.before, at)}
    return Stored(key, at, value)


def restored(at: float, value: Mapping[str, str]) -> RollCalls:
    """The place of a record; a part that cannot be read counts as absent."""
    restarted = _number(value.get("restarted", ""))
    since = at - restarted if restarted is not None else NEVER
    return RollCalls(_read(value.get("shown", ""), at), _read(value.get("before", ""), at), since)


def _written(shown: Shown, at: float) -> str:
    heard = f"{at - shown.heard:.0f}" if shown.heard > NEVER else ""
    return " ".join([heard, *(f"{at - c.at:.0f}:{c.answers}" for c in shown.calls)])


def _read(text: str, at: float) -> Shown:
    heard, *calls = text.split(" ")
    age = _number(heard)
    pairs = [(_number(a), _number(n)) for a, _, n in (c.partition(":") for c in calls)]
    found = tuple(Call(at - a, int(n)) for a, n in pairs if a is not None and n is not None)
    return Shown(found, at - age if age is not None else NEVER)


def _number(text: str) -> float | None:
    return float(text) if text.isascii() and text.isdigit() and len(text) < 12 else None
