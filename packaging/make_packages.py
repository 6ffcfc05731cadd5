"""Makes the packages of a release from the frozen trees in build/dist, into dist/.

    python3 packaging/make_packages.py [--trees build/dist] [--out dist] [--channel stable] [--key FILE] [--passphrase-file FILE]

Each tree gives a tar.xz and a .deb; the agent's plain trees also give OpenWrt's .ipk and .apk. Then come the lists of opkg and
apk, install.sh, the manifest and SHA256SUMS. Nothing is signed without --key: edge-agent release sign does it. Equal trees give
equal packages; SOURCE_DATE_EPOCH also fixes the manifest's time. Exit codes: 0 made, 1 failed, 2 wrong use.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import os
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import contents
import msgspec
from contents import HERE, ROOT, Tree
from writers.apk import apk_version, write_apk, write_index
from writers.deb import deb_version, write_deb
from writers.entries import complete, tree, unpacked
from writers.ipk import feed, write_ipk
from writers.tar import write_tar_xz

from agent.errors import EdgeError
from agent.release import Manifest, Package, SigningKey, Version, sign_dist, verify_dist, write_manifest
from agent.release.dist import sums
from agent.terminal import report

KINDS = ("tar.xz", "deb", "ipk", "apk")


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and make the packages."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--trees", type=Path, default=ROOT / "build/dist", help="folder with ARCH[-VARIANT]/PROGRAM")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "dist", help="folder for the release; its files are replaced"
    )
    parser.add_argument("--channel", default="stable", help="the channel that the release is for")
    parser.add_argument("--key", type=Path, help="the private file of the release key: sign at once")
    parser.add_argument("--passphrase-file", type=Path, help="file with its passphrase")
    a = parser.parse_args(arguments)
    try:
        trees = find(a.trees)
        key = None
        if a.key:
            key = SigningKey.from_file(
                a.key, lambda: a.passphrase_file.read_bytes().rstrip(b"\r\n") if a.passphrase_file else b""
            )
        a.out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=a.out.parent, prefix=f".{a.out.name}.") as folder:
            manifest = make(trees, Path(folder), a.channel)
            if key:
                sign_dist(Path(folder), key)
                verify_dist(Path(folder), key.public)
            replace(Path(folder), a.out)
    except EdgeError as e:
        report(e)
        return 1
    except (ValueError, OSError) as e:
        print(f"make packages: {e}", file=sys.stderr)
        return 1
    print(
        f"release {manifest.version}: {len(manifest.packages)} packages in {a.out}, {'signed' if key else 'not signed'}"
    )
    return 0


def find(folder: Path) -> list[Tree]:
    """The trees, all of one version and protocol; raises ValueError."""
    found = [Tree.read(p.parent.parent) for p in sorted(folder.glob("*/*/_internal/tree.json"))]
    if not found:
        raise ValueError(f"there is no frozen tree in {folder}: make dist ARCH=x86_64 makes one")
    if len({(t.version, t.protocol) for t in found}) > 1:
        raise ValueError("the trees are of several versions: " + ", ".join(f"{t.folder} {t.version}" for t in found))
    return found


def make(trees: list[Tree], folder: Path, channel: str) -> Manifest:
    """Fill the folder; raises ValueError, EdgeError, OSError."""
    jobs = [
        (kind, of)
        for of in trees
        for kind in KINDS
        if kind in ("tar.xz", "deb") or (of.program == "edge-agent" and not of.variant)
    ]

    def run(kind: str, of: Tree) -> tuple[Package, list[dict[str, str]]]:
        began = time.monotonic()
        listed: list[dict[str, str]] = []
        package = write(kind, of, folder, listed)
        say(f"{package.file}  {package.size / 1e6:.1f} MB  {time.monotonic() - began:.0f} s")
        return package, listed

    with ThreadPoolExecutor(2) as pool:  # packing leaves Python's lock
        made = list(pool.map(run, *zip(*jobs, strict=True)))
    packages = [package for package, _ in made]
    paragraphs = [paragraph for _, listed in made for paragraph in listed]
    if paragraphs:
        for name, data in zip(("Packages", "Packages.gz"), feed(paragraphs), strict=True):
            (folder / name).write_bytes(data)
    script = installer(trees[0].version, channel, packages)
    if script:
        (folder / "install.sh").write_bytes(script)
    manifest = Manifest(
        version=Version(trees[0].version).text, protocol=trees[0].protocol, channel=channel,
        released=datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH") or time.time()), UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        installer=hashlib.sha256(script).hexdigest() if script else "", packages=tuple(packages),
    )  # fmt: skip
    (folder / "manifest.json").write_bytes(write_manifest(manifest))
    (folder / "SHA256SUMS").write_bytes(sums(folder))
    for path in folder.iterdir():
        path.chmod(0o644)
    return manifest


def write(kind: str, of: Tree, folder: Path, paragraphs: list[dict[str, str]]) -> Package:
    """Write one package; an .ipk also adds its paragraphs, and an .apk its index."""
    if kind == "tar.xz":
        file = f"{of.program}-{of.version}-{of.arch}{f'-{of.variant}' if of.variant else ''}.tar.xz"
        entries = complete(tree(of.folder, of.program))
        with (folder / file).open("wb") as out:
            write_tar_xz(out, entries)
    elif kind == "deb":
        fields, entries, scripts = contents.deb(of)
        file = f"{of.name}_{of.version}_{fields['Architecture']}.deb"
        write_deb(folder / file, {**fields, "Version": deb_version(of.version)}, entries, scripts=scripts)
    elif kind == "ipk":
        entries = contents.openwrt(of)
        file = f"{of.name}_{of.version}-1_noarch-{of.arch}.ipk"
        fields = {**contents.ipk_fields(of), "Version": f"{deb_version(of.version)}-1"}
        scripts = contents.opkg_scripts(of.arch)
        write_ipk(folder / file, fields, entries, scripts=scripts, conffiles=contents.CONFFILES)
        there = {"Filename": file, "Size": str((folder / file).stat().st_size), "SHA256sum": digest(folder / file)}
        size = str(unpacked(entries))
        paragraphs += [{**fields, "Architecture": c, "Installed-Size": size, **there} for c in contents.CORES[of.arch]]
    else:
        entries = contents.with_lists(contents.openwrt(of))
        version = apk_version(of.version)
        file = f"{of.name}-{version}-{of.arch}.apk"
        listed = write_apk(
            folder / file, contents.apk_info(of, version), entries, scripts=contents.apk_scripts(of.arch)
        )
        write_index(folder / f"packages-{of.arch}.adb", listed, file)
    found: dict[str, Any] = {
        "file": file, "kind": kind, "program": of.program, "arch": of.arch, "variant": of.variant,
        "size": (folder / file).stat().st_size, "unpacked": unpacked(entries), "sha256": digest(folder / file),
    }  # fmt: skip
    return msgspec.convert(found, Package)


def installer(version: str, channel: str, packages: list[Package]) -> bytes:
    """The installer with the list of packages; signing adds the keys. Empty where packaging/ has no maker of it."""
    if not (HERE / "make_installer.py").is_file():
        return b""
    make_installer = importlib.import_module("make_installer").make_installer
    text: str = make_installer(version, channel, [msgspec.to_builtins(p) for p in packages])
    return text.encode()


def replace(made: Path, out: Path) -> None:
    """Put the files at `out`; files of a release before go, folders (other releases) stay. Raises ValueError."""
    out.mkdir(exist_ok=True)
    old = [p for p in out.iterdir() if not p.is_dir()]
    if old and not (out / "manifest.json").exists():
        raise ValueError(f"{out} has files and no manifest.json: it is not a release; name another folder with --out")
    for path in old:
        path.unlink()
    for path in made.iterdir():
        shutil.move(path, out / path.name)


def digest(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def say(text: str) -> None:
    """Progress, on stderr."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
