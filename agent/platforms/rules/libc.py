"""Which C library has the system?"""

from __future__ import annotations

import re

from agent.platforms.facts import Host

GLIBC, MUSL, UCLIBC = "glibc", "musl", "uclibc"
_LOADERS = ((re.compile(r"ld-linux"), GLIBC), (re.compile(r"ld-uClibc"), UCLIBC), (re.compile(r"ld-musl-"), MUSL))
_NAMED = re.compile(rb"\x00/lib[\x21-\x7e]{0,60}(ld-[\x21-\x7e]{1,60})\x00")
_FOLDERS = ("/lib64", "/lib", "/usr/lib64", "/usr/lib")


def libc(host: Host) -> str:
    """The C library, by the loader that the shell names, else by the loaders that are there; empty where there is none."""
    named = _NAMED.search(b"\0" + host.read("/bin/sh", 4096))
    names = [named[1].decode()] if named else [n for folder in _FOLDERS for n in host.names(folder)]
    return next((libc for loader, libc in _LOADERS if any(loader.match(n) for n in names)), "")
