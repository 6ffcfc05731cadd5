"""The archive of an image, as `docker save` writes it: read with limits, and written again with that image alone.

An archive that came from another node may hold other images and names, which `docker load` would all take. So only the
image's configuration, whose SHA-256 is the image's id, and its layers are passed on; the engine checks each layer against the
digest in the configuration. Source: Docker's image specification 1.2 (moby/moby, image/spec/v1.2.md), "Combined Image JSON +
Filesystem Changeset Format"; ustar: POSIX.1-1988. Nothing here uses `tarfile` to read: it takes headers of any length.
"""

from __future__ import annotations

import hashlib
import posixpath
import tarfile
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple, TypeVar

import msgspec

from agent.errors import BlobError
from agent.model.decoding import DAMAGED

BLOCK = 512
PIECE = 1 << 20
MAX_MEMBERS = 4096
MAX_LAYERS = 256
"""Docker itself takes no more than 127."""
MAX_TEXT = 4 << 20
"""Most bytes of the manifest, and of the configuration."""
T = TypeVar("T")
_FILE, _LINK = (b"0", b"\0"), (b"1", b"2")


class Member(NamedTuple):
    """A file in the archive: where its bytes start, how many it has, and what it links to."""

    start: int
    size: int
    link: str = ""


class _Entry(msgspec.Struct):
    config: str = msgspec.field(name="Config")
    layers: list[str] = msgspec.field(name="Layers")


class _RootFs(msgspec.Struct):
    diff_ids: list[str]


class _Config(msgspec.Struct):
    rootfs: _RootFs


def only_image(file: BinaryIO, image: str) -> Iterator[bytes]:
    """The archive in `file` with the image of this id (`sha256:…`) alone and without names, in pieces; raises BlobError."""
    found = members(file)
    entries = _decode(_text(file, found, "manifest.json"), list[_Entry])
    if len(entries) != 1 or len(entries[0].layers) > MAX_LAYERS:
        raise wrong(f"{len(entries)} images where one is expected")
    config = _text(file, found, entries[0].config)
    if f"sha256:{hashlib.sha256(config).hexdigest()}" != image:
        raise wrong(f"the image in it is not {image}")
    diffs = _decode(config, _Config).rootfs.diff_ids
    if len(diffs) != len(entries[0].layers):
        raise wrong(f"{len(entries[0].layers)} layers where {len(diffs)} are expected")
    names: dict[str, str] = {}
    yield from _written("config.json", [config], len(config))
    for number, (diff, path) in enumerate(zip(diffs, entries[0].layers, strict=True)):
        if diff not in names:
            names[diff] = f"{number}.tar"
            member = _member(found, path)
            yield from _written(names[diff], _pieces(file, member), member.size)
    manifest = msgspec.json.encode([{"Config": "config.json", "RepoTags": None, "Layers": [names[d] for d in diffs]}])
    yield from _written("manifest.json", [manifest], len(manifest))
    yield bytes(2 * BLOCK)


def members(file: BinaryIO) -> dict[str, Member]:
    """The files and links of a tar by their names; extended headers are passed over. Raises BlobError."""
    found: dict[str, Member] = {}
    end, at = file.seek(0, 2), 0
    for _ in range(MAX_MEMBERS):
        file.seek(at)
        header = file.read(BLOCK)
        if len(header) < BLOCK or not header.strip(b"\0"):
            return found
        size, kind, at = _number(header[124:136]), header[156:157], at + BLOCK
        if at + size > end:
            raise wrong("it ends too early")
        name = _name(header)
        if kind in _FILE:
            found[name] = Member(at, size)
        elif kind in _LINK:
            link = header[157:257].partition(b"\0")[0].decode(errors="replace")
            target = posixpath.join(posixpath.dirname(name), link) if kind == b"2" else link
            found[name] = Member(at, 0, posixpath.normpath(target))
        at += -(-size // BLOCK) * BLOCK
    raise wrong(f"it has more than {MAX_MEMBERS} files")


def _name(header: bytes) -> str:
    name, prefix = (header[a:b].partition(b"\0")[0].decode(errors="replace") for a, b in ((0, 100), (345, 500)))
    return posixpath.normpath(f"{prefix}/{name}" if prefix and header[257:262] == b"ustar" else name)


def _number(field: bytes) -> int:
    """A number in a header: octal digits, or binary with the highest bit set (GNU)."""
    if field[0] & 0x80:
        return int.from_bytes(field[1:], "big")
    text = field.strip(b" \0")
    if not text or any(c not in b"01234567" for c in text):
        raise wrong("a header in it is damaged")
    return int(text, 8)


def _member(found: dict[str, Member], name: str) -> Member:
    member = found.get(posixpath.normpath(name))
    if member is not None and member.link:  # a layer that two images share is there once
        member = found.get(member.link)
    if member is None or member.link:
        raise wrong(f"{name[:100]!r} is missing in it")
    return member


def _text(file: BinaryIO, found: dict[str, Member], name: str) -> bytes:
    member = _member(found, name)
    if member.size > MAX_TEXT:
        raise wrong(f"{name[:100]!r} has {member.size} bytes")
    return b"".join(_pieces(file, member))


def _pieces(file: BinaryIO, member: Member) -> Iterator[bytes]:
    left = member.size
    file.seek(member.start)
    while left:
        piece = file.read(min(PIECE, left))
        if not piece:
            raise wrong("it ends too early")
        left -= len(piece)
        yield piece


def _written(name: str, pieces: Iterator[bytes] | list[bytes], size: int) -> Iterator[bytes]:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o644
    yield entry.tobuf(tarfile.USTAR_FORMAT)
    yield from pieces
    yield bytes(-size % BLOCK)


def _decode(text: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(text, type=kind)
    except DAMAGED as e:
        raise wrong(f"a text in it cannot be read: {e}") from None


def wrong(what: str) -> BlobError:
    """The error for an archive that is not the image it should be."""
    return BlobError(
        f"the archive of the image cannot be used: {what}",
        code="image.wrong",
        hint="the node that sent it has another version of the agent or of its engine, or lies: see its log",
    )
