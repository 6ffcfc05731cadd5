"""The contents of the packages of edge-agent and edge-sink beside their frozen tree: links, units, scripts, lists."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from writers.apk import Info
from writers.entries import EPOCH, Entry, complete, file, link, tree

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
MAINTAINER = "The edge-agent project <packages@edge-agent.invalid>"
URL = "https://edge-agent.invalid/"
LICENSE = "Apache-2.0"
TEXTS = {
    "edge-agent": (
        "node of a masterless mesh for a building full of devices",
        "Pipelines run where the data is: logs of access points, cameras, detectors.\nThe program brings its own libraries.",
    ),
    "edge-sink": (
        "sink for the alerts of edge-agent meshes",
        "It keeps alerts with photos, shows them on a page and posts them to Slack.\nThe program brings its own libraries.",
    ),
}
DEBIAN = {"x86_64": "amd64", "aarch64": "arm64", "armv7": "armhf"}
CORES = {
    "x86_64": ("x86_64",),
    "aarch64": ("aarch64_cortex-a53", "aarch64_cortex-a72", "aarch64_cortex-a76", "aarch64_generic"),
    "armv7": ("arm_cortex-a15_neon-vfpv4", "arm_cortex-a7_neon-vfpv4", "arm_cortex-a8_vfpv3", "arm_cortex-a9_neon"),
}
"""OpenWrt's names of the cores that each package runs on (those with NEON): `Packages` lists the package once for each."""
CONFFILES = ("/etc/config/edge-agent",)


@dataclass(frozen=True)
class Tree:
    """A frozen tree and its tree.json."""

    folder: Path
    program: str
    version: str
    protocol: int
    arch: str
    variant: str

    @classmethod
    def read(cls, folder: Path) -> Tree:
        """Raises ValueError where the folder is not a frozen tree."""
        try:
            facts = json.loads((folder / "_internal/tree.json").read_bytes())
            found = cls(
                folder,
                facts.get("program", folder.name),
                facts["version"],
                facts["protocol"],
                facts["arch"],
                facts["variant"],
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{folder} is not a frozen tree: {error}") from error
        if found.program not in TEXTS or found.arch not in DEBIAN or not (folder / found.program).is_file():
            raise ValueError(f"{folder} is not a frozen tree of edge-agent or edge-sink")
        return found

    @property
    def name(self) -> str:
        """The package's name: `edge-agent`, `edge-agent-camera`, `edge-sink`, …"""
        return "-".join(filter(None, (self.program, self.variant)))

    def installed(self) -> list[Entry]:
        """The tree below /opt, `current`, and the program's name in /usr/bin."""
        base = f"opt/{self.program}"
        return [
            *tree(self.folder, f"{base}/versions/{self.version}"),
            link(f"{base}/current", f"versions/{self.version}"),
            link(f"usr/bin/{self.program}", f"/{base}/current/{self.program}"),
        ]


def deb(of: Tree) -> tuple[dict[str, str], list[Entry], dict[str, str]]:
    """Fields, entries and scripts of the Debian package."""
    short, long = TEXTS[of.program]
    fields = {
        "Package": of.name, "Version": "", "Architecture": DEBIAN[of.arch], "Maintainer": MAINTAINER, "Section": "net",
        "Priority": "optional", "Depends": "passwd", "Homepage": URL, "Description": f"{short}\n{long}",
    }  # fmt: skip
    if of.program == "edge-agent":
        others = ", ".join(n for n in ("edge-agent", "edge-agent-camera", "edge-agent-detector") if n != of.name)
        fields |= {"Conflicts": others, "Replaces": others, "Provides": "edge-agent" if of.variant else ""}
    documents = f"usr/share/doc/{of.name}"
    entries = [*of.installed(), *units(of.program), *manual(of.program)]
    entries += [file(f"{documents}/copyright", (ROOT / "LICENSE").read_bytes())]
    marks = {
        "@PROGRAM@": of.program,
        "\t@DROP_INS@\n": script("debian/drop-ins.sh") if of.program == "edge-agent" else "\t:\n",
        "@GROUPS@\n": script("debian/groups.sh") if of.program == "edge-agent" else "",
        "@ITS_GROUPS@": "edge-agent edge-operator" if of.program == "edge-agent" else of.program,
    }
    return fields, entries, {n: script(f"debian/{n}.sh", marks) for n in ("postinst", "prerm", "postrm")}


def units(program: str) -> list[Entry]:
    """The systemd unit; the agent's drop-ins stand in /usr/share, and postinst links those that the machine needs."""
    folder = HERE / ("systemd" if program == "edge-agent" else "sink")
    unit = f"{program}.service"
    found = [Entry(f"lib/systemd/system/{unit}", 0o644, folder / unit)] if (folder / unit).is_file() else []
    drop_ins = sorted((folder / f"{unit}.d").glob("*.conf"))
    return found + [Entry(f"usr/share/{program}/{unit}.d/{p.name}", 0o644, p) for p in drop_ins]


def manual(program: str) -> list[Entry]:
    """The man page."""
    packed = gzip.compress(manual_pages()[f"{program}.1"], 9, mtime=0)
    return [file(f"usr/share/man/man1/{program}.1.gz", packed)]


@cache
def manual_pages() -> dict[str, bytes]:
    """The man pages of both programs, by file name; their date is that of the packages."""
    with tempfile.TemporaryDirectory() as folder:
        environ = {**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH)}
        subprocess.run([sys.executable, ROOT / "scripts/man_pages.py", folder], check=True, env=environ)
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def openwrt(of: Tree) -> list[Entry]:
    """The entries of both of OpenWrt's packages."""
    own = HERE / "openwrt"
    return [
        *of.installed(),
        Entry("etc/init.d/edge-agent", 0o755, own / "edge-agent.init"),
        Entry("etc/config/edge-agent", 0o600, own / "edge-agent.config"),
        Entry("lib/upgrade/keep.d/edge-agent", 0o644, own / "keep.d"),
    ]


