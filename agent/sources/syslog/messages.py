"""Syslog messages as lines of a syslog file.

Sources: RFC 3164 (timestamp, host and tag, each of which a device may leave out) and RFC 5424. The priority is removed, and the
sender's address stands where a host is missing, so that the lines of several access points are distinct. A message in
another form stays as it is: the filter knows the forms.
"""

from __future__ import annotations

import re
from datetime import datetime

from agent.sources.syslog_form import one_line, stamp

_BOM = b"\xef\xbb\xbf"
_PRIORITY = re.compile(rb"(?:\xef\xbb\xbf)?(?:\d{1,7} )?<\d{1,3}>(?:\xef\xbb\xbf)?")
_STAMP = re.compile(
    rb"[A-Z][a-z]{2} {1,2}\d{1,2} (?:\d{4} )?\d\d:\d\d:\d\d(?:\.\d+)? |\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\S* "
)
_TAG = re.compile(rb"[^\s:\[]{1,64}(?:\[[^\]\s]{0,64}\])?:(?= |\Z)")
_NUMBERED = re.compile(rb"(?:\d{1,10}: ){1,2}(?=(?:" + _STAMP.pattern + rb"))")
_CISCO = re.compile(
    rb"(\d{1,10}: )(?:\d{1,10}: )?"
    rb"(?=[*.]?[A-Z][a-z]{2} {1,2}\d{1,2} (?:\d{4} )?\d\d:\d\d:\d\d(?:\.\d+)?(?: [A-Z]{2,5})?: )"
)
"""Sequence numbers before a time that ends in a colon, without a host between them."""
_REPEATED = re.compile(rb"(?:\A|(?<= ))message repeated \d{1,9} times?: \[ ?")
_RELAYED = re.compile(rb"(?:" + _STAMP.pattern + rb")(?P<host>\S{1,255}) (?=<\d{1,3}>1 )")
"""The header of a relay before a message of RFC 5424."""
_SEPARATED = re.compile(
    rb"\x00+|(?<![\r\n])[\r\n]++(?=(?:\xef\xbb\xbf)?(?:\d{1,7} )?<\d{1,3}>|" + _STAMP.pattern + rb")"
)
_SECTION = (
    rb"1 (?P<time>-|\d{4}-\d\d-\d\dT\S{1,40}) (?P<host>\S{1,255}%s) (?P<app>\S{1,48}) (?P<pid>%s)"
    rb"(?: \S{1,32} (?P<data>-|(?:\[(?:[^\"\]]|\"(?:[^\"\\]|\\.)*\")*\])+)|%s)(?: (?P<message>.*))?\Z"
)
_RFC5424 = tuple(
    re.compile(_SECTION % parts, re.DOTALL)
    for parts in (
        (b"", rb"\S{1,128}", b"(?!)"),
        # Beyond the standard: spaces in the host; no structured data, of which a message id may be left.
        (rb"(?: [^\s\[]{1,64}){1,4}?", rb"-|\d{1,10}", b"(?!)"),
        (b"", rb"\S{1,128}", rb"(?: -| [A-Z][A-Z0-9_-]{0,31}(?= [^\s:]+: ))?"),
    )
)


def messages_of(datagram: bytes) -> list[bytes]:
    """The messages of a datagram: several where each begins a line with a priority or a time, or follows a NUL."""
    return [message for message in _SEPARATED.split(datagram) if message]


def to_line(message: bytes, sender: str, now: float) -> bytes:
    """One line, without its newline; empty for a message without content. Never raises.

    `sender` replaces a missing host, `now` (seconds since 1970) a missing time.
    """
    line = _line(one_line(message), sender, now)
    if relayed := _RELAYED.match(line):
        return _line(line[relayed.end() :], relayed["host"].decode(errors="replace"), now)
    return line


def _line(text: bytes, sender: str, now: float) -> bytes:
    priority = _PRIORITY.match(text)
    body = (text[priority.end() :] if priority else text).removeprefix(_BOM)
    if priority and body.startswith(b"1 "):
        for form in _RFC5424:
            if match := form.fullmatch(body):
                return _modern(match, sender, now)
    return _with_host(_once(body), sender.encode(), now) if body.strip() else b""


def _with_host(body: bytes, sender: bytes, now: float) -> bytes:
    """The body with the sender as its host, where it has a program but no host before it."""
    if match := _CISCO.match(body):
        return b"%s%s: %s" % (match[1], sender, body[match.end() :])
    if match := _NUMBERED.match(body):
        body = body[match.end() :]
    found = _STAMP.match(body)
    rest = body[found.end() :] if found else body
    if not _TAG.match(rest) or (found is None and rest[:1].isdigit()):
        return body
    return b"%s%s %s" % (found[0] if found else stamp(now) + b" ", sender, rest)


def _once(text: bytes) -> bytes:
    """A repeated message as the message itself: that it came again says nothing new."""
    found = _REPEATED.search(text)
    return text if found is None else text[: found.start()] + text[found.end() :].rstrip().removesuffix(b"]")


def _modern(match: re.Match[bytes], sender: str, now: float) -> bytes:
    when = stamp(_seconds(match["time"], now))
    host = match["host"].replace(b" ", b"-") if match["host"] != b"-" else sender.encode()
    data, message = match["data"] or b"-", _once((match["message"] or b"").removeprefix(_BOM))
    if data != b"-" and b'="' not in data:
        message = data + b" " + message  # it is text in brackets
    if match["app"] == b"-":
        return b"%s %s %s" % (when, host, message)
    pid = b"" if match["pid"] == b"-" else b"[%s]" % match["pid"]
    return b"%s %s %s%s: %s" % (when, host, match["app"], pid, message)


def _seconds(text: bytes, now: float) -> float:
    try:
        return datetime.fromisoformat(text.decode("ascii")).timestamp()
    except (ValueError, OverflowError, OSError):
        return now
