"""The keys of an emulated vault: their versions, their public parts, and signatures by them."""

from __future__ import annotations

import base64
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from local.emulators.key_vault import EmulatedVault

_CURVES = {"secp256r1": "P-256", "secp384r1": "P-384"}


@dataclass
class StoredKey:
    """One version of a key."""

    version: str
    key: ec.EllipticCurvePrivateKey
    created: int
    enabled: bool = True
    expires: int = 0
    not_before: int = 0


@dataclass
class EmulatedKeys:
    """The keys of a vault. It must be made before the vault's application.

    https://learn.microsoft.com/rest/api/keyvault/keys/sign/sign
    """

    vault: EmulatedVault
    versions: dict[str, list[StoredKey]] = field(default_factory=dict)
    signed: list[str] = field(default_factory=list)
    """The versions that have signed, in order."""
    shows_disabled: bool = False
    """The public parts of disabled versions can be read."""
    signature: bytes | None = None
    """Answer this in place of each signature."""

    def __post_init__(self) -> None:
        self.vault.routes += [
            ("GET", "/keys/{name}/versions", self._list),
            ("GET", "/keys/{name}/{version}", self._get),
            ("POST", "/keys/{name}/{version}/sign", self._sign),
        ]

    def create(self, name: str, *, age_seconds: float = 0, curve: ec.EllipticCurve | None = None) -> StoredKey:
        """Add a version that was made some time ago."""
        made = StoredKey(
            version=secrets.token_hex(16),
            key=ec.generate_private_key(curve or ec.SECP256R1()),
            created=int(time.time() - age_seconds),
        )
        self.versions.setdefault(name, []).append(made)
        return made

    async def _list(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        found = sorted(self.versions.get(name, ()), key=lambda each: each.version)
        items = [{"kid": self._id(name, each), "attributes": _attributes(each)} for each in found]
        return web.json_response({"value": items, "nextLink": None})

    async def _get(self, request: web.Request) -> web.Response:
        name, found = request.match_info["name"], self._found(request)
        if found is None:
            return _refused(404, "KeyNotFound")
        if not found.enabled and not self.shows_disabled:
            return _refused(403, "Forbidden")
        numbers = found.key.public_key().public_numbers()
        size = (found.key.curve.key_size + 7) // 8
        key = {
            "kid": self._id(name, found),
            "kty": "EC",
            "crv": _CURVES[found.key.curve.name],
            "key_ops": ["sign", "verify"],
            "x": _encoded(numbers.x.to_bytes(size, "big")),
            "y": _encoded(numbers.y.to_bytes(size, "big")),
        }
        return web.json_response({"key": key, "attributes": _attributes(found)})

    async def _sign(self, request: web.Request) -> web.Response:
        name, found, asked = request.match_info["name"], self._found(request), await request.json()
        if found is None:
            return _refused(404, "KeyNotFound")
        if not found.enabled or asked["alg"] != "ES256":
            return _refused(403, "Forbidden")
        self.signed.append(found.version)
        digest = base64.urlsafe_b64decode(asked["value"] + "==")
        r, s = decode_dss_signature(found.key.sign(digest, ec.ECDSA(Prehashed(SHA256()))))
        raw = r.to_bytes(32, "big") + s.to_bytes(32, "big") if self.signature is None else self.signature
        return web.json_response({"kid": self._id(name, found), "value": _encoded(raw)})

    def _found(self, request: web.Request) -> StoredKey | None:
        name, version = request.match_info["name"], request.match_info["version"]
        return next((each for each in self.versions.get(name, ()) if each.version == version), None)

    def _id(self, name: str, key: StoredKey) -> str:
        return f"{self.vault.url}/keys/{name}/{key.version}"


def _attributes(key: StoredKey) -> dict[str, Any]:
    times = {"created": key.created, "updated": key.created, "exp": key.expires, "nbf": key.not_before}
    return {"enabled": key.enabled, **{name: stamp for name, stamp in times.items() if stamp}}


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _refused(status: int, code: str) -> web.Response:
    return web.json_response({"error": {"code": code, "message": "The request was refused."}}, status=status)
