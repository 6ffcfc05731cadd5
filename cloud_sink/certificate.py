"""The sink's own certificate: made at the first start. Buildings pin it, so that a bare IP address works."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from agent.errors import IdentityError
from agent.files import write_private
from cloud_sink.files import private_folder

VALID = timedelta(days=3650)


def ensure_certificate(data: Path, names: list[str]) -> tuple[Path, Path, str]:
    """Return the certificate's file, the key's file and the pin (SHA-256 of the DER form, hex).

    Makes a certificate for `names` when one of the two files is missing.
    """
    folder = private_folder(data / "tls")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    if not (certificate.exists() and key.exists()):
        _make(certificate, key, names)
    try:
        parsed = x509.load_pem_x509_certificate(certificate.read_bytes())
    except ValueError as e:
        raise IdentityError(
            f"{certificate} is damaged",
            hint=f"restore it from a backup; or remove {folder} and connect every building again",
        ) from e
    return certificate, key, hashlib.sha256(parsed.public_bytes(serialization.Encoding.DER)).hexdigest()


def key_pin(certificate: Path) -> str:
    """The pin of the certificate's key as `curl --pinnedpubkey` takes it after `sha256//`."""
    key = x509.load_pem_x509_certificate(certificate.read_bytes()).public_key()
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(der).digest()).decode()


def local_names(host: str) -> list[str]:
    """The names and addresses under which this machine is reached when the sink listens on `host`."""
    names = ["localhost", "127.0.0.1", socket.gethostname(), primary_address()]
    return list(dict.fromkeys(n for n in [host, *names] if n and n not in ("0.0.0.0", "::")))  # noqa: S104


def primary_address() -> str:
    """The address that this machine uses towards the network; loopback if it has none. Sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        try:
            s.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(s.getsockname()[0])


def _make(certificate: Path, key_file: Path, names: list[str]) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "edge-sink")])
    start = datetime.now(UTC) - timedelta(days=1)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + VALID)
        .add_extension(x509.SubjectAlternativeName([_general(n) for n in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    write_private(key_file, pem)
    write_private(certificate, built.public_bytes(serialization.Encoding.PEM))


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
