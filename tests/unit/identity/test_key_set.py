"""Sets of signing keys, as an identity provider or an attacker might publish them."""

from __future__ import annotations

from typing import Any

import pytest
from jwt.algorithms import RSAAlgorithm

from local.emulators.entra_objects import SigningKey, encoded
from shared.adapters.identity.key_set import signing_keys_of

DIRECTORY = "11111111-1111-4111-8111-111111111111"
ISSUER = f"https://login.microsoftonline.com/{DIRECTORY}/v2.0"
KEY = SigningKey.new()
JWK = KEY.jwk("https://login.microsoftonline.com/{tenantid}/v2.0")


def keys_of(*jwks: Any) -> set[str]:
    """Return the ids of the usable keys in a set."""
    return set(signing_keys_of({"keys": list(jwks)}, DIRECTORY, {ISSUER}))


def test_a_key_is_read_with_its_id() -> None:
    keys = signing_keys_of({"keys": [JWK]}, DIRECTORY, {ISSUER})
    assert keys == {KEY.key_id: KEY.private.public_key()}


@pytest.mark.parametrize(
    "changes",
    [{"issuer": ISSUER}, {"issuer": "https://login.microsoftonline.com/{tenantId}/v2.0"}, {"alg": "RS256"},
     {"key_ops": ["verify"]}, {"x5c": ["..."]}],
)  # fmt: skip
def test_a_key_may_state_what_it_is_for(changes: dict[str, Any]) -> None:
    assert keys_of({**JWK, **changes}) == {KEY.key_id}
    assert keys_of({name: value for name, value in JWK.items() if name not in ("issuer", "use")}) == {KEY.key_id}


def weak(bits: int) -> dict[str, Any]:
    return {**JWK, **{name: SigningKey.new(bits).jwk("")[name] for name in ("n", "e")}}


UNUSABLE: dict[str, Any] = {
    "encryption": {**JWK, "use": "enc"},
    "another algorithm": {**JWK, "alg": "RS512"},
    "another operation": {**JWK, "key_ops": ["sign"]},
    "another directory": {**JWK, "issuer": ISSUER.replace("1", "2")},
    "a consumer key": {**JWK, "issuer": "https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0"},
    "a list as issuer": {**JWK, "issuer": [ISSUER]},
    "a private key": {**JWK, "d": "AQAB"},
    "1024 bits": weak(1024),
    "16384 bits": {**JWK, "n": encoded(b"\xff" * 2048)},
    "exponent 1": {**JWK, "e": "AQ"},
    "exponent 3": {**JWK, "e": "Aw"},
    "an even exponent": {**JWK, "e": encoded((65538).to_bytes(3, "big"))},
    "a huge exponent": {**JWK, "e": encoded(b"\xff" * 8)},
    "no modulus": {**JWK, "n": None},
    "a number as modulus": {**JWK, "n": 5},
    "an elliptic curve": {**JWK, "kty": "EC"},
    "a secret": {"kty": "oct", "k": "AQAB", "kid": "k"},
    "no id": {name: value for name, value in JWK.items() if name != "kid"},
    "a number as id": {**JWK, "kid": 7},
    "a text": "key",
}


@pytest.mark.parametrize("jwk", UNUSABLE.values(), ids=UNUSABLE)
def test_a_key_that_cannot_be_used_is_left_out(jwk: Any) -> None:
    other = SigningKey.new()
    assert keys_of(jwk, other.jwk(ISSUER)) == {other.key_id}


def test_keys_that_share_an_id_are_left_out() -> None:
    assert keys_of(JWK, {**SigningKey.new().jwk(ISSUER), "kid": KEY.key_id}) == set()


@pytest.mark.parametrize("document", [{}, {"keys": {}}, {"keys": "x"}, {"keys": []}])
def test_a_document_without_keys_has_none(document: dict[str, Any]) -> None:
    assert signing_keys_of(document, DIRECTORY, {ISSUER}) == {}


def test_a_key_of_the_emulator_is_what_pyjwt_reads() -> None:
    assert RSAAlgorithm.from_jwk(dict(JWK)) == KEY.private.public_key()