def with_lists(entries: list[Entry]) -> list[Entry]:
    """The entries with the lists that OpenWrt's scripts read from packages of apk."""
    listed = sorted(f"/{e.path}" for e in complete(entries) if not e.is_folder)
    at = "lib/apk/packages/edge-agent"
    config = {f"/{e.path}": e for e in entries}
    sums = [f"{name} {hashlib.sha256(b''.join(config[name].pieces())).hexdigest()}\n" for name in CONFFILES]
    return [
        *entries,
        file(f"{at}.list", "".join(f"{name}\n" for name in listed)),
        file(f"{at}.conffiles", "".join(f"{name}\n" for name in CONFFILES)),
        file(f"{at}.conffiles_static", "".join(sums)),
    ]


def opkg_scripts(arch: str) -> dict[str, str]:
    """The maintainer scripts under opkg's names."""
    names = {"preinst": "pre-install", "postinst": "post-install", "prerm": "pre-deinstall", "postrm": "post-deinstall"}
    return {ours: script(f"openwrt/{theirs}.sh", {"@ARCH@": arch}) for ours, theirs in names.items()}


def apk_scripts(arch: str) -> dict[str, str]:
    """The scripts under apk's names. After a failed check nothing is enabled or started; an upgrade leaves both as they are."""
    ours = opkg_scripts(arch)
    check = ours["preinst"]
    after = check + ours["postinst"].removeprefix("#!/bin/sh\n")
    upgrade = "#!/bin/sh\nexport PKG_UPGRADE=1\n"
    return {
        "pre-install": check, "post-install": after, "pre-deinstall": ours["prerm"], "post-deinstall": ours["postrm"],
        "pre-upgrade": check, "post-upgrade": upgrade + after.removeprefix("#!/bin/sh\n"),
    }  # fmt: skip


def ipk_fields(of: Tree) -> dict[str, str]:
    """The control file of OpenWrt's package for opkg."""
    short, long = TEXTS[of.program]
    return {
        "Package": of.name, "Version": "", "Depends": "libc", "License": LICENSE, "Section": "net", "URL": URL,
        "Maintainer": MAINTAINER, "Architecture": "noarch", "Description": f"{short}\n{long}",
    }  # fmt: skip


def apk_info(of: Tree, version: str) -> Info:
    """The same for apk."""
    return Info(of.name, version, TEXTS[of.program][0], LICENSE, URL, MAINTAINER)


def script(name: str, marks: Mapping[str, str] | None = None) -> str:
    """A script of packaging/ with its marks replaced."""
    text = (HERE / name).read_text()
    for mark, value in (marks or {}).items():
        text = text.replace(mark, value)
    return text
