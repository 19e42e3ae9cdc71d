"""The objects of an emulated Entra: its signing keys, and the applications and people of a directory."""

from __future__ import annotations

import base64
import json
import secrets
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

BITS = 2048
EXCHANGE_AUDIENCE = "api://AzureADTokenExchange"
"""The audience of a token that is exchanged for one of Entra."""


@dataclass(frozen=True)
class SigningKey:
    """A key pair. Entra names a key by the thumbprint of its certificate; here a random text does."""

    private: rsa.RSAPrivateKey
    key_id: str = field(default_factory=lambda: secrets.token_urlsafe(20))

    @classmethod
    def new(cls, bits: int = BITS) -> SigningKey:
        return cls(rsa.generate_private_key(public_exponent=65537, key_size=bits))

    def jwk(self, issuer: str) -> dict[str, Any]:
        """Return the public half as Entra publishes it."""
        public = RSAAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        return {
            "kty": "RSA", "use": "sig", "kid": self.key_id, "x5t": self.key_id, "n": public["n"], "e": public["e"],
            "issuer": issuer,
        }  # fmt: skip

    def sign(self, signed: bytes) -> bytes:
        return RSAAlgorithm(RSAAlgorithm.SHA256).sign(signed, self.private)


@dataclass(frozen=True, kw_only=True)
class ServiceAccount:
    """An account of a Kubernetes cluster, and the cluster's key, which Entra reads from the issuer's documents.

    https://learn.microsoft.com/entra/workload-id/workload-identity-federation
    """

    subject: str = "system:serviceaccount:tallygate:gateway"
    issuer: str = "https://oidc.cluster.example/"
    key: SigningKey = field(default_factory=SigningKey.new)

    def token(self, *, audience: str = EXCHANGE_AUDIENCE, lifetime_seconds: int = 3600, **claims: Any) -> str:
        """Return a token as the cluster projects it into a pod."""
        now = int(time.time())
        usual = {"aud": [audience], "iss": self.issuer, "sub": self.subject, "iat": now, "exp": now + lifetime_seconds}
        signed = f"{encoded({'alg': 'RS256', 'kid': self.key.key_id})}.{encoded({**usual, **claims})}"
        return f"{signed}.{encoded(self.key.sign(signed.encode()))}"

    def has_issued(self, token: str) -> bool:
        """Tell whether Entra would take a token: signature, issuer, subject, audience and expiry."""
        required = ["exp", "iss", "sub", "aud"]
        try:
            claims = jwt.decode(
                token, self.key.private.public_key(), ["RS256"], issuer=self.issuer, audience=EXCHANGE_AUDIENCE,
                options={"require": required},
            )  # fmt: skip
        except jwt.InvalidTokenError:
            return False
        return bool(claims["sub"] == self.subject)


@dataclass(frozen=True, kw_only=True)
class Application:
    """A client application and its service principal in the directory."""

    client_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    object_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    secret: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    roles: tuple[str, ...] = ()
    resource_id: str = ""
    """The Azure resource whose managed identity it is; empty for a registered application."""
    trusts: tuple[ServiceAccount, ...] = ()
    """Its federated credentials: the accounts whose tokens it takes in place of a secret."""


@dataclass(frozen=True, kw_only=True)
class Person:
    """A user of the directory."""

    name: str = "ann@contoso.example"
    object_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    password: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    roles: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ("user_impersonation",)


def encoded(document: Mapping[str, Any] | bytes) -> str:
    """Return bytes, or a JSON object, in base64url without padding."""
    raw = document if isinstance(document, bytes) else json.dumps(document).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
