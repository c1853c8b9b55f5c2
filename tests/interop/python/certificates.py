"""Makes an authority, a certificate for the server, and one for a client, into the folder that is named."""

import datetime
import ipaddress
import sys
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

FOLDER = Path(sys.argv[1])
NOW = datetime.datetime.now(datetime.timezone.utc)


def name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def write(stem, key, certificate):
    form = serialization.PrivateFormat.PKCS8
    pem = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    path = FOLDER / f"{stem}.key"
    path.touch(mode=0o600)
    path.write_bytes(pem)
    (FOLDER / f"{stem}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def made(subject, issuer, public, signer, extensions):
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - datetime.timedelta(minutes=5))
        .not_valid_after(NOW + datetime.timedelta(days=1))
    )
    for extension, is_critical in extensions:
        builder = builder.add_extension(extension, is_critical)
    return builder.sign(signer, hashes.SHA256())


def authority(stem):
    key = ec.generate_private_key(ec.SECP256R1())
    basics = [(x509.BasicConstraints(ca=True, path_length=0), True)]
    write(stem, key, made(stem, stem, key.public_key(), key, basics))
    return key


def member(stem, issuer, signer, names, usage):
    key = ec.generate_private_key(ec.SECP256R1())
    extensions = [
        (x509.SubjectAlternativeName(names), False),
        (x509.ExtendedKeyUsage([usage]), False),
        (x509.BasicConstraints(ca=False, path_length=None), True),
    ]
    write(stem, key, made(stem, issuer, key.public_key(), signer, extensions))


own = authority("authority")
other = authority("stranger")
here = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
member("server", "authority", own, here, ExtendedKeyUsageOID.SERVER_AUTH)
lab = [x509.DNSName("lab.interop.example")]
member("client", "authority", own, lab, ExtendedKeyUsageOID.CLIENT_AUTH)
member("foreign", "stranger", other, lab, ExtendedKeyUsageOID.CLIENT_AUTH)
