"""Keys of the curve P-256 in PEM files, and signatures in the forms of JSON Web Signatures and of DER."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from shared.adapters import ecdsa_keys
from shared.adapters.ecdsa_keys import KeyUnusable
from tests.tools.anchor_logs import signing_key, trusted

KEY = signing_key()
PUBLIC = ecdsa_keys.of_key(KEY.public_key())


def private_pem(key: ec.EllipticCurvePrivateKey, password: bytes = b"") -> bytes:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def test_a_signature_verifies_with_its_key_message_and_bytes_only() -> None:
    signature = ecdsa_keys.sign(KEY, b"message")
    assert PUBLIC.verify(signature, b"message")
    assert not PUBLIC.verify(signature, b"messagf")
    assert not PUBLIC.verify(signature[:-1] + bytes([signature[-1] ^ 1]), b"message")
    assert not PUBLIC.verify(b"", b"message")
    assert not trusted("another")[0].verify(signature, b"message")


def test_the_signature_of_a_json_web_signature_is_the_same_in_der() -> None:
    signature = ecdsa_keys.sign(KEY, b"message")
    r, s = decode_dss_signature(signature)
    assert ecdsa_keys.der_signature(r.to_bytes(32) + s.to_bytes(32)) == signature
    assert ecdsa_keys.der_signature(bytes(31) + b"\1" + bytes(31) + b"\2") == bytes.fromhex("3006020101020102")


@pytest.mark.parametrize("length", [0, 63, 65, 96])
def test_a_signature_of_another_curve_is_refused(length: int) -> None:
    with pytest.raises(KeyUnusable, match="not one of the curve"):
        ecdsa_keys.der_signature(bytes(length))


def test_a_public_key_is_read_as_it_was_written() -> None:
    assert ecdsa_keys.public_key(PUBLIC.encoded).encoded == PUBLIC.encoded
    assert [key.encoded for key in ecdsa_keys.public_keys_from_pem(ecdsa_keys.pem_of(PUBLIC).encode())] == [
        PUBLIC.encoded
    ]


def test_a_file_may_hold_several_keys_and_text_between_them() -> None:
    content = private_pem(KEY) + b"\nretired in 2025:\n" + ecdsa_keys.pem_of(trusted("another")[0]).encode()
    private, public = ecdsa_keys.read_pem(content)
    assert ([key.private_numbers() for key in private], [key.encoded for key in public]) == (
        [KEY.private_numbers()],
        [trusted("another")[0].encoded],
    )
    assert len(ecdsa_keys.public_keys_from_pem(content)) == 2


def test_the_old_form_of_private_keys_is_read() -> None:
    content = KEY.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    assert len(ecdsa_keys.read_pem(content)[0]) == 1


def der(key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    "encoded",
    [
        b"", b"nothing", PUBLIC.encoded[:-1],
        der(ec.generate_private_key(ec.SECP384R1()).public_key()),
        der(ec.generate_private_key(ec.SECP256K1()).public_key()),
        der(rsa.generate_private_key(65537, 2048).public_key()), der(ed25519.Ed25519PrivateKey.generate().public_key()),
    ],
    ids=["empty", "text", "cut", "P-384", "secp256k1", "RSA", "Ed25519"],
)  # fmt: skip
def test_what_is_no_key_of_the_curve_is_refused(encoded: bytes) -> None:
    with pytest.raises(KeyUnusable):
        ecdsa_keys.public_key(encoded)
    pem = b"-----BEGIN PUBLIC KEY-----\n" + base64.encodebytes(encoded) + b"-----END PUBLIC KEY-----\n"
    with pytest.raises(KeyUnusable):
        ecdsa_keys.public_keys_from_pem(pem)


@pytest.mark.parametrize(
    "content",
    [b"", b"text", private_pem(KEY, b"password"), private_pem(ec.generate_private_key(ec.SECP384R1()))],
    ids=["empty", "text", "with a password", "P-384"],
)
def test_a_file_without_a_key_that_can_be_used_is_refused(content: bytes) -> None:
    with pytest.raises(KeyUnusable):
        ecdsa_keys.public_keys_from_pem(content)
