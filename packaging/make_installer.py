"""Makes install.sh of a release: one script from packaging/install.sh, its parts, and the files that it writes on a machine.

    python packaging/make_installer.py --manifest FILE --release-pub FILE --usign-pub FILE --output dist/install.sh

The manifest names the packages with their SHA-256; its `installer` field is not read, since it is the hash of the result. The
result depends on its inputs only.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
END = "END_OF_THE_FILE"
EMBEDDED = {
    "uninstall_sh": HERE / "install/uninstall.sh",
    "run_sh": HERE / "install/run.sh",
    "edge_agent_service": HERE / "systemd/edge-agent.service",
    "edge_agent_upgrade_service": HERE / "systemd/edge-agent-upgrade.service",
    "edge_agent_upgrade_path": HERE / "systemd/edge-agent-upgrade.path",
    "edge_agent_camera_conf": HERE / "systemd/edge-agent.service.d/camera.conf",
    "edge_agent_docker_conf": HERE / "systemd/edge-agent.service.d/docker.conf",
    "edge_agent_gpu_conf": HERE / "systemd/edge-agent.service.d/gpu.conf",
    "edge_agent_init": HERE / "openwrt/edge-agent.init",
    "edge_sink_service": HERE / "sink/edge-sink.service",
}
"""The files that the script writes, by the function that prints each."""
_KINDS = ("tar.xz", "deb", "ipk")
"""The kinds that the script can unpack; .apk is for apk alone."""
_WORD = re.compile(r"[A-Za-z0-9._+-]{1,120}")


def make_installer(
    version: str, channel: str, packages: Iterable[Mapping[str, Any]], *, release_pub: str = "", usign_pub: str = ""
) -> str:
    """The text of install.sh for these packages, each with the fields of a manifest.

    `release_pub` is the P-256 key in PEM, `usign_pub` the Ed25519 key in usign's form; without them their marks stay, which
    signing a release replaces. Raises ValueError for a package whose fields do not fit in the script's table,
    FileNotFoundError where a part is missing.
    """
    parts = [file.read_text().rstrip("\n") for file in sorted((HERE / "install").glob("[0-9]*.sh"))]
    files = [_printer(name, file) for name, file in EMBEDDED.items()]
    script = (HERE / "install.sh").read_text().replace("#@parts\n", "\n\n".join([*parts, *files]) + "\n")
    rows = [row for package in packages if (row := _row(package))]
    values = {"VERSION": _word(version), "CHANNEL": _word(channel), "PACKAGES": "\n".join(rows)}
    if release_pub:
        values |= {"RELEASE_PUB": _key(release_pub), "RELEASE_USIGN_PUB": _key(usign_pub)}
    for name, value in values.items():
        script = script.replace(f"@{name}@", value)
    return script


def _row(package: Mapping[str, Any]) -> str:
    if package["kind"] not in _KINDS:
        return ""
    words = [package["kind"], package["program"], package["arch"], package.get("variant") or "-"]
    words += [str(int(package["size"])), str(int(package["unpacked"])), package["sha256"], package["file"]]
    return " ".join(_word(w) for w in words)


def _word(text: str) -> str:
    if not _WORD.fullmatch(text):
        raise ValueError(f"{text!r} does not fit in the installer's table of packages")
    return text


def _key(text: str) -> str:
    if "'" in text or not text.isascii() or any(line == "END" for line in text.splitlines()):
        raise ValueError("this is no public key")
    return text.strip()


def _printer(name: str, file: Path) -> str:
    text = file.read_text().rstrip("\n")
    if END in text:
        raise ValueError(f"{file} holds the word that ends it in the installer")
    return f"{name}() {{\n    cat <<'{END}'\n{text}\n{END}\n}}"


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option in ("--manifest", "--release-pub", "--usign-pub", "--output"):
        parser.add_argument(option, type=Path, required=True)
    chosen = parser.parse_args(arguments)
    manifest = json.loads(chosen.manifest.read_text())
    keys = {"release_pub": chosen.release_pub.read_text(), "usign_pub": chosen.usign_pub.read_text()}
    script = make_installer(manifest["version"], manifest["channel"], manifest["packages"], **keys)
    chosen.output.write_text(script)
    chosen.output.chmod(0o755)
    return 0


if __name__ == "__main__":
    sys.exit(main())
