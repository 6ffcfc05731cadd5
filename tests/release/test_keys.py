"""The release key: its files, its forms, and other programs that check its signatures."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from agent.errors import ConfigError, EdgeError, IdentityError
from agent.release import PublicKey, SigningKey, UsignKey

KEY = SigningKey.generate()
DATA = b"the manifest"


def test_the_private_file_holds_both_keys() -> None:
    again = SigningKey.from_pem(KEY.to_pem())
    assert (again.public.id, again.usign.text) == (KEY.public.id, KEY.usign.text)


def test_a_passphrase_is_needed_and_checked() -> None:
    pem = KEY.to_pem(b"correct horse")
    assert SigningKey.from_pem(pem, b"correct horse").public.id == KEY.public.id
    for passphrase in (None, b"wrong"):
        with pytest.raises(ConfigError) as error:
            SigningKey.from_pem(pem, passphrase)
        assert error.value.code == "release.passphrase"
    with pytest.raises(ConfigError):
        SigningKey.from_pem(KEY.to_pem(), b"not encrypted at all")


@pytest.mark.parametrize("pem", [b"", b"hello", KEY.public.pem, KEY.to_pem()[:200], KEY.to_pem() * 2, b"x" * 99_999])
def test_another_private_file_is_refused(pem: bytes) -> None:
    with pytest.raises(IdentityError) as error:
        SigningKey.from_pem(pem)
    assert error.value.code == "release.key"


def test_a_private_file_that_others_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "release.key"
    file.write_bytes(KEY.to_pem())
    file.chmod(0o640)
    with pytest.raises(ConfigError) as error:
        SigningKey.from_file(file, lambda: b"")
    assert error.value.code == "release.key-mode"
    file.chmod(0o600)
    assert SigningKey.from_file(file, lambda: b"").public.id == KEY.public.id


def test_the_id_is_the_hash_of_the_public_key_info() -> None:
    der = KEY.p256.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert KEY.public.id == f"sha256:{hashlib.sha256(der).hexdigest()}"


@pytest.mark.parametrize("key", [ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)])
def test_only_p256_keys_are_pinned(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
    with pytest.raises(IdentityError) as error:
        PublicKey.from_pem(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    assert error.value.code == "release.key"


@pytest.mark.parametrize(
    "signature",
    [b"", b"\0", KEY.sign(b"other"), SigningKey.generate().sign(DATA), b"0" * 72],
    ids=["empty", "zero", "other bytes", "other key", "text"],  # both processes of the tests need the same names
)
def test_a_wrong_signature_is_refused(signature: bytes) -> None:
    with pytest.raises(IdentityError) as error:
        KEY.public.check(DATA, signature)
    assert error.value.code == "release.signature"


@pytest.mark.parametrize(
    "signature",
    [b"", b"untrusted comment: x\n!!\n", KEY.sign_for_usign(b"other"), SigningKey.generate().sign_for_usign(DATA)],
)
def test_a_wrong_usign_signature_is_refused(signature: bytes) -> None:
    KEY.usign.check(DATA, KEY.sign_for_usign(DATA))
    with pytest.raises(EdgeError) as error:
        KEY.usign.check(DATA, signature)
    assert error.value.code == "release.signature"


def test_a_usign_key_reads_back_and_damage_is_found() -> None:
    assert UsignKey.from_text(KEY.usign.text).raw == KEY.usign.raw
    for text in (b"", KEY.usign.text[:-9], KEY.usign.text.replace(b"untrusted", b"trusted"), b"\xff" * 50):
        with pytest.raises(IdentityError):
            UsignKey.from_text(text)


def test_openssl_checks_the_signature(tmp_path: Path) -> None:
    for name, data in (("pub", KEY.public.pem), ("sig", KEY.sign(DATA)), ("data", DATA), ("other", b"other")):
        (tmp_path / name).write_bytes(data)
    check = ["openssl", "dgst", "-sha256", "-verify", "pub", "-signature", "sig"]
    assert subprocess.run([*check, "data"], cwd=tmp_path, check=False, capture_output=True).returncode == 0
    assert subprocess.run([*check, "other"], cwd=tmp_path, check=False, capture_output=True).returncode != 0


@pytest.mark.skipif(shutil.which("signify-openbsd") is None, reason="needs signify-openbsd")
def test_signify_checks_the_usign_signature(tmp_path: Path) -> None:
    for name, data in (("pub", KEY.usign.text), ("sig", KEY.sign_for_usign(DATA)), ("data", DATA), ("other", b"other")):
        (tmp_path / name).write_bytes(data)
    check = ["signify-openbsd", "-V", "-p", "pub", "-x", "sig", "-m"]
    assert subprocess.run([*check, "data"], cwd=tmp_path, check=False, capture_output=True).returncode == 0
    assert subprocess.run([*check, "other"], cwd=tmp_path, check=False, capture_output=True).returncode != 0
