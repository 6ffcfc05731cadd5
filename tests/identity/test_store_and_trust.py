from __future__ import annotations

import logging
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import IdentityError
from agent.files import write_private
from agent.identity import Identity, IdentityStore, Trust, certificates, clean_name, keys, node_id_of
from agent.identity.sealing import seal, unseal
from tests.identity.meshes import Mesh


def test_an_identity_survives_a_restart(mesh: Mesh) -> None:
    again = IdentityStore(mesh.store.folder).load()
    assert again == mesh.identity
    assert again is not None
    assert again.is_operator
    assert again.name == "hall"
    assert len(again.node_id) == len(again.mesh_id) == 20


def test_all_files_are_private(mesh: Mesh) -> None:
    modes = {p.name: p.stat().st_mode & 0o777 for p in mesh.store.folder.iterdir()}
    assert modes == {"key.pem": 0o600, "member.pem": 0o600, "ca-key.pem": 0o600}
    assert mesh.store.folder.stat().st_mode & 0o777 == 0o700


def test_a_key_that_others_could_read_is_private_again(mesh: Mesh, caplog: pytest.LogCaptureFixture) -> None:
    key = mesh.store.folder / "key.pem"
    key.chmod(0o644)
    with caplog.at_level(logging.WARNING):
        mesh.store.load()
    assert key.stat().st_mode & 0o777 == 0o600
    assert [r.levelname for r in caplog.records] == ["WARNING"]


def test_the_pending_key_becomes_the_members_key(tmp_path: Path, mesh: Mesh) -> None:
    store = IdentityStore(tmp_path / "new")
    pending = store.pending_key()
    assert store.load() is None
    assert node_id_of(store.pending_key().public_key()) == node_id_of(pending.public_key())
    cert = mesh.identity.issue(pending.public_key(), role="member", name="porch")
    member = store.adopt(pending, cert, mesh.identity.ca_der, "porch")
    assert store.load() == member
    assert member.node_id == node_id_of(pending.public_key())
    assert member.mesh_id == mesh.identity.mesh_id
    assert not member.is_operator


def test_a_second_mesh_is_not_made_over_the_first(mesh: Mesh) -> None:
    with pytest.raises(IdentityError, match="in a mesh already"):
        mesh.store.create_mesh("again")


def test_secrets_are_not_in_the_repr(mesh: Mesh) -> None:
    assert "PRIVATE" not in repr(mesh.identity)
    assert "PRIVATE" not in repr(mesh.store.pending_key())


