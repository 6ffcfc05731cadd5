"""A folder with the files of a release: signing it on the owner's machine, and checking all of it.

`make packages` fills the folder. Signing writes the public keys into it and into install.sh, signs apk's indexes (ECDSA), opkg's
`Packages` (Ed25519) and the manifest (both), and lists everything in SHA256SUMS. Folders inside it are other releases.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from collections.abc import Callable
from pathlib import Path

import msgspec

from agent.errors import EdgeError, IdentityError, NotFound
from agent.files import replacing
from agent.release.adb import MAX_INDEX, check_adb, sign_adb
from agent.release.files import check_package
from agent.release.keys import MAX_KEY, MAX_SIGNATURE, PublicKey, SigningKey, UsignKey
from agent.release.manifest import MAX_MANIFEST, Manifest, read_manifest, write_manifest
from agent.release.reading import read_file

MANIFEST, INSTALLER, SUMS, KEY, USIGN_KEY = (
    "manifest.json",
    "install.sh",
    "SHA256SUMS",
    "release.pub",
    "release.usign.pub",
)
MARKERS = (b"@RELEASE_PUB@", b"@RELEASE_USIGN_PUB@")
"""The places in install.sh where signing writes the public keys."""
MAX_INSTALLER = 1024 * 1024


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """A release whose signatures and hashes are right. `pinned` is false where the key came from the folder itself."""

    version: str
    protocol: int
    channel: str
    key: str
    pinned: bool
    files: int


def read_dist(folder: Path) -> tuple[Manifest, bool]:
    """The manifest of the release in `folder`, and whether there is a signature; checks none. Raises as `read_manifest` does."""
    return read_manifest(read_file(folder / MANIFEST, MAX_MANIFEST)), (folder / f"{MANIFEST}.sig").exists()


def sign_dist(
    folder: Path, key: SigningKey, *, next_key: PublicKey | None = None, say: Callable[[str], None] = lambda _: None
) -> Manifest:
    """Sign the release in `folder`; again with the same result but for the signatures' bytes.

    Every package is compared with the manifest before. `say` is told each file that is written. Raises ConfigError,
    IdentityError (`release.package`, `release.installer`), NotFound (`release.file`), OSError.
    """
    manifest, _ = read_dist(folder)
    _check_packages(folder, manifest)
    public, usign = key.public, key.usign

    def put(name: str, data: bytes) -> None:
        with replacing(folder / name, mode=0o644) as file:
            file.write(data)
        say(name)

    put(KEY, public.pem)
    put(USIGN_KEY, usign.text)
    installer = b""
    if (folder / INSTALLER).exists():
        installer = _with_keys(read_file(folder / INSTALLER, MAX_INSTALLER), public, usign)
        put(INSTALLER, installer)
    for index in _indexes(folder):
        put(index.name, sign_adb(read_file(index, MAX_INDEX), key))
    if (folder / "Packages").exists():
        put("Packages.sig", key.sign_for_usign(read_file(folder / "Packages", MAX_INDEX)))
    manifest = msgspec.structs.replace(
        manifest,
        installer=hashlib.sha256(installer).hexdigest() if installer else "",
        next_key=next_key.pem.decode() if next_key is not None and next_key.id != public.id else None,
    )
    raw = write_manifest(manifest)
    put(MANIFEST, raw)
    put(f"{MANIFEST}.sig", key.sign(raw))
    put(f"{MANIFEST}.usig", key.sign_for_usign(raw))
    put(SUMS, sums(folder))
    return manifest


def verify_dist(folder: Path, key: PublicKey | None = None) -> Checked:
    """Check each signature and each file of a release, with `key` or with the folder's.

    Raises IdentityError (`release.signature`, `release.package`, `release.installer`, `release.files`, `release.key`),
    ConfigError, NotFound (`release.file`), OSError.
    """
    public = key or PublicKey.from_pem(read_file(folder / KEY, MAX_KEY))
    usign = UsignKey.from_text(read_file(folder / USIGN_KEY, MAX_KEY))
    raw = read_file(folder / MANIFEST, MAX_MANIFEST)
    public.check(raw, read_file(folder / f"{MANIFEST}.sig", MAX_SIGNATURE))
    usign.check(raw, read_file(folder / f"{MANIFEST}.usig", MAX_SIGNATURE))
    manifest = read_manifest(raw)
    if read_file(folder / KEY, MAX_KEY) != public.pem:
        raise _other(KEY, "is not the key that signed the release")
    expected = {p.file for p in manifest.packages} | {
        KEY,
        USIGN_KEY,
        MANIFEST,
        f"{MANIFEST}.sig",
        f"{MANIFEST}.usig",
        SUMS,
    }
    _check_packages(folder, manifest)
    if manifest.installer:
        expected.add(INSTALLER)
        if hashlib.sha256(read_file(folder / INSTALLER, MAX_INSTALLER)).hexdigest() != manifest.installer:
            raise IdentityError(
                f"{INSTALLER} has another SHA-256 than in the manifest",
                hint="fetch it again; if it repeats, the copy that you fetch was changed",
                code="release.installer",
            )
    for index in _indexes(folder):
        expected.add(index.name)
        check_adb(read_file(index, MAX_INDEX), public)
    if (folder / "Packages").exists():
        expected |= {"Packages", "Packages.gz", "Packages.sig"}
        packages = read_file(folder / "Packages", MAX_INDEX)
        usign.check(packages, read_file(folder / "Packages.sig", MAX_SIGNATURE))
        if _unpacked(read_file(folder / "Packages.gz", MAX_INDEX)) != packages:
            raise _other("Packages.gz", "is not Packages, packed")
    there = {path.name for path in folder.iterdir() if not path.is_dir()}
    if there - expected:
        raise _other(min(there - expected), "is not of this release")
    if read_file(folder / SUMS, MAX_INDEX) != sums(folder):
        raise _other(SUMS, "does not match the files")
    return Checked(
        version=manifest.version, protocol=manifest.protocol, channel=manifest.channel, key=public.id,
        pinned=key is not None, files=len(there),
    )  # fmt: skip


def sums(folder: Path) -> bytes:
    """The content of SHA256SUMS: a line for each other file, in the form that `sha256sum -c` reads."""
    lines = []
    for path in sorted(p for p in folder.iterdir() if p.is_file() and p.name != SUMS and not p.name.startswith(".")):
        with path.open("rb") as file:
            lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {path.name}\n")
    return "".join(lines).encode()


def _check_packages(folder: Path, manifest: Manifest) -> None:
    for package in manifest.packages:
        try:
            with (folder / package.file).open("rb") as file:
                check_package(file, package)
        except FileNotFoundError:
            raise NotFound(
                f"there is no {package.file} in {folder}",
                hint="the manifest names it: copy it too",
                code="release.file",
            ) from None


def _indexes(folder: Path) -> list[Path]:
    return sorted(folder.glob("packages*.adb"))


def _with_keys(script: bytes, public: PublicKey, usign: UsignKey) -> bytes:
    texts = (public.pem.rstrip(b"\n"), usign.text.rstrip(b"\n"))
    for marker, text in zip(MARKERS, texts, strict=True):
        script = script.replace(marker, text)
        if text not in script:
            raise IdentityError(
                f"{INSTALLER} has another release key in it",
                hint="make packages writes a fresh one; sign that",
                code="release.installer",
            )
    return script


def _unpacked(data: bytes) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            return file.read(MAX_INDEX + 1)
    except (OSError, EOFError, zlib.error):
        return b""


def _other(name: str, why: str) -> EdgeError:
    return IdentityError(f"{name} {why}", hint="fetch the release again, or sign it again", code="release.files")
