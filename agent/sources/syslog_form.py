"""The form of a line in a syslog file: `Mon dd hh:mm:ss host tag: message`."""

from __future__ import annotations

import time

_MONTHS = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")


def stamp(seconds: float) -> bytes:
    """Local time as syslog files have it, in English in any locale."""
    t = time.localtime(seconds)
    return b"%s %2d %02d:%02d:%02d" % (_MONTHS[t.tm_mon - 1], t.tm_mday, t.tm_hour, t.tm_min, t.tm_sec)


def one_line(message: bytes) -> bytes:
    """A message without line breaks: they become `#012`, as rsyslog writes them."""
    return message.rstrip(b"\r\n\x00").replace(b"\n", b"#012")
