"""The manifest of a release: its version and the size and hash of each package, in one form of bytes.

The form is fixed so that a shell script and this module read the same: one field of the top level a line, one package a line,
no key twice. The signature is over these exact bytes. A reader ignores fields that it does not know, so that a later release
may add some; `schema` changes when an old agent could misread the rest.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from agent.errors import ConfigError, NotFound
from agent.release.keys import PublicKey
from agent.release.version import MAX_VERSION, PATTERN, Version

MAX_MANIFEST = 256 * 1024
"""Most bytes of a manifest; one package takes about 300."""
SCHEMA = 1

Kind = Literal["tar.xz", "deb", "ipk", "apk"]
Program = Literal["edge-agent", "edge-sink"]
Arch = Literal["x86_64", "armv7", "aarch64"]
Variant = Literal["", "camera", "detector"]
_Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]


class Package(msgspec.Struct, frozen=True, kw_only=True):
    """One package: `size` and `unpacked` are bytes, `sha256` is hexadecimal."""

    file: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+~-]{0,127}\Z")]
    kind: Kind
    program: Program
    arch: Arch
    variant: Variant = ""
    size: Annotated[int, Meta(ge=1, le=2 * 1024**3)]
    unpacked: Annotated[int, Meta(ge=1, le=8 * 1024**3)]
    sha256: _Digest


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """A release. `released` is RFC 3339 in UTC; `installer` is the SHA-256 of install.sh, or empty without one.

    `next_key` is the PEM of the key that replaces the one that signs this manifest.
    """

    schema: Literal[1] = 1
    version: Annotated[str, Meta(pattern=PATTERN.replace("$", r"\Z"), max_length=MAX_VERSION)]
    protocol: Annotated[int, Meta(ge=1, le=65535)]
    channel: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{0,31}\Z")] = "stable"
    released: Annotated[str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z\Z")]
    installer: Annotated[str, Meta(pattern=r"^([0-9a-f]{64})?\Z")] = ""
    packages: Annotated[tuple[Package, ...], Meta(max_length=256)]
    next_key: Annotated[str, Meta(max_length=1024)] | None = None

    @property
    def order(self) -> Version:
        """The version as one that can be compared."""
        return Version(self.version)

    def find(self, kind: str, arch: str, *, program: str = "edge-agent", variant: str = "") -> Package:
        """The package for a machine; raises NotFound (`release.no-package`)."""
        for package in self.packages:
            if (package.program, package.kind, package.arch, package.variant) == (program, kind, arch, variant):
                return package
        name = f"{program}{f'-{variant}' if variant else ''}"
        there = sorted({p.arch for p in self.packages if (p.program, p.kind, p.variant) == (program, kind, variant)})
        raise NotFound(
            f"release {self.version} has no {kind} of {name} for {arch}",
            hint=f"it has one for {', '.join(there)}" if there else "edge-agent release show lists its packages",
            code="release.no-package",
        )


def read_manifest(raw: bytes) -> Manifest:
    """The manifest in these bytes; raises ConfigError (`release.manifest`, `release.schema`).

    Check the signature over the same bytes before you believe it.
    """
    if len(raw) > MAX_MANIFEST:
        raise _damaged(f"it has {len(raw)} bytes, and {MAX_MANIFEST} are allowed")
    try:
        fields = json.loads(raw, object_pairs_hook=_once, parse_float=_no_number, parse_constant=_no_number)
        if not isinstance(fields, dict):
            raise _damaged("it is not a JSON object")
        if isinstance(fields.get("schema"), int) and fields["schema"] > SCHEMA:
            raise ConfigError(
                f"the release's manifest has schema {fields['schema']}; this agent reads schema {SCHEMA}",
                hint="run the installer's line again: it brings the newer agent",
                code="release.schema",
            )
        manifest = msgspec.convert(fields, Manifest)
        same = _bytes_of(fields) == raw
    except (msgspec.ValidationError, ValueError, RecursionError) as error:
        raise _damaged(str(error)[:200]) from error
    if not same:
        raise _damaged("its bytes are not in the one form of manifests")
    if len({p.file for p in manifest.packages}) != len(manifest.packages):
        raise _damaged("two packages have one file name")
    if manifest.next_key is not None:
        PublicKey.from_pem(manifest.next_key.encode())
    return manifest


def write_manifest(manifest: Manifest) -> bytes:
    """The manifest in its one form; raises ConfigError where `read_manifest` would refuse it."""
    raw = _bytes_of(msgspec.to_builtins(manifest))
    read_manifest(raw)
    return raw


def _bytes_of(fields: dict[str, Any]) -> bytes:
    lines = []
    for name, value in fields.items():
        text = json.dumps(value)
        if isinstance(value, list | tuple) and value:
            text = "[\n" + ",\n".join(f"  {json.dumps(item)}" for item in value) + "\n ]"
        lines.append(f" {json.dumps(name)}: {text}")
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode("ascii")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a key is in it twice")
    return fields


def _no_number(text: str) -> Any:
    raise ValueError(f"{text[:20]} is not a whole number")


def _damaged(why: str) -> ConfigError:
    return ConfigError(
        f"the release's manifest is damaged: {why}", hint="fetch the release again", code="release.manifest"
    )
