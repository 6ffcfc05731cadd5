"""Releases: the signed manifest, the key that nodes pin, the rule about what may be installed, and signing on the owner's side."""

from agent.release.dist import INSTALLER, MANIFEST, MAX_INSTALLER, Checked, read_dist, sign_dist, verify_dist
from agent.release.files import check_package
from agent.release.installing import install_staged, read_last
from agent.release.keys import PublicKey, SigningKey, UsignKey
from agent.release.library import Library
from agent.release.manifest import Manifest, Package, read_manifest, write_manifest
from agent.release.offer import (
    OFFER,
    REQUEST,
    STAGE,
    START,
    STATE,
    Last,
    Offer,
    Progress,
    Stage,
    Start,
    Wanted,
    decode,
)  # fmt: skip
from agent.release.store import Admission, ReleaseStore
from agent.release.version import Version

__all__ = [
    "INSTALLER", "MANIFEST", "MAX_INSTALLER",
    "OFFER",
    "REQUEST",
    "STAGE",
    "START",
    "STATE",
    "Admission",
    "Checked",
    "Last",
    "Library",
    "Manifest",
    "Offer",
    "Package",
    "Progress",
    "PublicKey",
    "ReleaseStore",
    "SigningKey",
    "Stage",
    "Start",
    "UsignKey",
    "Version",
    "Wanted",
    "check_package",
    "decode",
    "install_staged",
    "read_dist",
    "read_last",
    "read_manifest",
    "sign_dist",
    "verify_dist",
    "write_manifest",
]  # fmt: skip
