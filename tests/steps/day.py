"""A recorded day of 40 devices as a deterministic model: what happens, the lines that access points write, and what can be known.

Phones sleep for up to 13 h, roam with a leave line of the old access point that comes late, use one address for each network and
each day, and leave without a line now and then; both access points restart. One access point writes a line for each group key
handshake, the other does not.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

MINUTE, HOUR = 60.0, 3600.0
DAY = 30 * HOUR
AWAY = 30 * MINUTE
NOON = 18 * HOUR
"""The day begins at six in the evening; the agent restarts at noon."""
DOWN = 90.0
"""Seconds that the agent is away."""
RESTARTS = ((0, 9.3 * HOUR), (1, 27.2 * HOUR))
"""Access point and time."""
CALLS = (20 * MINUTE, 0.0)
"""Seconds between two group key handshakes of each access point that writes lines about them."""

Kind = Literal["joined", "left", "roamed", "active", "restarted"]
SetUp = Literal["two agents", "udp", "tcp", "file"]


@dataclass(frozen=True)
class Line:
    """A line of an access point: when it is written, where, and about which device."""

    at: float
    ap: int
    kind: Kind
    mac: str = ""
    interface: str = "wlan0"


@dataclass
class Stay:
    """A device in the building, from `start` to `end`; `silent` if the line about its end is lost."""

    mac: str
    start: float
    end: float
    silent: bool = False
    ap: int = 0
    places: list[tuple[float, int]] = field(default_factory=list)
    """From when on it is at which access point; -1 while it is associated with none."""

    def where(self, at: float) -> int:
        """The access point that it is associated with."""
        here = -1
        for since, ap in self.places:
            if since <= at:
                here = ap
        return here if at < self.end else -1


@dataclass(frozen=True)
class Heard:
    """A line as an agent gets it: read at `read`, written at `at` as far as the agent can tell."""

    read: float
    at: float
    line: Line


class Day:
    """One day; equal seeds give equal days."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.lines: list[Line] = []
        self.stays: dict[str, list[Stay]] = defaultdict(list)
        self.told = (self.rng.random() < 0.5, self.rng.random() < 0.5)
        """Which restarts the access points tell by lines."""
        for number in range(40):
            self._device(number)
        self._restarts()
        self._calls()
        self.lines.sort(key=lambda line: line.at)

    # -- what happens -------------------------------------------------------------------------------------------------

    def _device(self, number: int) -> None:
        """Ten things that stay, sixteen residents, ten guests, and four that come back with a new address."""
        rng, mac = self.rng, f"{'02' if number % 2 else '3c'}:00:00:00:00:{number:02x}"
        start = rng.uniform(0, HOUR)
        if number < 10:
            self._stay(mac, start, DAY, busy=False)
        elif number < 26:
            out = rng.uniform(12.5, 15) * HOUR
            back = out + rng.uniform(0.8, 9) * HOUR
            self._stay(mac, start, out)
            self._stay(mac, back, back + rng.uniform(0.6, 1) * (DAY - back))
        elif number < 36:
            for begin in (rng.uniform(1, 12) * HOUR, rng.uniform(18, 26) * HOUR):
                self._stay(mac, begin, begin + rng.uniform(0.2, 4) * HOUR)
        else:
            out = rng.uniform(2, 12) * HOUR
            self._stay(mac, start, out)
            again = out + rng.uniform(0.05, 3) * HOUR  # another network, or another day: another address
            self._stay("06" + mac[2:], again, again + rng.uniform(0.5, 5) * HOUR)

    def _stay(self, mac: str, start: float, end: float, *, busy: bool = True) -> None:
        stay = Stay(mac, start, end, silent=self.rng.random() < 0.25, ap=self.rng.randrange(2))
        self.stays[mac].append(stay)
        self._join(stay, start)
        at = start + self.rng.uniform(5, 40) * MINUTE
        while busy and at < end - HOUR:
            at = self._act(stay, at)
        if end < DAY and not stay.silent and stay.where(end - 1) >= 0:
            self._write(end + self.rng.choice([0.0, 4 * MINUTE]), stay.ap, "left", mac)

    def _join(self, stay: Stay, at: float, kind: Kind = "joined") -> None:
        stay.places.append((at, stay.ap))
        self._write(at, stay.ap, kind, stay.mac)

    def _write(self, at: float, ap: int, kind: Kind, mac: str = "") -> None:
        self.lines.append(Line(at, ap, kind, mac))
        if kind == "joined" and ap == 0 and self.rng.random() < 0.3:
            self.lines.append(Line(at + 0.2, ap, kind, mac))  # a second program tells the same join

    def _act(self, stay: Stay, at: float) -> float:
        """One thing that the device does; returns when it may do the next."""
        rng = self.rng
        match rng.choice(["roam", "roam", "sleep", "blink"]):
            case "roam":
                old, stay.ap = stay.ap, 1 - stay.ap
                self._join(stay, at, rng.choice(["joined", "roamed"]))
                if (late := rng.choice([-2.0, 0.1, 5 * MINUTE, 15 * MINUTE, -1.0])) != -1.0:
                    self._write(at + late, old, "left", stay.mac)
                return at + rng.uniform(16, 90) * MINUTE
            case "sleep":
                until = min(at + rng.uniform(1, 13) * HOUR, stay.end - 10 * MINUTE)
                if until - at > HOUR and not any(at < t < until + HOUR and ap == stay.ap for ap, t in RESTARTS):
                    self._write(until, stay.ap, rng.choice(["joined", "roamed"]), stay.mac)
                return max(at, until) + rng.uniform(1, 30) * MINUTE
            case _:
                until = at + rng.uniform(0.1, 25) * MINUTE
                if any(at - MINUTE < t < until + MINUTE for _, t in RESTARTS):
                    return until
                stay.places.append((at, -1))
                self._write(at, stay.ap, "left", stay.mac)
                self._join(stay, until)
                return until + rng.uniform(5, 60) * MINUTE

    def _restarts(self) -> None:
        """Everybody who is there joins again within a minute, and nothing tells that anybody left."""
        for (ap, at), told in zip(RESTARTS, self.told, strict=True):
            if told:
                self.lines.append(Line(at, ap, "restarted"))
            for stay in (s for stays in self.stays.values() for s in stays):
                if stay.where(at) == ap and stay.where(at + MINUTE) == ap:
                    self._write(at + self.rng.uniform(5, 59), ap, "joined", stay.mac)

    def _calls(self) -> None:
        for ap, every in enumerate(CALLS):
            begins = [0.0, *(t + MINUTE for a, t in RESTARTS if a == ap)]
            for begin, end in zip(begins, [*begins[1:], DAY], strict=True):
                while every and (begin := begin + every) < end:
                    self.lines += [
                        Line(begin + self.rng.uniform(0, 2), ap, "active", s.mac)
                        for stays in self.stays.values()
                        for s in stays
                        if s.where(begin) == ap and s.where(begin + 2) == ap
                    ]

    # -- what an agent hears --------------------------------------------------------------------------------------------

    def heard(self, set_up: SetUp) -> list[Heard]:
        """The lines in the order in which they are read. While the agent is away UDP loses them, a file keeps them, and TCP
        sends them late without their age."""
        made = []
        for line in self.lines:
            if not NOON <= line.at < NOON + DOWN or (set_up == "two agents" and line.ap):
                made.append(Heard(line.at, line.at, line))
            elif set_up != "udp":
                read = NOON + DOWN + (line.at - NOON) / 1000
                made.append(Heard(read, read if set_up == "tcp" else line.at, line))
        return sorted(made, key=lambda h: h.read)

    # -- what can be known ----------------------------------------------------------------------------------------------

    def truth(self, set_up: SetUp) -> Iterator[tuple[Stay, bool, bool]]:
        """Each stay with whether it must be announced, and whether it may be."""
        lines: dict[str, list[Line]] = defaultdict(list)
        for h in self.heard(set_up):
            lines[h.line.mac].append(h.line)
        for mac, stays in self.stays.items():
            for before, stay in zip([None, *stays], stays, strict=False):
                heard = any(stay.start <= x.at < stay.end and x.kind != "left" for x in lines[mac])
                if before is None:
                    yield stay, heard, True
                    continue
                away = stay.start - before.end > AWAY + 5 * MINUTE
                left = any(
                    x.kind == "left" and before.end <= x.at < stay.start and x.ap == before.ap for x in lines[mac]
                )
                yield stay, heard and away and (left or self._missed(before, stay)), away

    def unheard(self, set_up: SetUp) -> set[tuple[float, str]]:
        """The first lines of devices after the agent was away where a join was lost: each may look like an arrival."""
        kept = {h.line for h in self.heard(set_up)}
        lost = {x.mac for x in self.lines if x.kind in ("joined", "roamed") and x not in kept}
        later = [x for x in self.lines if x.at >= NOON + DOWN and x.kind != "left"]
        return {(min(x.at for x in later if x.mac == mac), mac) for mac in lost if any(x.mac == mac for x in later)}

    def _missed(self, before: Stay, stay: Stay) -> bool:
        """Whether enough others answered the calls of its access point after it had left without a line."""
        ap = before.ap
        if not CALLS[ap] or any(a == ap and before.end < t < stay.start for a, t in RESTARTS):
            return False
        answers = [
            x for x in self.lines if x.kind == "active" and x.ap == ap and before.end + 5 < x.at < stay.start - 5
        ]
        return (stay.start - before.end) / CALLS[ap] > 4 and len(answers) >= 3 * (stay.start - before.end) / CALLS[ap]


AUTH = {"joined": "auth_alg=open", "roamed": "auth_alg=ft"}


def text(line: Line) -> str:
    """The line as hostapd on OpenWrt writes it."""
    day, second = divmod(int(line.at), 86400)
    stamp = f"{('Mon', 'Tue')[day]} Nov {23 + day} {second // 3600:02}:{second // 60 % 60:02}:{second % 60:02} 2026"
    head = f"{stamp} daemon.notice hostapd: {line.interface}: "
    match line.kind:
        case "joined" | "roamed":
            return f"{head}AP-STA-CONNECTED {line.mac} {AUTH[line.kind]}"
        case "left":
            return f"{head}AP-STA-DISCONNECTED {line.mac}"
        case "active":
            return f"{head}STA {line.mac} WPA: group key handshake completed (RSN)"
        case "restarted":
            return f"{head}AP-ENABLED "
