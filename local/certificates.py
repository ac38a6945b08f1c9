"""Makes an authority and certificates that it signs, for TLS on networks of one's own."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_LIFE = timedelta(days=3650)
LIFE = timedelta(days=365)
_CLOCKS = timedelta(minutes=5)  # by which clocks of machines may differ
_USES = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, both in PEM; the repr shows no key."""

    certificate: bytes
    key: bytes

    def __repr__(self) -> str:
        return "Pair(...)"


def make_authority(name: str) -> Pair:
    """An authority that can sign certificates, and nothing else."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _named(name)
    constraints = x509.BasicConstraints(ca=True, path_length=0)
    builder = _builder(subject, subject, key.public_key(), AUTHORITY_LIFE).add_extension(
        constraints, critical=True
    )
    return _pair(builder.add_extension(_may_sign(True), critical=True), key, key)


def make_certificate(authority: Pair, name: str, hosts: Sequence[str] = (), life: timedelta = LIFE) -> Pair:
    """A certificate for a server with these names or IP addresses, which a client may show, too.

    With a negative `life` it has expired.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.load_pem_x509_certificate(authority.certificate).subject
    builder = _builder(_named(name), issuer, key.public_key(), life).add_extension(_USES, critical=False)
    builder = builder.add_extension(_may_sign(False), critical=True)
    if hosts:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False
        )
    signing = load_pem_private_key(authority.key, password=None)
    assert isinstance(signing, ec.EllipticCurvePrivateKey)
    return _pair(builder, key, signing)


def require_pair(pair: Pair) -> None:
    """Raise ValueError unless these are a certificate and its key, without a password."""
    try:
        key = load_pem_private_key(pair.key, password=None)
    except (TypeError, UnsupportedAlgorithm) as error:
        raise ValueError("this key cannot be read") from error
    if _certificate(pair).public_key() != key.public_key():
        raise ValueError("the key is of another certificate")


def hosts_of(pair: Pair) -> list[str]:
    """The names and IP addresses of the server in a certificate."""
    try:
        found = _certificate(pair).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [str(host.value) for host in found if isinstance(host, x509.DNSName | x509.IPAddress)]


def host_in_certificate(host: str) -> str:
    """A name or IP address as `hosts_of` spells it; raises ValueError if no certificate can have it."""
    return str(_host(host).value)


def is_signed_by(authority: Pair, pair: Pair) -> bool:
    """Whether the authority signed the certificate."""
    try:
        _certificate(pair).verify_directly_issued_by(_certificate(authority))
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _certificate(pair: Pair) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pair.certificate)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, life: timedelta
) -> x509.CertificateBuilder:
    begin = datetime.now(UTC) - _CLOCKS
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(begin, begin + 2 * life))
        .not_valid_after(begin + life)
    )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _may_sign(certificates: bool) -> x509.KeyUsage:
    """What a key may be used for: the authority's for certificates, all others in handshakes."""
    return x509.KeyUsage(
        digital_signature=not certificates,
        key_cert_sign=certificates,
        crl_sign=certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pair(
    builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey, signing: ec.EllipticCurvePrivateKey
) -> Pair:
    certificate = builder.sign(signing, SHA256())
    return Pair(
        certificate.public_bytes(Encoding.PEM),
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )
