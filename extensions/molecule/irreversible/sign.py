"""Signs a livepatch as the kernel's scripts/sign-file does, with a key that nobody knows.

sign.py LIVEPATCH SIGNED
"""

from __future__ import annotations

import datetime
import struct
import sys
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.hazmat.primitives.serialization.pkcs7 import PKCS7Options, PKCS7SignatureBuilder

PKEY_ID_PKCS7 = 2

livepatch, signed = map(Path, sys.argv[1:])
key = rsa.generate_private_key(65537, 2048)
name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "A key that nobody knows")])
now = datetime.datetime.now(datetime.UTC)
certificate = (
    x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    .not_valid_before(now)
    .not_valid_after(now + datetime.timedelta(days=1))
    .sign(key, SHA256())
)
options = [
    PKCS7Options.Binary,
    PKCS7Options.DetachedSignature,
    PKCS7Options.NoAttributes,
    PKCS7Options.NoCerts,
]
signature = (
    PKCS7SignatureBuilder()
    .set_data(livepatch.read_bytes())
    .add_signer(certificate, key, SHA256())
    .sign(Encoding.DER, options)
)
# struct module_signature, include/linux/module_signature.h
info = struct.pack(">BBBBBxxxI", 0, 0, PKEY_ID_PKCS7, 0, 0, len(signature))
signed.write_bytes(livepatch.read_bytes() + signature + info + b"~Module signature appended~\n")
