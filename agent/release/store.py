"""The release folder of a node: the pinned key, the manifests that it accepted, and the rule about the next one.

`/etc/edge-agent/release/` holds `release.pub`, `current` and `previous` (each the signature in base64 on a line, then the manifest, so
that a power cut leaves both or neither), and `newest`, the highest version that was ever accepted here. A manifest may be
installed when the pinned key signed it and one of these holds: it is higher than every version before, it is the current one
again, or it is exactly the stored previous one. Everything else is a downgrade or a replay. A new key comes only in `next_key`
of a manifest that the pinned key signed.
"""

from __future__ import annotations

import base64
import binascii
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from agent.errors import ConfigError, IdentityError, NotFound, Refused
from agent.files import replacing
from agent.release.keys import MAX_KEY, MAX_SIGNATURE, PublicKey
from agent.release.manifest import MAX_MANIFEST, Manifest, read_manifest
from agent.release.reading import read_file
from agent.release.version import MAX_VERSION, Version

logger = logging.getLogger(__name__)

_KEY, _NEWEST, _CURRENT, _PREVIOUS = "release.pub", "newest", "current", "previous"
_MAX_KEPT = MAX_MANIFEST + 2 * MAX_SIGNATURE


@dataclass(frozen=True)
class Admission:
    """A manifest that may be installed here. `way` is `first`, `upgrade`, `again` or `back`."""

    manifest: Manifest
    way: str
    raw: bytes
    signature: bytes


