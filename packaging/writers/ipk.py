"""OpenWrt packages for opkg (24.10 and older), and the list of a feed.

An .ipk is a tar packed with gzip, of `./debian-binary`, `./data.tar.gz` and `./control.tar.gz`.
"""

from __future__ import annotations

import gzip
import io
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from writers.deb import control_text
from writers.entries import Entry, complete, file, unpacked
from writers.tar import write_tar_gz

SCRIPTS = ("preinst", "postinst", "prerm", "postrm")


def write_ipk(
    path: Path,
    fields: Mapping[str, str],
    entries: list[Entry],
    *,
    scripts: Mapping[str, str],
    conffiles: tuple[str, ...] = (),
) -> None:
    """Write the package; `fields` are those of its control file without Installed-Size (which is in bytes)."""
    entries = complete(entries)
    unknown = set(scripts) - set(SCRIPTS)
    missing = set(conffiles) - {f"/{e.path}" for e in entries}
    if unknown or missing:
        raise ValueError(f"not in a package of opkg: {', '.join(sorted(unknown | missing))}")
    control = [file("control", control_text({**fields, "Installed-Size": str(unpacked(entries))}))]
    control += [file(name, text, 0o755) for name, text in scripts.items()]
    if conffiles:
        control.append(file("conffiles", "".join(f"{name}\n" for name in conffiles)))
    packed = io.BytesIO()
    write_tar_gz(packed, complete(control), before="./")
    with tempfile.TemporaryDirectory() as folder, path.open("wb") as out:
        data = Path(folder, "data.tar.gz")
        with data.open("wb") as inner:
            write_tar_gz(inner, entries, before="./")
        members = (
            file("debian-binary", "2.0\n"),
            Entry("data.tar.gz", 0o644, data),
            file("control.tar.gz", packed.getvalue()),
        )
        write_tar_gz(out, members, before="./")


def feed(paragraphs: Iterable[Mapping[str, str]]) -> tuple[bytes, bytes]:
    """The contents of `Packages` and `Packages.gz`; each paragraph is a package's control with Filename, Size, SHA256sum."""
    text = "\n".join(control_text(p) for p in paragraphs).encode()
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", fileobj=packed, mode="wb", mtime=0, compresslevel=9) as out:
        out.write(text)
    return text, packed.getvalue()
