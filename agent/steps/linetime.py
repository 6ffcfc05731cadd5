"""The time that a log line itself carries, for lines written by this machine.

Shapes: `Tue Mar  3 18:02:41 2026` (OpenWrt logread), `Mar  4 09:12:18` (RFC 3164, no year) and RFC 3339 timestamps, each at the
start of the line or after `<PRI>`. The result is an age by this machine's own clock.
"""

from __future__ import annotations

import re
import time
from datetime import datetime

_MONTHS = {
    m: i + 1 for i, m in enumerate(["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"])
}
_STAMP = re.compile(
    rb"(?:<\d{1,3}>)?(?:1 )?(?:"
    rb"(?:[A-Z][a-z]{2} )?(?P<mon>[A-Z][a-z]{2}) +(?P<day>\d{1,2}) (?P<h>\d\d):(?P<m>\d\d):(?P<s>\d\d)(?: (?P<year>\d{4}))?"
    rb"|(?P<iso>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)?))"
)
RESOLUTION = 1.0
"""Most log stamps have whole seconds: the age is the smallest that the stamp allows."""
MAX_AGE = 366 * 86400.0


def line_age(line: bytes, now: float | None = None) -> float:
    """Seconds since the line was written; 0 where it has no time, or one in the future."""
    at = line_time(line, now)
    if at is None:
        return 0.0
    age = (time.time() if now is None else now) - at - RESOLUTION
    return age if 0.0 < age < MAX_AGE else 0.0


def line_time(line: bytes, now: float | None = None) -> float | None:
    """The line's own time as a Unix time, local time where it has no zone; None where there is none."""
    m = _STAMP.match(line[:64])
    if m is None:
        return None
    try:
        if m["iso"]:
            return datetime.fromisoformat(m["iso"].decode()).timestamp()
        month = _MONTHS[m["mon"].decode()]
        today = datetime.fromtimestamp(time.time() if now is None else now)
        year = int(m["year"]) if m["year"] else today.year
        made = datetime(year, month, int(m["day"]), int(m["h"]), int(m["m"]), int(m["s"]))
        if not m["year"] and (made - today).days > 1:
            made = made.replace(year=year - 1)
        return made.timestamp()
    except (KeyError, ValueError, OverflowError):
        return None
