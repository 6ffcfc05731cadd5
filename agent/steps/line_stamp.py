"""The time that a log line carries, in the common forms, at the start of the line or after its priority.

Forms: `Mar  4 09:12:18` and `Tue Mar  3 18:02:41 2026` (RFC 3164, OpenWrt's logread), `Mar 4 2026 09:12:18` (Cisco), RFC 3339 with
`T`, a space or slashes, `[Feb 25, 2026, 5:09:42 PM GMT+2]` and `[25. Feb. 2026, 17:09:42 MEZ]` (LuCI), `03.02.23 18:48:44`
(FRITZ!Box), `date=2026-03-04 time=09:10:11` (FortiOS), Unix seconds (Meraki, `logread -t`). Months in seven languages.
"""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

_NAMES = (
    "jan ene gen janv", "feb fev fév févr", "mar mär mrt mars maart", "apr abr avr", "may mai mei mag maj mayo", "jun juin giu juni",
    "jul juil lug juli", "aug ago août aou", "sep set sept", "oct okt ott out", "nov", "dec dez dic déc",
)  # fmt: skip
_MONTHS = {name: number for number, names in enumerate(_NAMES, 1) for name in names.split()}
_CLOCK = r"(?P<h>\d{1,2}):(?P<m>\d\d):(?P<s>\d\d)(?:[.,]\d+)?(?: ?(?P<half>[AaPp])\.?[Mm]\.?)?"
_ZONE = r"(?: ?(?P<zone>Z|UTC|GMT(?:[+-]\d{1,2}(?::?\d\d)?)?|[+-]\d\d:?\d\d)(?!\w))?"
_DAY = r"(?:[^\W\d_]{2,4}\.?,? +)?"
_MONTH = r"(?P<name>[^\W\d_]{3,5})"
_HEAD = r"\x00*(?:<\d{1,3}>)?(?:1 )?[\[*(]?"
_FORMS = tuple(
    re.compile(_HEAD + form)
    for form in (
        rf"(?P<y>\d{{4}})[-/](?P<mo>\d\d)[-/](?P<d>\d\d)[T ,]+{_CLOCK}{_ZONE}",
        rf"{_DAY}{_MONTH}\.? +(?P<d>\d{{1,2}}),? +(?:(?P<y>\d{{4}}),? +)?{_CLOCK}{_ZONE}(?: (?P<y2>\d{{4}})\b)?",
        rf"{_DAY}(?P<d>\d{{1,2}})\.? +{_MONTH}\.?,? +(?P<y>\d{{4}}),? +{_CLOCK}{_ZONE}",
        rf"(?P<d>\d\d)\.(?P<mo>\d\d)\.(?P<y>\d{{2}}(?:\d\d)?),? +{_CLOCK}{_ZONE}",
        rf"date=(?P<y>\d{{4}})-(?P<mo>\d\d)-(?P<d>\d\d) time={_CLOCK}",
        r"(?P<unix>\d{10}(?:\.\d{1,9})?)[\] ]",
    )
)
_LONGEST = 96


class Stamp(NamedTuple):
    """The time of a line: Unix seconds where it is `zoned`, else the seconds that its digits would be in UTC."""

    seconds: float
    zoned: bool


def stamp_of(line: bytes, near: float) -> Stamp | None:
    """The line's time; None where it has none. Without a year it is the year that brings it nearest to `near`.

    `near` has the form of `Stamp.seconds` without a zone.
    """
    text = line[:_LONGEST].decode(errors="replace")
    for form in _FORMS:
        match = form.match(text)
        if match is not None:
            try:
                return _stamp(match.groupdict(), near)
            except (ValueError, OverflowError):
                return None
    return None


def _stamp(part: dict[str, str | None], near: float) -> Stamp:
    if unix := part.get("unix"):
        return Stamp(float(unix), True)
    month = int(part["mo"] or 0) if part.get("mo") else _MONTHS.get((part["name"] or "").lower().rstrip("."), 0)
    if not month and part.get("name"):
        month = _MONTHS.get((part["name"] or "").lower()[:3], 0)
    hour = int(part["h"] or 0)
    if half := part.get("half"):
        hour = hour % 12 + (12 if half in "pP" else 0)
    year = part.get("y") or part.get("y2")
    zone = part.get("zone") or ""
    clock = (int(part["d"] or 0), hour, int(part["m"] or 0), min(int(part["s"] or 0), 59))
    if year:
        return Stamp(_seconds(int(year) + (2000 if len(year) == 2 else 0), month, *clock) - _offset(zone), bool(zone))
    this = time.gmtime(near).tm_year
    made = [s for y in (this - 1, this, this + 1) if (s := _valid(y, month, *clock)) is not None]
    return Stamp(min(made, key=lambda s: abs(s - near)) - _offset(zone), bool(zone))


def _valid(*parts: int) -> float | None:
    try:
        return _seconds(*parts)
    except ValueError:
        return None  # 29 February of another year


def _seconds(year: int, month: int, day: int, hour: int, minute: int, second: int) -> float:
    return datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp()


def _offset(zone: str) -> float:
    """Seconds east of UTC."""
    if not zone:
        return 0.0
    match = re.search(r"([+-])(\d{1,2}):?(\d\d)?", zone)
    if match is None:
        return 0.0
    away = timedelta(hours=int(match[2]), minutes=int(match[3] or 0)).total_seconds()
    return away if match[1] == "+" else -away