@pytest.mark.parametrize("name", ["key.pem", "member.pem", "ca-key.pem"])
@pytest.mark.parametrize("content", [b"", b"junk", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_a_damaged_file_is_an_error_and_not_a_new_identity(mesh: Mesh, name: str, content: bytes) -> None:
    write_private(mesh.store.folder / name, content)
    with pytest.raises(IdentityError):
        mesh.store.load()


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl")
@pytest.mark.parametrize("purpose", ["sslserver", "sslclient"])
def test_openssl_finds_the_certificates_sound(mesh: Mesh, tmp_path: Path, purpose: str) -> None:
    _, member = mesh.member("porch")
    (tmp_path / "ca.pem").write_bytes(member.ca_pem)
    (tmp_path / "cert.pem").write_bytes(member.cert_pem)
    command = ["openssl", "verify", "-x509_strict", "-purpose", purpose, "-CAfile", "ca.pem", "cert.pem"]
    checked = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert checked.stdout == "cert.pem: OK\n", checked.stderr


def test_a_lost_key_is_an_error(mesh: Mesh) -> None:
    (mesh.store.folder / "key.pem").unlink()
    with pytest.raises(IdentityError, match="no key"):
        mesh.store.load()


def test_a_certificate_for_another_key_or_name_is_not_adopted(tmp_path: Path, mesh: Mesh, other: Mesh) -> None:
    store = IdentityStore(tmp_path / "new")
    key = store.pending_key()
    wrong = mesh.identity.issue(other.identity.key.public_key(), role="member", name="porch")
    with pytest.raises(IdentityError, match="another key"):
        store.adopt(key, wrong, mesh.identity.ca_der, "porch")
    right = mesh.identity.issue(key.public_key(), role="member", name="porch")
    with pytest.raises(IdentityError, match="another mesh"):
        store.adopt(key, right, other.identity.ca_der, "porch")
    with pytest.raises(IdentityError, match="for porch"):
        store.adopt(key, right, mesh.identity.ca_der, "garage")
    assert store.load() is None


def test_trust_knows_members_and_their_roles(mesh: Mesh) -> None:
    _, member = mesh.member("porch")
    peer = mesh.trust.peer(member.cert_der)
    assert (peer.id, peer.name, peer.role) == (member.node_id, "porch", "member")
    assert peer.id == node_id_of(member.key.public_key())
    assert mesh.trust.peer(mesh.identity.cert_der).is_operator


def test_trust_verifies_signatures(mesh: Mesh) -> None:
    _, member = mesh.member("porch")
    signature = member.sign(b"hello")
    assert mesh.trust.verify(member.cert_der, signature, b"hello").id == member.node_id
    for cert, sig, data in [
        (member.cert_der, signature, b"hullo"),
        (mesh.identity.cert_der, signature, b"hello"),
        (member.cert_der, b"", b"hello"),
        (member.cert_der, b"junk", b"hello"),
    ]:
        with pytest.raises(IdentityError, match="does not match"):
            mesh.trust.verify(cert, sig, data)


def test_trust_refuses_another_mesh(mesh: Mesh, other: Mesh) -> None:
    with pytest.raises(IdentityError) as caught:
        mesh.trust.peer(other.identity.cert_der)
    assert caught.value.code == "identity.foreign"


def test_trust_refuses_a_ca_of_the_same_name(mesh: Mesh, tmp_path: Path) -> None:
    """A thief can copy every name; only the CA's key makes a certificate ours."""
    fake_key, node = keys.generate_key(), keys.generate_key()
    ours = certificates.load_der(mesh.identity.ca_der)
    forged = (
        x509.CertificateBuilder()
        .subject_name(certificates.load_der(mesh.identity.cert_der).subject)
        .issuer_name(ours.subject)
        .public_key(node.public_key())
        .serial_number(1)
        .not_valid_before(ours.not_valid_before_utc)
        .not_valid_after(ours.not_valid_after_utc)
        .sign(fake_key, certificates.hashes.SHA256())
    )
    with pytest.raises(IdentityError):
        mesh.trust.peer(forged.public_bytes(Encoding.DER))


def test_the_ca_itself_is_no_peer(mesh: Mesh) -> None:
    with pytest.raises(IdentityError):
        mesh.trust.peer(mesh.identity.ca_der)


def test_a_node_cannot_issue_certificates(mesh: Mesh) -> None:
    _, member = mesh.member("porch")
    with pytest.raises(IdentityError, match="cannot admit"):
        member.issue(member.key.public_key(), role="operator", name="porch")
    below = certificates.issue(
        certificates.load_der(member.cert_der), member.key, keys.generate_key().public_key(), role="member", name="x"
    )
    with pytest.raises(IdentityError):
        mesh.trust.peer(below.public_bytes(Encoding.DER))


def test_an_expired_certificate_counts_only_where_it_is_allowed(mesh: Mesh) -> None:
    _, member = mesh.member("porch", life=-1.0)
    with pytest.raises(IdentityError) as caught:
        mesh.trust.peer(member.cert_der)
    assert caught.value.code == "identity.expired"
    assert mesh.trust.peer(member.cert_der, allow_expired=True).id == member.node_id


def test_a_removed_node_is_refused_at_once_although_it_was_known(mesh: Mesh) -> None:
    _, member = mesh.member("porch")
    signature = member.sign(b"x")
    mesh.trust.verify(member.cert_der, signature, b"x")
    mesh.trust.removed.add(member.node_id)
    with pytest.raises(IdentityError) as caught:
        mesh.trust.verify(member.cert_der, signature, b"x", allow_expired=True)
    assert caught.value.code == "identity.removed"


def test_certificates_start_in_1970_and_last_400_days(mesh: Mesh) -> None:
    certificate = certificates.load_der(mesh.identity.cert_der)
    assert certificate.not_valid_before_utc.timestamp() == 0
    assert 399.9 * 86400 < mesh.identity.not_after - time.time() < 400.1 * 86400


@given(st.binary(max_size=600))
def test_garbage_is_no_certificate(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    with pytest.raises(IdentityError):
        _identity(tmp_path_factory)[1].peer(data)


@given(st.integers(min_value=0), st.integers(1, 255))
def test_a_changed_certificate_is_refused(tmp_path_factory: pytest.TempPathFactory, at: int, flip: int) -> None:
    identity, trust = _identity(tmp_path_factory)
    changed = bytearray(identity.cert_der)
    signed = len(certificates.load_der(identity.cert_der).tbs_certificate_bytes) + 4
    changed[at % signed] ^= flip
    with pytest.raises(IdentityError):
        trust.peer(bytes(changed))


@given(st.text())
def test_any_text_makes_a_name_that_stays(text: str) -> None:
    name = clean_name(text)
    assert clean_name(name) == name
    assert 0 < len(name) <= 40


def test_what_is_sealed_only_the_recipient_reads() -> None:
    mine, theirs = keys.generate_key(), keys.generate_key()
    sealed = seal(mine.public_key(), b"secret")
    assert unseal(mine, sealed) == b"secret"
    for key, data in [(theirs, sealed), (mine, sealed[:-1]), (mine, b""), (mine, bytes(200))]:
        with pytest.raises(IdentityError):
            unseal(key, data)


_made: list[tuple[Identity, Trust]] = []


def _identity(factory: pytest.TempPathFactory) -> tuple[Identity, Trust]:
    if not _made:
        identity = IdentityStore(factory.mktemp("identity")).create_mesh("hall")
        _made.append((identity, Trust(identity.ca_der)))
    return _made[0]
