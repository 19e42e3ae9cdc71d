"""Settings of the key that signs ledger entries, and of its versions."""

from __future__ import annotations

from datetime import datetime

from pydantic import SecretStr, ValidationInfo, field_validator

from shared.domain.audit.hash_chain import FIRST_VERSION, KEY_VERSION
from shared.domain.identifiers import timestamp
from shared.setting_rules import listed, secret_problem, unresolved_problem
from shared.vault_settings import VaultSettings


class ChainKeySettings(VaultSettings):
    """The versions of the chain key, and which of them signs."""

    audit_chain_keys: SecretStr = SecretStr("")
    """Further versions of the chain key, as `VERSION=SECRET,...`. Each secret has at least 32 characters."""
    audit_chain_key: SecretStr = SecretStr("")
    """Version 0 of the key that signs ledger entries; at least 32 characters."""
    audit_chain_key_version: str = ""
    """The version that signs new entries; 0 if there is no other. Empty if the newest version of a secret signs."""

    @property
    def chain_keys(self) -> dict[str, bytes]:
        """The secrets of all versions, by version."""
        secrets = _versioned(self.audit_chain_keys)
        if first := self.audit_chain_key.get_secret_value():
            secrets.append((FIRST_VERSION, first))
        return {version: secret.encode() for version, secret in secrets}

    @field_validator("audit_chain_keys")
    @classmethod
    def _are_chain_keys(cls, keys: SecretStr) -> SecretStr:
        if problem := _problem_of(_versioned(keys)):
            raise ValueError(problem)
        return keys

    @field_validator("audit_chain_key")
    @classmethod
    def _is_first_chain_key(cls, key: SecretStr, info: ValidationInfo) -> SecretStr:
        text, others = key.get_secret_value(), _others(info)
        has_other = others or info.data.get("audit_chain_key_secret_name", True)  # no name: that is told already
        if problem := secret_problem(text) if text or not has_other else None:
            raise ValueError(problem)
        if text and (FIRST_VERSION in others or text in others.values()):
            raise ValueError("is version 0, which AUDIT_CHAIN_KEYS must not repeat")
        return key

    @field_validator("audit_chain_key_version")
    @classmethod
    def _signs(cls, version: str, info: ValidationInfo) -> str:
        """Refuse to guess which key is the newest."""
        if not {"audit_chain_keys", "audit_chain_key", "audit_chain_key_secret_name"} <= info.data.keys():
            return version  # they are wrong, and that is told
        if info.data["audit_chain_key_secret_name"]:
            if version:
                raise ValueError("contradicts AUDIT_CHAIN_KEY_SECRET_NAME, whose newest version signs")
            return version
        others = _others(info)
        if others and not version:
            raise ValueError("is required with AUDIT_CHAIN_KEYS")
        version = version or FIRST_VERSION
        has_first = version == FIRST_VERSION and info.data["audit_chain_key"].get_secret_value()
        if not has_first and version not in others:
            raise ValueError("must be a version in AUDIT_CHAIN_KEYS, or 0 for AUDIT_CHAIN_KEY")
        return version

    audit_chain_key_ends: str = ""
    """The times from which versions must not have signed any more, as `VERSION=TIME,...`."""

    @property
    def chain_key_ends(self) -> dict[str, str]:
        """The ends of versions as timestamps of entries, by version."""
        return _ends(self.audit_chain_key_ends)

    @field_validator("audit_chain_key_ends")
    @classmethod
    def _are_ends(cls, text: str, info: ValidationInfo) -> str:
        try:
            ends = _ends(text)
        except (ValueError, OverflowError):
            raise ValueError("must be VERSION=TIME,..., times with their zone such as 2026-11-01T12:00:00Z") from None
        if info.data.get("audit_chain_key_version") in ends:
            raise ValueError("must not name the version that signs")
        return text


def _ends(text: str) -> dict[str, str]:
    """Read a list `VERSION=TIME,...`. Raises `ValueError`, and `OverflowError` for a time that is out of range."""
    ends = {}
    for item in listed(text):
        version, _, written = item.partition("=")
        moment = datetime.fromisoformat(written)
        if not KEY_VERSION.fullmatch(version) or moment.tzinfo is None:
            raise ValueError
        ends[version] = timestamp(moment)
    return ends


def _problem_of(items: list[tuple[str, str]]) -> str | None:
    """Refuse a list of chain keys that has a version or a secret twice, or a weak secret."""
    for number, (version, secret) in enumerate(items, start=1):
        if not KEY_VERSION.fullmatch(version):
            return f"must be VERSION=SECRET,...; the version of item {number} must be 1 to 32 digits and small letters"
        if problem := unresolved_problem(secret) or secret_problem(secret):
            return f"is wrong in item {number}: the secret {problem}"
    if len(dict(items)) < len(items):
        return "must name each version once"
    if len({secret for _, secret in items}) < len(items):
        return "must have another secret for each version"
    return None


def _versioned(keys: SecretStr) -> list[tuple[str, str]]:
    """Return the versions and secrets of a list `VERSION=SECRET,...`. A secret may contain `=`, but no comma."""
    items = (each.strip().partition("=") for each in keys.get_secret_value().split(",") if each.strip())
    return [(version, secret) for version, _, secret in items]


def _others(info: ValidationInfo) -> dict[str, str]:
    """Return the versions of AUDIT_CHAIN_KEYS; none if they are wrong."""
    return dict(_versioned(info.data.get("audit_chain_keys", SecretStr(""))))
