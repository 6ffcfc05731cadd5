"""Signed documents: DSSE envelopes over exact bytes.

Source of the format: DSSE specification 1.0.2 (secure-systems-lab), protocol and envelope. The `cert` field
beside `keyid` and `sig` carries the signer's certificate (base64 DER), so that a node can check a document of
an operator that it has never met. `keyid` is the signer's node id.
"""

from __future__ import annotations

import base64
import binascii

import msgspec

from agent.errors import IdentityError
from agent.identity.store import Identity
from agent.identity.trust import PeerIdentity, Trust

MAX_ENVELOPE = 2 * 1024 * 1024
"""Largest envelope that is read, in bytes; pipelines and label documents are a few kilobytes."""


class _Signature(msgspec.Struct):
    keyid: str
    sig: str
    cert: str


class _Envelope(msgspec.Struct, rename={"payload_type": "payloadType"}):
    payload_type: str
    payload: str
    signatures: list[_Signature]


_decoder = msgspec.json.Decoder(_Envelope)


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: what the signature covers."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def sign_envelope(identity: Identity, payload_type: str, payload: bytes) -> bytes:
    """An envelope (JSON) around `payload`, signed by this node; raises IdentityError when it would be too
    large.
    """
    signature = _Signature(identity.node_id, _b64(identity.sign(pae(payload_type, payload))), _b64(identity.cert_der))
    raw = msgspec.json.encode(_Envelope(payload_type, _b64(payload), [signature]))
    _check_size(raw)
    return raw


def open_envelope(
    trust: Trust, raw: bytes, *, operator: bool = True, payload_type: str | None = None
) -> tuple[bytes, PeerIdentity]:
    """The payload of an envelope, and the node that signed it.

    With `operator`, only operators' signatures count; with `payload_type`, only that type. The signer's
    certificate may have expired since (documents outlive it), but a removed signer does not count. Raises
    IdentityError.
    """
    _check_size(raw)
    try:
        envelope = _decoder.decode(raw)
        if len(envelope.signatures) != 1:
            raise IdentityError("a signed document must have exactly one signature", code="identity.envelope")
        signature = envelope.signatures[0]
        payload, sig, cert = (_unb64(v) for v in (envelope.payload, signature.sig, signature.cert))
    except (msgspec.MsgspecError, binascii.Error, ValueError, RecursionError) as error:
        raise IdentityError("the signed document is damaged", code="identity.envelope") from error
    if payload_type is not None and envelope.payload_type != payload_type:
        raise IdentityError(
            f"the signed document is a {envelope.payload_type!r}, not a {payload_type!r}", code="identity.envelope"
        )
    peer = trust.verify(cert, sig, pae(envelope.payload_type, payload), allow_expired=True)
    if signature.keyid != peer.id:
        raise IdentityError("the signed document names another signer", code="identity.envelope")
    if operator and not peer.is_operator:
        raise IdentityError(
            f"{peer.name} is not an operator and cannot sign this",
            code="identity.not-operator",
            hint="sign it on an operator",
        )
    return payload, peer


def _check_size(raw: bytes) -> None:
    if len(raw) > MAX_ENVELOPE:
        raise IdentityError(
            f"a signed document of {len(raw)} bytes is too large",
            code="identity.envelope",
            hint=f"at most {MAX_ENVELOPE}",
        )


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _unb64(text: str) -> bytes:
    # The specification lets a signer use either alphabet.
    return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
