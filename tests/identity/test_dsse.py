from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import IdentityError
from agent.identity import Identity, IdentityStore, Trust, open_envelope, sign_envelope
from agent.identity.dsse import MAX_ENVELOPE, pae
from tests.identity.meshes import Mesh

KIND = "application/vnd.edge-agent.pipeline"


def test_pae_is_the_one_of_the_specification() -> None:
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def test_a_member_may_not_sign_what_operators_sign(mesh: Mesh) -> None:
    _, member = mesh.member("porch")
    raw = sign_envelope(member, KIND, b"work")
    assert open_envelope(mesh.trust, raw, operator=False)[1].name == "porch"
    with pytest.raises(IdentityError) as caught:
        open_envelope(mesh.trust, raw)
    assert caught.value.code == "identity.not-operator"


def test_another_meshs_operator_signs_nothing_here(mesh: Mesh, other: Mesh) -> None:
    with pytest.raises(IdentityError) as caught:
        open_envelope(mesh.trust, sign_envelope(other.identity, KIND, b"work"))
    assert caught.value.code == "identity.foreign"


def test_a_document_outlives_the_certificate_of_its_signer(mesh: Mesh) -> None:
    _, old = mesh.member("old", role="operator", life=-5.0)
    assert open_envelope(mesh.trust, sign_envelope(old, KIND, b"work"))[0] == b"work"


def test_a_removed_operators_document_is_refused(mesh: Mesh) -> None:
    _, thief = mesh.member("thief", role="operator")
    mesh.trust.removed.add(thief.node_id)
    with pytest.raises(IdentityError) as caught:
        open_envelope(mesh.trust, sign_envelope(thief, KIND, b"work"))
    assert caught.value.code == "identity.removed"


def test_a_document_of_one_type_does_not_pass_as_another(mesh: Mesh) -> None:
    raw = sign_envelope(mesh.identity, KIND, b"work")
    with pytest.raises(IdentityError, match="not a"):
        open_envelope(mesh.trust, raw, payload_type="application/x")
    relabelled = json.loads(raw) | {"payloadType": "application/x"}
    with pytest.raises(IdentityError, match="signature"):
        open_envelope(mesh.trust, json.dumps(relabelled).encode(), payload_type="application/x")


def test_an_envelope_over_the_limit_is_neither_made_nor_opened(mesh: Mesh) -> None:
    with pytest.raises(IdentityError, match="too large"):
        sign_envelope(mesh.identity, KIND, bytes(MAX_ENVELOPE))
    with pytest.raises(IdentityError, match="too large"):
        open_envelope(mesh.trust, b" " * (MAX_ENVELOPE + 1))


def test_signatures_are_exactly_one_and_name_their_signer(mesh: Mesh) -> None:
    envelope = json.loads(sign_envelope(mesh.identity, KIND, b"work"))
    one = envelope["signatures"][0]
    for signatures in ([], [one, one], [one | {"keyid": "somebodyelse"}]):
        with pytest.raises(IdentityError):
            open_envelope(mesh.trust, json.dumps(envelope | {"signatures": signatures}).encode())


def test_the_url_safe_alphabet_is_read_too(mesh: Mesh) -> None:
    payload = b"\xff\xfe\xfb" * 10
    envelope = json.loads(sign_envelope(mesh.identity, KIND, payload))
    envelope["payload"] = base64.urlsafe_b64encode(payload).decode()
    assert open_envelope(mesh.trust, json.dumps(envelope).encode())[0] == payload


_made: list[tuple[Identity, Trust]] = []


def _identity(factory: pytest.TempPathFactory) -> tuple[Identity, Trust]:
    if not _made:
        identity = IdentityStore(factory.mktemp("identity")).create_mesh("hall")
        _made.append((identity, Trust(identity.ca_der)))
    return _made[0]


@given(st.text(max_size=80), st.binary(max_size=2000))
def test_exact_bytes_come_back(tmp_path_factory: pytest.TempPathFactory, kind: str, payload: bytes) -> None:
    identity, trust = _identity(tmp_path_factory)
    try:
        kind.encode()
    except UnicodeEncodeError:
        return
    opened, peer = open_envelope(trust, sign_envelope(identity, kind, payload), payload_type=kind)
    assert opened == payload
    assert peer.id == identity.node_id


@given(st.binary(max_size=300) | st.recursive(st.none() | st.text(), st.lists).map(lambda v: json.dumps(v).encode()))
def test_garbage_is_no_envelope(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    with pytest.raises(IdentityError):
        open_envelope(_identity(tmp_path_factory)[1], raw)


@given(st.integers(min_value=0), st.integers(1, 127))
def test_a_changed_envelope_never_gives_other_bytes(
    tmp_path_factory: pytest.TempPathFactory, at: int, flip: int
) -> None:
    identity, trust = _identity(tmp_path_factory)
    changed = bytearray(sign_envelope(identity, KIND, b"the work to do"))
    changed[at % len(changed)] ^= flip
    try:
        payload, peer = open_envelope(trust, bytes(changed))
    except IdentityError:
        return
    assert (payload, peer.id) == (b"the work to do", identity.node_id)
