"""The rules of presence, without I/O: a device's record and one sign of life give the next record, and whether it is an arrival.

docs/decisions/0109 has the reasons. Times are seconds of one clock, of the sign itself rather than of its processing.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol

import msgspec

HOUR = 3600.0
HELD = 24 * HOUR
"""Silence for which an associated device counts as present where nothing says otherwise: phones sleep for up to 13 h."""
HELD_THING = 7 * 24 * HOUR
"""The same bound for a device that never left with a line: a television or a printer is silent for days."""
SLEPT = 1.5
"""The same bound, as a multiple of the longest silence that the device was proven to be present through."""
LATE = 60.0
"""Seconds by which a sign may be older than the last one and still count: clocks of two logs differ by a little."""
RESTARTING = 600.0
"""Seconds before and after a restart of an access point in which leaving and joining again mean nothing."""
REGULAR = 4
"""Signs of life of one association after which their rhythm counts."""
BEATS = 4.0
"""Silence in multiples of the longest pause between those signs after which the device is gone."""
UNHEARD = 3 * HOUR
"""The least silence for that rule."""

Kind = Literal["joined", "left", "roamed", "active"]


class Place(msgspec.Struct, frozen=True):
    """The interface of an access point: the sender of its lines, its name, and the node that read them.

    `sender` is empty in events and records of version 0.1.
    """

    sender: str = ""
    access_point: str = ""
    interface: str = ""
    node: str = ""

    def is_same(self, other: Place) -> bool:
        """Whether both may be one place; a part that a form of line does not tell is equal to any."""
        if self.interface and other.interface and self.interface != other.interface:
            return False
        if not (self.sender and other.sender):
            return self.node == other.node
        if self._named and other._named and self.access_point != other.access_point:
            return False
        return self.sender == other.sender

    @property
    def _named(self) -> bool:
        """Whether the line named its access point; else its sender stands for it."""
        return self.access_point not in ("", self.sender)


class Sign(NamedTuple):
    """A line about a device: its kind, time and place, and the event's id and time as text."""

    kind: Kind
    at: float
    place: Place
    event: str
    time: str


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """The record of a device. `at` is the time of its last sign of life."""

    at: float
    present: bool
    place: Place
    first_seen: str
    last_seen: str
    first: str = ""
    """The event that was its last arrival."""
    announced: bool = True
    """False while only a `left` line was heard of it: its next sign of life is its arrival."""
    signs: int = 0
    """`active` signs since it joined."""
    pause: float = 0.0
    """The longest silence between those signs."""
    left: bool = False
    """Whether it ever left with a line."""
    slept: float = 0.0
    """The longest silence of an association that a sign other than a join ended: the device was present all the time."""


class Watch(Protocol):
    """The access point of a device's last sign, which tells silence from absence."""

    def absent(self, since: float, until: float, away: float) -> bool:
        """Whether the place called its devices between these times, and a device that did not answer was gone for `away`."""
        ...

    def alive(self, since: float, until: float, quiet: float) -> bool:
        """Whether other devices showed signs of life at the place between these times, `quiet` seconds after the first."""
        ...


class Around(NamedTuple):
    """The facts besides the record: the step's `away`, whether an operator knows the device, the place of its last sign,
    and when the access point of the new sign restarted last."""

    away: float
    known: bool
    watch: Watch
    restarted: float = float("-inf")


class Verdict(NamedTuple):
    """The new record, and whether the sign is an arrival. `doubtful`: only the length of the silence makes it one."""

    seen: Seen
    arrived: bool
    doubtful: bool = False


def judge(seen: Seen | None, sign: Sign, around: Around) -> Verdict:
    """Apply one sign; a repeated event gets the answer that it got."""
    if seen is None:
        return _first(sign)
    if seen.first and seen.first == sign.event:
        return Verdict(seen, True)
    if sign.at < seen.at - LATE:
        return Verdict(seen, False)
    sign = sign._replace(at=max(sign.at, seen.at))
    if sign.kind == "left":
        return Verdict(_left(seen, sign), False)
    arrived, doubtful = _arrives(seen, sign, around)
    stays = seen.present and sign.kind != "joined" and not arrived
    after = _stays(seen, sign) if stays else _joins(seen, sign)
    if arrived:
        after = msgspec.structs.replace(after, first=sign.event, announced=True)
    return Verdict(after, arrived, doubtful)


def _first(sign: Sign) -> Verdict:
    """A device that nobody has met: it arrives with any sign of life, for its join may not have been heard."""
    here = sign.kind != "left"
    seen = Seen(
        at=sign.at, present=here, place=sign.place, first_seen=sign.time, last_seen=sign.time, first=sign.event if here else "",
        announced=here,
    )  # fmt: skip
    return Verdict(seen, here)


def _left(seen: Seen, sign: Sign) -> Seen:
    """Only the place where the device is can say that it left: another one reports late that the device had roamed."""
    if not seen.present or not seen.place.is_same(sign.place):
        return seen
    slept = max(seen.slept, sign.at - seen.at)
    return msgspec.structs.replace(seen, at=sign.at, present=False, last_seen=sign.time, slept=slept, left=True)


def _arrives(seen: Seen, sign: Sign, around: Around) -> tuple[bool, bool]:
    silence = sign.at - seen.at
    if not seen.announced:
        return True, False
    if silence <= around.away:
        return False, False
    restarted = around.restarted
    if not seen.present:
        if seen.at <= restarted <= sign.at and restarted - seen.at <= RESTARTING and sign.at - restarted <= RESTARTING:
            return False, False  # the access point let everybody go when it went down
        # Without a join it is not certain that the device was away: its roam to another place may not have been heard.
        return sign.kind == "joined" or not around.known, False
    if around.watch.absent(seen.at, sign.at, around.away):
        return sign.kind == "joined" or not around.known, False
    if sign.kind != "joined":
        return False, False
    if _unheard(seen, sign, around):
        return True, False
    if around.known or silence <= max(HELD if seen.left else HELD_THING, SLEPT * seen.slept):
        return False, False
    after_restart = seen.at <= restarted <= sign.at and sign.at - restarted <= RESTARTING
    return not after_restart, not after_restart


def _unheard(seen: Seen, sign: Sign, around: Around) -> bool:
    """Whether a device that was heard regularly is silent for long, while others are heard at its place."""
    quiet = BEATS * seen.pause
    if seen.signs < REGULAR or sign.at - seen.at <= max(UNHEARD, quiet):
        return False
    return around.watch.alive(seen.at, sign.at, quiet)


def _stays(seen: Seen, sign: Sign) -> Seen:
    """A sign of life of an associated device: it was present through the silence before."""
    silence, there = sign.at - seen.at, sign.kind == "active" and seen.place.is_same(sign.place)
    return msgspec.structs.replace(
        seen, at=sign.at, place=sign.place, last_seen=sign.time, signs=seen.signs + 1 if there else 0,
        pause=max(seen.pause, silence) if there else 0.0, slept=max(seen.slept, silence),
    )  # fmt: skip


def _joins(seen: Seen, sign: Sign) -> Seen:
    """The device is at this place from now on."""
    return msgspec.structs.replace(
        seen,
        at=sign.at,
        present=True,
        place=sign.place,
        last_seen=sign.time,
        announced=True,
        signs=0,
        pause=0.0,
    )
