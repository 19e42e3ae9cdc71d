"""Forged, broken and stolen access tokens, by the problem with which they are refused, and by name.

Each would administer the gateway if it were accepted.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
import uuid
from collections.abc import Callable
from typing import Final

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from local.emulators.entra_objects import Person, SigningKey, encoded
from tests.tools.forger import Forger

Forgery = Callable[[Forger], str]
_STRANGER: Final = SigningKey.new()
_SHA256_INFO: Final = bytes.fromhex("3031300d060960864801650304020105000420")
"""DigestInfo of SHA-256, RFC 8017, section 9.2."""


def _hmac(key: bytes, name: str = "sha256") -> Callable[[bytes], bytes]:
    return lambda signed: hmac.new(key, signed, name).digest()


def _pem(public: rsa.RSAPublicKey) -> bytes:
    return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _pkcs1(key: rsa.RSAPrivateKey, algorithm: hashes.HashAlgorithm) -> Callable[[bytes], bytes]:
    return lambda signed: key.sign(signed, padding.PKCS1v15(), algorithm)


def _pss(key: rsa.RSAPrivateKey) -> Callable[[bytes], bytes]:
    scheme = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
    return lambda signed: key.sign(signed, scheme, hashes.SHA256())


def _for_exponent_1(signed: bytes) -> bytes:
    """Return the padded digest itself, which is a valid signature under a public exponent of 1."""
    info = _SHA256_INFO + hashlib.sha256(signed).digest()
    return b"\x00\x01" + b"\xff" * (256 - 3 - len(info)) + b"\x00" + info


def _ecdsa(signed: bytes) -> bytes:
    return ec.generate_private_key(ec.SECP256R1()).sign(signed, ec.ECDSA(hashes.SHA256()))


def _next_character(part: str) -> str:
    """Change the last character of base64url so that a lenient reader decodes the same bytes."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return part[:-1] + alphabet[alphabet.index(part[-1]) ^ 1]


def _now() -> int:
    return int(time.time())


def _foreign(by: Forger, directory_id: str) -> str:
    """Return a sound token of another directory of the same provider."""
    return by.claiming(tid=directory_id, iss=f"{by.entra.url}/{directory_id}/v2.0")


