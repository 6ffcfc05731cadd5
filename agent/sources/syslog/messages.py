"""Syslog messages as lines of a syslog file.

Sources: RFC 3164 (timestamp, host and tag, each of which a device may leave out) and RFC 5424. The priority is removed;
missing parts at the front are added, so that the lines of several access points are distinct.
"""

from __future__ import annotations

import re
from datetime import datetime

from agent.sources.syslog_form import one_line, stamp

_PRIORITY = re.compile(rb"<\d{1,3}>")
_RFC5424 = re.compile(
    rb"1 (?P<time>\S{1,40}) (?P<host>\S{1,255}) (?P<app>\S{1,48}) (?P<pid>\S{1,128}) \S{1,32} "
    rb'(?:-|(?:\[(?:[^"\]]|"(?:[^"\\]|\\.)*")*\])+)(?: (?P<message>.*))?\Z',
    re.DOTALL,
)
_STAMP = re.compile(
    rb"[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d(?:\.\d+)? |\d{4}-\d\d-\d\dT\S+ |[A-Z][a-z]{2} [A-Z][a-z]{2} "
)
_TAG = re.compile(rb"[^\s:\[]{1,64}(?:\[[^\]\s]{0,64}\])?:")
_BOM = b"\xef\xbb\xbf"


def to_line(message: bytes, sender: str, now: float) -> bytes:
    """One line, without its newline; empty for a message without content. Never raises.

    `sender` replaces a missing host, `now` (seconds since 1970) a missing time.
    """
    text = one_line(message)
    priority = _PRIORITY.match(text)
    body = text[priority.end() :] if priority else text
    if priority and (match := _RFC5424.fullmatch(body)):
        return _modern(match, sender, now)
    if not body.strip():
        return b""
    found = _STAMP.match(body)
    if found is None:
        return b"%s %s %s" % (stamp(now), sender.encode(), body)
    rest = body[found.end() :]
    if found[0][:1].isdigit() or (found[0][3:4] == b" " and found[0][4:5].isalpha()):
        return body
    return b"%s%s %s" % (found[0], sender.encode(), rest) if _TAG.match(rest) else body


def _modern(match: re.Match[bytes], sender: str, now: float) -> bytes:
    when = _seconds(match["time"], now)
    host = match["host"] if match["host"] != b"-" else sender.encode()
    app = match["app"] if match["app"] != b"-" else b"unknown"
    pid = b"" if match["pid"] == b"-" else b"[%s]" % match["pid"]
    return b"%s %s %s%s: %s" % (stamp(when), host, app, pid, (match["message"] or b"").removeprefix(_BOM))


def _seconds(text: bytes, now: float) -> float:
    try:
        return datetime.fromisoformat(text.decode("ascii")).timestamp()
    except (ValueError, OverflowError, OSError):
        return now
