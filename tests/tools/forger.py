"""Make forged access tokens."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa

from local.emulators.entra import EmulatedEntra
from local.emulators.entra_objects import Application, encoded


@dataclass(frozen=True)
class Forger:
    """Somebody who knows all that is public, and holds tokens of this provider that are not for the gateway."""

    entra: EmulatedEntra

    @property
    def admin(self) -> Application:
        client = self.entra.applications[0]
        return Application(client_id=client.client_id, object_id=client.object_id, roles=("Gateway.Admin",))

    @property
    def claims(self) -> dict[str, Any]:
        return self.entra.claims_of(self.admin)

    @property
    def good(self) -> str:
        return self.entra.signed(self.claims)

    def claiming(self, **changes: Any) -> str:
        """Sign other claims with the provider's key, as if it had issued them. `None` leaves a claim out."""
        claims = {**self.claims, **changes}
        return self.entra.signed({name: value for name, value in claims.items() if value is not None})

    def writing(self, old: str, new: str) -> str:
        """Sign claims whose JSON was changed as a text."""
        text = json.dumps(self.claims)
        assert old in text
        return self.entra.signed(text.replace(old, new, 1).encode())

    def heading(self, **header: Any) -> str:
        """Sign the claims with the provider's key below another header."""
        return self.entra.signed(self.claims, header)

    def unsigned(self, header: dict[str, Any], sign: Callable[[bytes], bytes], claims: bytes | None = None) -> str:
        """Make a token by another signature."""
        sent = {"typ": "JWT", "kid": self.entra.keys[0].key_id, **header}
        signed = f"{encoded(sent)}.{encoded(claims or self.claims)}"
        return f"{signed}.{encoded(sign(signed.encode()))}"

    def raw(self, header: bytes, claims: bytes | None = None) -> str:
        """Sign any bytes with the provider's key."""
        signed = f"{encoded(header)}.{encoded(claims or json.dumps(self.claims).encode())}"
        return f"{signed}.{encoded(self.entra.keys[0].sign(signed.encode()))}"

    @property
    def parts(self) -> list[str]:
        return self.good.split(".")

    @property
    def public(self) -> rsa.RSAPublicKey:
        return self.entra.keys[0].private.public_key()
