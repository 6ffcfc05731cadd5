"""TLS clients that trust one certificate by its hash: the pin stands for name and authority.

A sink, a broker and an enrolment server make their certificates themselves and may be named by a bare IP address.
"""

from __future__ import annotations

import hashlib
import hmac
import ssl


class WrongPin(ConnectionError):
    """The other side's certificate does not match the pin; `seen` is its SHA-256 in hex."""

    def __init__(self, seen: str) -> None:
        super().__init__(f"the certificate is not the pinned certificate (sha256 {seen[:16]}…)")
        self.seen = seen


def unchecked_context(minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2) -> ssl.SSLContext:
    """A client's context that accepts every certificate, for a caller that checks it after the handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = minimum
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def pinned_context(pin: str) -> ssl.SSLContext:
    """A client's context whose handshakes raise WrongPin unless the certificate has this SHA-256 (DER form, hex).

    It holds for sockets and for TLS over memory alike; a socket with another certificate is closed.
    """

    class PinnedSocket(ssl.SSLSocket):
        def do_handshake(self, block: bool = False) -> None:
            try:
                try:
                    super().do_handshake(block)
                except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    raise
                except OSError:
                    # The other side may reset the connection after its certificate, before it gets our last bytes.
                    if shown := _shown(self):
                        _check(shown, pin)
                    raise
                _check(self.getpeercert(binary_form=True) or b"", pin)
            except WrongPin:
                self.close()
                raise

    class PinnedObject(ssl.SSLObject):
        def do_handshake(self) -> None:
            super().do_handshake()
            _check(self.getpeercert(binary_form=True) or b"", pin)

    context = unchecked_context()
    context.sslsocket_class = PinnedSocket
    context.sslobject_class = PinnedObject
    return context


def _shown(tls: ssl.SSLSocket) -> bytes:
    """The certificate (DER) that came in a handshake that broke off; empty before it came."""
    # `getpeercert` works only after the handshake, and Python 3.11 has no public method for this.
    chain = getattr(getattr(tls, "_sslobj", None), "get_unverified_chain", lambda: None)() or ()
    return ssl.PEM_cert_to_DER_cert(chain[0].public_bytes()) if chain else b""


def _check(certificate: bytes, pin: str) -> None:
    seen = hashlib.sha256(certificate).hexdigest()
    if not hmac.compare_digest(seen, pin):
        raise WrongPin(seen)
