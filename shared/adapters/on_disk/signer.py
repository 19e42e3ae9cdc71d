"""The keys of a laptop that sign checkpoints: a PEM file that only its owner can read."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from shared.adapters import ecdsa_keys
from shared.application.ports.anchors import KeySignature, SigningUnavailable
from shared.domain.audit.signed_note import PublicKey

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey


class KeyFileSigner:
    """Implements `CheckpointSigner` with a file, which is read each time, so that a new key needs no restart.

    - Every private key in the file signs. While a new key replaces an old one, the file holds both.
    - Public keys in the file are those of earlier keys. They verify what those have signed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    async def sign(self, message: bytes) -> Sequence[KeySignature]:
        private, _ = self._keys()
        if not private:
            raise SigningUnavailable(f"{self._path} has no private key, so the checkpoint is not signed.")
        return [KeySignature(ecdsa_keys.of_key(key.public_key()), ecdsa_keys.sign(key, message)) for key in private]

    async def public_keys(self) -> Sequence[PublicKey]:
        private, public = self._keys()
        return [*(ecdsa_keys.of_key(key.public_key()) for key in private), *public]

    def _keys(self) -> tuple[list[EllipticCurvePrivateKey], list[PublicKey]]:
        try:
            return ecdsa_keys.read_pem(self._content())
        except ecdsa_keys.KeyUnusable as error:
            raise SigningUnavailable(f"{self._path} cannot be used: {error}") from error

    def _content(self) -> bytes:
        try:
            if self._path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise SigningUnavailable(f"{self._path} can be read by others than its owner: set its mode to 0600.")
            return self._path.read_bytes()
        except OSError as error:
            raise SigningUnavailable(f"{self._path} cannot be read: {error.strerror}.") from error
