"""Tar archives, plain and packed with xz or gzip."""

from __future__ import annotations

import gzip
import io
import lzma
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from writers.entries import EPOCH, Entry

_XZ = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 16 * 1024 * 1024}]
"""A dictionary of 16 MiB: unpacking needs as much memory, which an access point with 128 MB has."""


def write_tar(out: IO[bytes], entries: Iterable[Entry], *, before: str = "") -> None:
    """Write a tar (GNU form, which busybox reads) with `before` in front of each path."""
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.GNU_FORMAT, bufsize=512) as tar:
        for entry in entries:
            info = tarfile.TarInfo(before + entry.path)
            info.mode, info.mtime, info.uname, info.gname = entry.mode, EPOCH, "root", "root"
            if entry.is_folder:
                info.type = tarfile.DIRTYPE
                tar.addfile(info)
            elif entry.target is not None:
                info.type, info.linkname = tarfile.SYMTYPE, entry.target
                tar.addfile(info)
            else:
                info.size = entry.size
                if isinstance(entry.content, Path):
                    with entry.content.open("rb") as file:
                        tar.addfile(info, file)
                else:
                    tar.addfile(info, io.BytesIO(entry.content or b""))


def write_tar_xz(out: IO[bytes], entries: Iterable[Entry], *, before: str = "") -> None:
    """The same, packed with xz."""
    with lzma.LZMAFile(out, "w", check=lzma.CHECK_CRC32, filters=_XZ) as packed:
        write_tar(packed, entries, before=before)


def write_tar_gz(out: IO[bytes], entries: Iterable[Entry], *, before: str = "") -> None:
    """The same, packed with gzip."""
    with gzip.GzipFile(filename="", fileobj=out, mode="wb", mtime=0, compresslevel=6) as packed:
        write_tar(packed, entries, before=before)  # type: ignore[arg-type]
