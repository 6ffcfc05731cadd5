"""Releases: the signed manifest, the key that nodes pin, the rule about what may be installed, and signing on the owner's side."""

from agent.release.dist import Checked, read_dist, sign_dist, verify_dist
from agent.release.files import check_package
from agent.release.keys import PublicKey, SigningKey, UsignKey
from agent.release.manifest import Manifest, Package, read_manifest, write_manifest
from agent.release.store import Admission, ReleaseStore
from agent.release.version import Version

__all__ = [
    "Admission", "Checked", "Manifest", "Package", "PublicKey", "ReleaseStore", "SigningKey", "UsignKey", "Version",
    "check_package", "read_dist", "read_manifest", "sign_dist", "verify_dist", "write_manifest",
]  # fmt: skip