HOSTILE_TOKENS: Final[dict[str, dict[str, Forgery]]] = {
    "It does not have the form of a signed JSON Web Token.": {
        "no algorithm, no signature": lambda by: ".".join([encoded({"alg": "none", "typ": "JWT"}), by.parts[1], ""]),
        "an empty signature": lambda by: by.good.rpartition(".")[0] + ".",
        "encryption": lambda _: ".".join([encoded({"alg": "RSA-OAEP", "enc": "A256GCM"}), "a", "b", "c", "d"]),
        "four parts": lambda by: by.good + ".AAAA",
        "two parts": lambda by: ".".join(by.parts[:2]),
        "one part and a point": lambda by: by.parts[0] + ".",
        "no claims": lambda by: f"{by.parts[0]}..{by.parts[2]}",
        "a blank inside": lambda by: by.good.replace(".", ". ", 1),
        "padding": lambda by: by.good + "==",
        "the other alphabet": lambda by: by.good.replace("-", "+").replace("_", "/") + "+/",
        "letters beyond ASCII": lambda by: by.parts[0] + ".\u00e9\u00fc." + by.parts[2],
    },
    "Its header does not ask for RS256 ('alg') of a JWT ('typ').": {
        "no algorithm, but a signature": lambda by: by.heading(alg="none"),
        "no algorithm in other letters": lambda by: by.heading(alg="nOnE"),
        "HMAC by the public key": lambda by: by.unsigned({"alg": "HS256"}, _hmac(_pem(by.public))),
        "HMAC by the modulus": lambda by: by.unsigned(
            {"alg": "HS256"}, _hmac(by.public.public_numbers().n.to_bytes(256, "big"))
        ),
        "HMAC by nothing": lambda by: by.unsigned({"alg": "HS256", "kid": "../../../../dev/null"}, _hmac(b"")),
        "HMAC of 512 bits": lambda by: by.unsigned({"alg": "HS512"}, _hmac(_pem(by.public), "sha512")),
        "RS384 by the right key": lambda by: by.unsigned(
            {"alg": "RS384"}, _pkcs1(by.entra.keys[0].private, hashes.SHA384())
        ),
        "RS512 by the right key": lambda by: by.unsigned(
            {"alg": "RS512"}, _pkcs1(by.entra.keys[0].private, hashes.SHA512())
        ),
        "PS256 by the right key": lambda by: by.unsigned({"alg": "PS256"}, _pss(by.entra.keys[0].private)),
        "ES256": lambda by: by.unsigned({"alg": "ES256"}, _ecdsa),
        "EdDSA": lambda by: by.unsigned({"alg": "EdDSA"}, ed25519.Ed25519PrivateKey.generate().sign),
        "a list as algorithm": lambda by: by.heading(alg=["RS256"]),
        "a small algorithm": lambda by: by.heading(alg="rs256"),
        "an algorithm with a blank": lambda by: by.heading(alg="RS256 "),
        "no type": lambda by: by.raw(json.dumps({"alg": "RS256", "kid": by.entra.keys[0].key_id}).encode()),
        "another type": lambda by: by.heading(typ="at+jwt"),
        "a logout token": lambda by: by.heading(typ="logout+jwt"),
        "a header with a byte order mark": lambda by: by.raw(b'{"\xef\xbb\xbfalg":"RS256","typ":"JWT"}'),
    },
    "It is not signed by a key of its directory.": {
        "HMAC by the public key, said to be RS256": lambda by: by.unsigned({"alg": "RS256"}, _hmac(_pem(by.public))),
        "RS512 said to be RS256": lambda by: by.unsigned(
            {"alg": "RS256"}, _pkcs1(by.entra.keys[0].private, hashes.SHA512())
        ),
        "PS256 said to be RS256": lambda by: by.unsigned({"alg": "RS256"}, _pss(by.entra.keys[0].private)),
        "a stranger's key with a known id": lambda by: by.unsigned({"alg": "RS256"}, _STRANGER.sign),
        "a stranger's key with its own id": lambda by: by.entra.signed(by.claims, key=_STRANGER),
        "a weak key with a known id": lambda by: by.unsigned({"alg": "RS256"}, SigningKey.new(1024).sign),
        "the other published key with this id": lambda by: by.unsigned({"alg": "RS256"}, by.entra.keys[1].sign),
        "a signature for exponent 1": lambda by: by.unsigned({"alg": "RS256"}, _for_exponent_1),
        "a signature of zeros": lambda by: by.unsigned({"alg": "RS256"}, lambda _: bytes(256)),
        "a short signature": lambda by: by.unsigned({"alg": "RS256"}, lambda to: by.entra.keys[0].sign(to)[:-1]),
        "a long signature": lambda by: by.good + "AAAA",
        "the signature of another token": lambda by: by.good.rpartition(".")[0] + "." + by.good.rpartition(".")[2],
        "claims changed after signing": lambda by: ".".join(
            [by.parts[0], encoded({**by.claims, "roles": ["Gateway.Audit.Read"]}), by.parts[2]]
        ),
        "a header changed after signing": lambda by: ".".join(
            [encoded({"typ": "JWT", "alg": "RS256", "kid": by.entra.keys[0].key_id, "x": 1}), *by.parts[1:]]
        ),
        "a path as key id": lambda by: by.heading(kid="../../../../etc/passwd"),
        "a query as key id": lambda by: by.heading(kid="x' UNION SELECT 'key"),
        "a key id with a line break": lambda by: by.heading(kid="k\r\nadmin signed in"),
        "the key id in other letters": lambda by: by.heading(kid=by.entra.keys[0].key_id.swapcase()),
    },
    "Its parts are not base64url, or not JSON objects with one value for each name.": {
        "another token inside": lambda by: by.entra.signed(by.good.encode(), {"cty": "JWT"}),
        "two algorithms": lambda by: by.raw(
            f'{{"alg":"none","typ":"JWT","kid":"{by.entra.keys[0].key_id}","alg":"RS256"}}'.encode()
        ),
        "two algorithms, one escaped": lambda by: by.raw(
            f'{{"\\u0061lg":"none","typ":"JWT","kid":"{by.entra.keys[0].key_id}","alg":"RS256"}}'.encode()
        ),
        "a header that is no JSON": lambda by: by.raw(b'{"alg":"RS256","typ":"JWT"'),
        "a signature with other idle bits": lambda by: by.good[: -len(by.parts[2])] + _next_character(by.parts[2]),
        "a length that base64 cannot have": lambda by: by.good[: -len(by.parts[2])] + "AAAAA",
        "claims that are no JSON": lambda by: by.entra.signed(b'{"oid": '),
        "a list as claims": lambda by: by.entra.signed(json.dumps([by.claims]).encode()),
        "a text as claims": lambda by: by.entra.signed(b'"claims"'),
        "claims that are not UTF-8": lambda by: by.entra.signed(b'{"oid": "\xff"}'),
        "claims in UTF-16": lambda by: by.entra.signed(json.dumps(by.claims).encode("utf-16")),
        "deep claims": lambda by: by.entra.signed(b'{"a":' + b"[" * 9_000 + b"]" * 1_000 + b"}"),
        "one claim twice": lambda by: by.writing('"aud"', '"aud": "x", "aud"'),
        "one claim twice, escaped": lambda by: by.writing('"exp"', '"e\\u0078p": 1, "exp"'),
        "the object id twice": lambda by: by.writing('"oid"', f'"oid": "{uuid.uuid4()}", "oid"'),
        "beyond all numbers": lambda by: by.writing('"exp": ', '"exp": ' + "9" * 5_000),
        "an infinite expiry": lambda by: by.writing('"exp": ', '"exp": Infinity, "x": '),
        "an expiry that is no number": lambda by: by.writing('"exp": ', '"exp": NaN, "x": '),
    },
    "Its header has members that Entra does not use.": {
        "critical members": lambda by: by.heading(crit=["exp"]),
        "an unencoded payload": lambda by: by.heading(b64=False, crit=["b64"]),
        "a key set of its own": lambda by: by.heading(jku=f"{by.entra.url}/evil/keys"),
        "a certificate of its own by address": lambda by: by.heading(x5u=f"{by.entra.url}/evil/certificate"),
        "a key of its own": lambda by: by.entra.signed(by.claims, {"jwk": _STRANGER.jwk("")}, _STRANGER),
        "a certificate of its own": lambda by: by.entra.signed(by.claims, {"x5c": ["MIID"]}, _STRANGER),
        "compression": lambda by: by.heading(zip="DEF"),
    },
    "Its header does not name a key ('kid').": {
        "no key id": lambda by: by.raw(b'{"typ":"JWT","alg":"RS256"}'),
        "a number as key id": lambda by: by.heading(kid=0),
        "null as key id": lambda by: by.heading(kid=None),
        "a list as key id": lambda by: by.heading(kid=[by.entra.keys[0].key_id]),
        "an empty key id": lambda by: by.heading(kid=""),
        "a very long key id": lambda by: by.heading(kid="k" * 5_000),
    },
    "It has more than 16384 characters.": {
        "twenty thousand characters": lambda by: by.claiming(padding="x" * 15_000),
    },
    "It has expired. Get a new one.": {
        "expired": lambda by: by.claiming(exp=_now() - 3600, nbf=_now() - 7200, iat=_now() - 7200),
        "expired a minute ago": lambda by: by.claiming(exp=_now() - 62),
    },
    "It is not valid yet. Check the clock of the machine that got it.": {
        "not valid yet": lambda by: by.claiming(nbf=_now() + 600),
        "issued in the future": lambda by: by.claiming(iat=_now() + 600),
    },
    "It is valid for a longer time than Entra issues tokens for.": {
        "valid for a month": lambda by: by.claiming(exp=_now() + 30 * 86_400),
        "valid for ever": lambda by: by.claiming(exp=253_402_300_799),
    },
    "Its claim 'exp' is missing or malformed.": {
        "beyond the calendar": lambda by: by.claiming(exp=10**15),
        "an expiry with an exponent": lambda by: by.writing('"exp": ', '"exp": 1e999, "x": '),
        "a broken expiry": lambda by: by.claiming(exp=_now() + 3600.5),
        "an expiry as a text": lambda by: by.claiming(exp=str(_now() + 3600)),
        "an expiry as a list": lambda by: by.claiming(exp=[_now() + 3600]),
        "true as expiry": lambda by: by.claiming(exp=True),
        "an expiry of nought": lambda by: by.claiming(exp=0),
        "a negative expiry": lambda by: by.claiming(exp=-1),
        "no expiry": lambda by: by.claiming(exp=None),
        "null as expiry": lambda by: by.writing('"exp": ', '"exp": null, "x": '),
    },
    "Its claim 'nbf' is missing or malformed.": {
        "a beginning as a text": lambda by: by.claiming(nbf="0"),
    },
    "Its claim 'iat' is missing or malformed.": {
        "true as time of issue": lambda by: by.claiming(iat=True),
    },
    "Its issuer ('iss') is not that of its directory and version.": {
        "another issuer": lambda by: by.claiming(iss="https://evil.example/"),
        "an issuer over http": lambda by: by.claiming(iss=by.entra.issuer("2.0").replace("https", "http")),
        "an issuer with another ending": lambda by: by.claiming(iss=by.entra.issuer("2.0") + "/"),
        "an issuer as the beginning of a host": lambda by: by.claiming(
            iss=f"{by.entra.url}.evil.example/{by.entra.directory_id}/v2.0"
        ),
        "an issuer as a user of a host": lambda by: by.claiming(
            iss=f"{by.entra.url}@evil.example/{by.entra.directory_id}/v2.0"
        ),
        "an issuer in capitals": lambda by: by.claiming(iss=by.entra.issuer("2.0").upper()),
        "an issuer with a look-alike letter": lambda by: by.claiming(iss=by.entra.issuer("2.0").replace("p", "\u0440")),
        "an issuer with a placeholder": lambda by: by.claiming(iss=f"{by.entra.url}/{{tenantid}}/v2.0"),
        "an issuer of another cloud": lambda by: by.claiming(iss=f"https://sts.windows.net/{by.entra.directory_id}/"),
        "an issuer of the other version": lambda by: by.claiming(iss=by.entra.issuer("1.0")),
        "an unknown version": lambda by: by.claiming(ver="3.0"),
        "a list as version": lambda by: by.claiming(ver=["2.0"]),
        "our directory with a foreign issuer": lambda by: by.claiming(iss=f"{by.entra.url}/{uuid.uuid4()}/v2.0"),
    },
    "Its claim 'iss' is missing or malformed.": {
        "no issuer": lambda by: by.claiming(iss=None),
        "a list as issuer": lambda by: by.claiming(iss=[by.entra.issuer("2.0")]),
    },
    "Its directory ('tid') is not one that this gateway accepts.": {
        "a foreign directory": lambda by: _foreign(by, str(uuid.uuid4())),
        "the directory of personal accounts": lambda by: _foreign(by, "9188040d-6c67-4c5b-b112-36a304b66dad"),
        "a foreign directory with our issuer": lambda by: by.claiming(tid=str(uuid.uuid4())),
    },
    "Its claim 'tid' is missing or malformed.": {
        "no directory": lambda by: by.claiming(tid=None),
        "the directory in capitals": lambda by: by.claiming(tid=by.entra.directory_id.upper() + " "),
        "a list as directory": lambda by: by.claiming(tid=[by.entra.directory_id]),
        "an object as directory": lambda by: by.claiming(tid={by.entra.directory_id: 1}),
        "a name as directory": lambda by: by.claiming(tid="common"),
    },
    "It was issued for another service ('aud'). Ask for a token with the gateway's scope.": {
        "another audience": lambda by: by.claiming(aud=str(uuid.uuid4())),
        "our audience and more": lambda by: by.claiming(aud=f"api://{by.entra.gateway_id}/other"),
        "our audience with a blank": lambda by: by.claiming(aud=f"{by.entra.gateway_id} "),
        "our audience by http": lambda by: by.claiming(aud=f"https://{by.entra.gateway_id}"),
        "Microsoft Graph": lambda by: by.entra.signed(
            by.entra.claims_of(by.admin, audience="https://graph.microsoft.com")
        ),
        "Azure OpenAI": lambda by: by.entra.signed(
            by.entra.claims_of(by.admin, audience="https://cognitiveservices.azure.com")
        ),
        "the client itself": lambda by: by.claiming(aud=by.admin.client_id),
    },
    "Its claim 'aud' is missing or malformed.": {
        "no audience": lambda by: by.claiming(aud=None),
        "a list with our audience": lambda by: by.claiming(aud=[str(uuid.uuid4()), by.entra.gateway_id]),
        "a list of our audience": lambda by: by.claiming(aud=[by.entra.gateway_id]),
        "an empty audience": lambda by: by.claiming(aud=""),
        "a number as audience": lambda by: by.claiming(aud=7),
    },
    "Its claim 'oid' is missing or malformed.": {
        "no object id": lambda by: by.claiming(oid=None),
        "a name as object id": lambda by: by.claiming(oid="admin"),
        "an object id and more": lambda by: by.claiming(oid=by.admin.object_id + "\n"),
        "a list as object id": lambda by: by.claiming(oid=[by.admin.object_id]),
    },
    "Its claim 'azp' is missing or malformed.": {
        "no client application": lambda by: by.claiming(azp=None),
        "the client of the other version": lambda by: by.claiming(azp=None, appid=by.admin.client_id),
        "a name as client application": lambda by: by.claiming(azp="azure-cli"),
        "an ID token for the gateway": lambda by: by.entra.id_token_of(
            Person(roles=("Gateway.Admin",)), by.entra.gateway_id
        ),
    },
    "Its claims 'azp' and 'appid' name different applications.": {
        "two client applications": lambda by: by.claiming(appid=str(uuid.uuid4())),
    },
    "It has no scope ('scp'), and it is not the token of an application.": {
        "a person without a scope": lambda by: by.claiming(sub="pairwise"),
    },
    "It has none of the scopes ('scp') of this gateway.": {
        "a person with another scope": lambda by: by.claiming(sub="pairwise", scp="User.Read offline_access"),
        "a person with half a scope": lambda by: by.claiming(sub="pairwise", scp="user_impersonation.read"),
    },
    "Its claim 'scp' is missing or malformed.": {
        "a person with an empty scope": lambda by: by.claiming(sub="pairwise", scp=""),
        "a list as scope": lambda by: by.claiming(scp=["user_impersonation"]),
        "null as scope": lambda by: by.writing('"sub"', '"scp": null, "sub"'),
    },
    "Its claim 'roles' is missing or malformed.": {
        "a text as roles": lambda by: by.claiming(roles="Gateway.Admin"),
        "an object as roles": lambda by: by.claiming(roles={"Gateway.Admin": True}),
        "a number among roles": lambda by: by.claiming(roles=["Gateway.Admin", 1]),
        "a list among roles": lambda by: by.claiming(roles=[["Gateway.Admin"]]),
    },
    "Its claim 'groups' is missing or malformed.": {
        "a text as groups": lambda by: by.claiming(groups="group"),
    },
    "It is bound to a key of its client ('cnf'), so it is not a bearer token.": {
        "a token that is bound to a key": lambda by: by.claiming(cnf={"kid": "thumbprint"}),
    },
}
WITHOUT_FORM: Final[dict[str, Forgery]] = {
    "a list as header": lambda by: by.raw(
        b'{"alg":"RS256"}'.replace(b"{", b"[").replace(b"}", b"]").replace(b":", b",")
    ),
    "a header in UTF-16": lambda by: by.raw('{"alg":"RS256","typ":"JWT"}'.encode("utf-16-be")),
}
"""These do not begin as a token does, so they are taken for keys."""