class ReleaseStore:
    """The release folder of one node. Its owner calls one method at a time."""

    def __init__(self, folder: Path) -> None:
        """`folder` is `/etc/edge-agent/release`; made when first written to. Its files are public, and root's."""
        self.folder = folder

    @property
    def key(self) -> PublicKey | None:
        """The pinned key, None before `pin`; raises IdentityError where the file is damaged."""
        pem = self._read(_KEY, MAX_KEY)
        return None if pem is None else PublicKey.from_pem(pem)

    @property
    def current(self) -> Manifest | None:
        """The manifest of the installed release; None where none was accepted."""
        return self._manifest(_CURRENT)

    @property
    def previous(self) -> Manifest | None:
        """The manifest of the release before it, to which this node may go back."""
        return self._manifest(_PREVIOUS)

    def pin(self, pem: bytes) -> PublicKey:
        """Pin the key at the installation; raises IdentityError where another one is pinned."""
        key, pinned = PublicKey.from_pem(pem), self.key
        if pinned is not None and pinned.id != key.id:
            raise IdentityError(
                f"this node has pinned the release key {pinned.id[:23]}…, not {key.id[:23]}…",
                hint="only a release that the pinned key signed can change it (edge-agent release sign --next-key); "
                "to trust another owner, uninstall and install again",
                code="release.pinned",
            )
        self._write(_KEY, key.pem)
        return key

    def admit(
        self, raw: bytes, signature: bytes, *, channel: str | None = None, running: str | None = None
    ) -> Admission:
        """Whether this manifest may be installed here; changes nothing.

        `channel` is the channel that a person asked for; without it a node keeps the channel of its current release. `running`
        is the version that runs: the installer's first installation leaves no manifest to compare with. Raises
        IdentityError (`release.no-key`, `release.signature`), ConfigError (`release.manifest`, `release.schema`) and Refused
        (`release.downgrade`, `release.replaced`, `release.channel`).
        """
        manifest = self._signed(raw, signature)
        current, previous = self._kept(_CURRENT), self._kept(_PREVIOUS)
        if current is not None and raw == current[0]:
            return Admission(manifest, "again", raw, signature)
        if previous is not None and raw == previous[0]:
            return Admission(manifest, "back", raw, signature)
        known = (
            self._newest(),
            Version(running) if running else None,
        )  # by hand one can install what was never accepted here
        newest = max((version for version in known if version is not None), default=None)
        if newest is not None and manifest.order < newest:
            raise Refused(
                f"release {manifest.version} is older than {newest}, which was accepted here before",
                hint="a node goes back only to the release that it ran before",
                code="release.downgrade",
            )
        if manifest.order == self._newest():
            raise Refused(
                f"another manifest of release {manifest.version} was accepted here before",
                hint="its owner gives a changed release a new version",
                code="release.replaced",
            )
        follows = channel or (read_manifest(current[0]).channel if current is not None else manifest.channel)
        if manifest.channel != follows:
            raise Refused(
                f"release {manifest.version} is of the channel {manifest.channel}, and this node follows {follows}",
                hint=f"ask for it with --channel {manifest.channel}",
                code="release.channel",
            )
        return Admission(manifest, "first" if current is None else "upgrade", raw, signature)

    def accept(self, admission: Admission) -> None:
        """Keep an admitted manifest as the current one, after its installation; the one before becomes the previous one.

        Pins its `next_key`. After a crash in between, `admit` and this once more complete it. Raises OSError.
        """
        if admission.way != "again":
            old = self._read(_CURRENT, _MAX_KEPT)
            if old is not None:
                self._write(_PREVIOUS, old)
            self._write(_CURRENT, base64.b64encode(admission.signature) + b"\n" + admission.raw)
        newest = self._newest()
        if newest is None or admission.manifest.order > newest:
            self._write(_NEWEST, admission.manifest.version.encode())
        self._pin_next(admission.manifest)

    def follow_key(self, raw: bytes, signature: bytes) -> PublicKey:
        """Change the pinned key to the `next_key` of a manifest that the pinned key signed, without installing its release.

        A node that missed this release needs it before those that the new key signed. Returns the key that is pinned then.
        Raises IdentityError and ConfigError as `admit` does, and Refused (`release.no-next-key`).
        """
        manifest = self._signed(raw, signature)
        if manifest.next_key is None:
            raise Refused(f"release {manifest.version} names no next key", code="release.no-next-key")
        return self._pin_next(manifest) or PublicKey.from_pem(manifest.next_key.encode())

    def _pin_next(self, manifest: Manifest) -> PublicKey | None:
        pinned = self.key
        if manifest.next_key is None or pinned is None:
            return None
        following = PublicKey.from_pem(manifest.next_key.encode())
        if following.id != pinned.id:
            self._write(_KEY, following.pem)
            logger.warning("the release key is now %s; release %s named it", following.id, manifest.version)
        return following

    def _signed(self, raw: bytes, signature: bytes) -> Manifest:
        if len(raw) > MAX_MANIFEST or len(signature) > MAX_SIGNATURE:
            raise ConfigError(
                f"a manifest of {len(raw)} bytes with a signature of {len(signature)} bytes is too large",
                hint="fetch the release again",
                code="release.manifest",
            )
        key = self.key
        if key is None:
            raise IdentityError(
                "this node has pinned no release key",
                hint="run the installer's line again: it pins the key of the line",
                code="release.no-key",
            )
        # The stored manifests were checked when they came; the key may have changed since.
        if (raw, signature) not in (self._kept(_CURRENT), self._kept(_PREVIOUS)):
            key.check(raw, signature)
        return read_manifest(raw)

    def _manifest(self, name: str) -> Manifest | None:
        kept = self._kept(name)
        return None if kept is None else read_manifest(kept[0])

    def _kept(self, name: str) -> tuple[bytes, bytes] | None:
        """A stored manifest and its signature."""
        data = self._read(name, _MAX_KEPT)
        if data is None:
            return None
        line, _, raw = data.partition(b"\n")
        try:
            return raw, base64.b64decode(line, validate=True)
        except binascii.Error as error:
            raise IdentityError(
                f"{self.folder / name} is damaged", hint="run the installer's line again", code="release.manifest"
            ) from error

    def _read(self, name: str, limit: int) -> bytes | None:
        try:
            return read_file(self.folder / name, limit)
        except NotFound:
            return None
        except OSError as error:
            raise IdentityError(
                f"cannot read {self.folder / name}: {error.strerror}", hint="run it as root", code="release.folder"
            ) from error

    def _write(self, name: str, data: bytes) -> None:
        self.folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        with replacing(self.folder / name, mode=0o644) as file:
            os.fchmod(file.fileno(), 0o644)  # the agent, another user, reads it whatever the umask is
            file.write(data)

    def _newest(self) -> Version | None:
        text = self._read(_NEWEST, MAX_VERSION)
        return None if text is None else Version(text.decode("ascii", "replace"))
