"""Packages of apk-tools 3 (OpenWrt 25.12 and later) and the index of a repository.

A package is `ADBd` and a raw deflate stream of `ADB.pckg`, a block with the description of all files, and a data block for each
file that is not empty. The index is not packed, so that a signature can be added to it (agent/release/adb.py).
"""

from __future__ import annotations

import hashlib
import itertools
import stat
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from agent.release.adb import block
from writers.adb import INDEX, PACKAGE, Adb, place_of
from writers.entries import EPOCH, Entry, complete, unpacked

SCRIPTS = ("trigger", "pre-install", "post-install", "pre-deinstall", "post-deinstall", "pre-upgrade", "post-upgrade")
"""In the order of their numbers in the format, from 1."""
# Numbers of fields, from apk-tools' src/apk_adb.h.
_NAME, _VERSION, _HASHES, _DESCRIPTION, _ARCH, _LICENSE, _ORIGIN, _MAINTAINER, _URL = range(1, 10)
_BUILD_TIME, _INSTALLED_SIZE, _FILE_SIZE = 11, 12, 13


@dataclass(frozen=True)
class Info:
    """The facts that a package tells about itself. `arch` is `noarch` where OpenWrt has a name for each core."""

    name: str
    version: str
    description: str
    license: str
    url: str
    maintainer: str
    arch: str = "noarch"


@dataclass(frozen=True)
class Listed:
    """A written package as an index lists it: the SHA-256 of its description, its size and its unpacked size."""

    info: Info
    identity: bytes
    size: int
    unpacked: int


def apk_version(version: str, revision: int = 1) -> str:
    """The version in apk's form, `1.2.0_rc1-r1`; raises ValueError for a pre-release that apk cannot order."""
    release, _, pre = version.partition("-")
    kind, _, number = pre.partition(".")
    if pre and (kind not in ("alpha", "beta", "pre", "rc") or not (number or "0").isdigit()):
        raise ValueError(f"apk has no form for the pre-release {pre}: use alpha.N, beta.N, pre.N or rc.N")
    return f"{release}{f'_{kind}{number}' if pre else ''}-r{revision}"


def write_apk(path: Path, info: Info, entries: list[Entry], *, scripts: Mapping[str, str]) -> Listed:
    """Write the package, not signed: apk accepts it from a signed index."""
    unknown = set(scripts) - set(SCRIPTS)
    if unknown:
        raise ValueError(f"not in a package of apk: {', '.join(sorted(unknown))}")
    folders = _folders(complete(entries))
    adb = Adb()
    size = unpacked(entries)
    identity = adb.blob(bytes(20), once=True)
    fields = _info(adb, info) | {_HASHES: identity, _INSTALLED_SIZE: adb.number(size)}
    script_fields = {SCRIPTS.index(name) + 1: adb.blob(text) for name, text in scripts.items()}
    paths = adb.array([_folder(adb, folder, files) for folder, files in folders])
    root = adb.object({1: adb.object(fields), 2: paths, 3: adb.object(script_fields)})
    data = adb.finish(root)
    data[place_of(identity) : place_of(identity) + 20] = hashlib.sha256(data).digest()[:20]
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    with path.open("wb") as out:
        out.write(b"ADBd")
        for piece in itertools.chain((b"ADB." + PACKAGE, block(0, bytes(data))), _contents(folders)):
            out.write(packer.compress(piece))
        out.write(packer.flush())
    return Listed(info, hashlib.sha256(data).digest(), path.stat().st_size, size)


def write_index(path: Path, listed: Listed, file: str) -> None:
    """Write the index of a repository with this one package in `file`, not signed yet. It has to be beside that file."""
    adb = Adb()
    name = listed.info.name
    if not file.startswith(f"{name}-{listed.info.version}"):
        raise ValueError(f"apk finds no file {file} of {name} {listed.info.version}")
    fields = _info(adb, listed.info) | {
        _HASHES: adb.blob(listed.identity), _INSTALLED_SIZE: adb.number(listed.unpacked), _FILE_SIZE: adb.number(listed.size),
    }  # fmt: skip
    spec = "${name}-${version}" + file.removeprefix(f"{name}-{listed.info.version}")
    packages = adb.array([adb.object(fields)])
    root = adb.object({1: adb.blob(listed.info.description), 2: packages, 3: adb.blob(spec)})
    path.write_bytes(b"ADB." + INDEX + block(0, bytes(adb.finish(root))))


def _info(adb: Adb, info: Info) -> dict[int, int]:
    texts = {
        _NAME: info.name, _VERSION: info.version, _DESCRIPTION: info.description, _ARCH: info.arch, _LICENSE: info.license,
        _ORIGIN: info.name, _MAINTAINER: info.maintainer, _URL: info.url,
    }  # fmt: skip
    return {number: adb.blob(text) for number, text in texts.items()} | {_BUILD_TIME: adb.number(EPOCH)}


def _folders(entries: list[Entry]) -> list[tuple[Entry, list[Entry]]]:
    """Each folder with its files and links; folders and files in the order of their bytes, as apk reads them."""
    found: dict[str, tuple[Entry, list[Entry]]] = {e.path: (e, []) for e in entries if e.is_folder}
    for entry in entries:
        if not entry.is_folder:
            folder = entry.path.rpartition("/")[0]
            if not folder:
                raise ValueError(f"{entry.path} is not in a folder")
            found[folder][1].append(entry)
    for _, files in found.values():
        files.sort(key=lambda e: e.path.rpartition("/")[2].encode())
    return [found[path] for path in sorted(found, key=str.encode)]


def _folder(adb: Adb, folder: Entry, files: list[Entry]) -> int:
    items = adb.array([_file(adb, entry) for entry in files])
    return adb.object({1: adb.blob(folder.path), 2: _owner(adb, folder.mode), 3: items})


def _file(adb: Adb, entry: Entry) -> int:
    fields = {1: adb.blob(entry.path.rpartition("/")[2]), 2: _owner(adb, entry.mode), 4: adb.number(EPOCH)}
    if entry.target is not None:
        fields[6] = adb.blob(struct.pack("<H", stat.S_IFLNK) + entry.target.encode())
    else:
        digest = hashlib.sha256()
        for piece in entry.pieces():
            digest.update(piece)
        fields |= {3: adb.number(entry.size), 5: adb.blob(digest.digest())}
    return adb.object(fields)


def _owner(adb: Adb, mode: int) -> int:
    return adb.object({1: adb.number(mode), 2: adb.blob("root"), 3: adb.blob("root")})


def _contents(folders: list[tuple[Entry, list[Entry]]]) -> Iterator[bytes]:
    """The data blocks: the numbers of folder and file, from 1, and the file's bytes."""
    for folder, (_, files) in enumerate(folders, 1):
        for number, entry in enumerate(files, 1):
            length = entry.size + 12
            if entry.size:
                yield struct.pack("<III", 2 << 30 | length, folder, number)
                yield from entry.pieces()
                yield bytes(-length % 8)
