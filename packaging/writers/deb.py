"""Debian packages: an ar archive of `debian-binary`, `control.tar.xz` and `data.tar.xz` (deb(5))."""

from __future__ import annotations

import hashlib
import io
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from writers.entries import EPOCH, Entry, complete, file
from writers.tar import write_tar_xz

SCRIPTS = ("preinst", "postinst", "prerm", "postrm")


def deb_version(version: str) -> str:
    """The version as dpkg orders it: a pre-release before its release."""
    return version.replace("-", "~", 1)


def control_text(fields: Mapping[str, str]) -> str:
    """A control paragraph; lines after the first of a text are indented, and empty fields left out."""
    return "".join(
        f"{name}: {value.strip().replace(chr(10), chr(10) + ' ')}\n" for name, value in fields.items() if value
    )


def write_deb(
    path: Path,
    fields: Mapping[str, str],
    entries: list[Entry],
    *,
    scripts: Mapping[str, str],
    conffiles: tuple[str, ...] = (),
) -> None:
    """Write the package; `fields` are those of its control file without Installed-Size (which is in KiB)."""
    entries = complete(entries)
    size = sum((e.size + 1023) // 1024 or 1 for e in entries)
    control = [file("control", control_text({**fields, "Installed-Size": str(size)}))]
    control += [file(name, text, 0o755) for name, text in scripts.items()]
    sums = [f"{_md5(e)}  {e.path}\n" for e in entries if e.content is not None and f"/{e.path}" not in conffiles]
    control.append(file("md5sums", "".join(sums)))
    if conffiles:
        control.append(file("conffiles", "".join(f"{name}\n" for name in conffiles)))
    unknown = set(scripts) - set(SCRIPTS)
    missing = set(conffiles) - {f"/{e.path}" for e in entries}
    if unknown or missing:
        raise ValueError(f"not in a Debian package: {', '.join(sorted(unknown | missing))}")
    with tempfile.TemporaryFile() as data, path.open("wb") as out:
        write_tar_xz(data, entries, before="./")
        packed = io.BytesIO()
        write_tar_xz(packed, complete(control), before="./")
        out.write(b"!<arch>\n")
        _member(out, "debian-binary", io.BytesIO(b"2.0\n"))
        _member(out, "control.tar.xz", packed)
        _member(out, "data.tar.xz", data)


def _member(out: IO[bytes], name: str, content: IO[bytes]) -> None:
    size = content.seek(0, io.SEEK_END)
    content.seek(0)
    out.write(f"{name:<16}{EPOCH:<12}{0:<6}{0:<6}{'100644':<8}{size:<10}`\n".encode("ascii"))
    shutil.copyfileobj(content, out)
    out.write(b"\n" * (size % 2))


def _md5(entry: Entry) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    for piece in entry.pieces():
        digest.update(piece)
    return digest.hexdigest()
