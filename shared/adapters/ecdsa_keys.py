"""Keys of the curve P-256 that sign with SHA-256 (ES256), through `cryptography`, which is imported when needed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from shared.domain.audit.signed_note import PublicKey

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey

_BLOCK: Final = re.compile(rb"-----BEGIN ([A-Z ]+)-----.+?-----END \1-----", re.DOTALL)
_PUBLIC: Final = b"PUBLIC KEY"
_COORDINATE_BYTES: Final = 32


class KeyUnusable(ValueError):
    """A key is not one of the curve P-256, or cannot be read. The message shows no part of it."""


def public_key(encoded: bytes) -> PublicKey:
    """Read a public key: SubjectPublicKeyInfo in DER. Raises `KeyUnusable`."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    try:
        key = load_der_public_key(encoded)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyUnusable("The public key cannot be read.") from error
    return of_key(key)


def of_key(key: object) -> PublicKey:
    """Return a public key of `cryptography` as one that verifies notes. Raises `KeyUnusable`."""
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
        raise KeyUnusable("The key is not an EC key of the curve P-256.")
    encoded = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return PublicKey(encoded, partial(_is_signature, key))


def read_pem(content: bytes) -> tuple[list[EllipticCurvePrivateKey], list[PublicKey]]:
    """Read all keys of a PEM file, in their order: private keys, and public keys. Raises `KeyUnusable`."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

    private: list[EllipticCurvePrivateKey] = []
    public: list[PublicKey] = []
    for block in _BLOCK.finditer(content):
        try:
            is_public = block[1] == _PUBLIC
            key = load_pem_public_key(block[0]) if is_public else load_pem_private_key(block[0], None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:  # TypeError: it needs a password
            raise KeyUnusable("The file has a key that cannot be read.") from error
        if isinstance(key, EllipticCurvePrivateKey):
            of_key(key.public_key())
            private.append(key)
        else:
            public.append(of_key(key))
    return private, public


def public_keys_from_pem(content: bytes) -> Sequence[PublicKey]:
    """Read the public keys of a PEM file, also those of its private keys. Raises `KeyUnusable` if it has none."""
    private, public = read_pem(content)
    found = [*(of_key(key.public_key()) for key in private), *public]
    if not found:
        raise KeyUnusable("The file has no key in PEM form.")
    return found


def pem_of(key: PublicKey) -> str:
    """Return a public key in PEM form."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

    loaded = load_der_public_key(key.encoded)
    return loaded.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def sign(key: EllipticCurvePrivateKey, message: bytes) -> bytes:
    """Sign a message. Returns the signature in DER."""
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.hashes import SHA256

    return key.sign(message, ECDSA(SHA256()))


def der_signature(raw: bytes) -> bytes:
    """Convert a signature from the form of JSON Web Signatures (r and s in 32 bytes each) to DER.

    Raises `KeyUnusable` for another length.
    """
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    if len(raw) != 2 * _COORDINATE_BYTES:
        raise KeyUnusable("The signature is not one of the curve P-256.")
    r, s = raw[:_COORDINATE_BYTES], raw[_COORDINATE_BYTES:]
    return encode_dss_signature(int.from_bytes(r), int.from_bytes(s))


def _is_signature(key: EllipticCurvePublicKey, signature: bytes, message: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.hashes import SHA256

    try:
        key.verify(signature, message, ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True
