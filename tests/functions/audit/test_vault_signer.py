"""Checkpoints that a key of the vault signs: the official SDK over TLS, rotation, and a vault that refuses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from local.emulators.key_vault import EmulatedVault
from local.emulators.key_vault_keys import EmulatedKeys, StoredKey
from shared import timers
from shared.adapters import ecdsa_keys
from shared.adapters.identity.credentials import CachedTokens, managed_identity
from shared.adapters.key_vault import signer as vault_signer
from shared.adapters.key_vault.signer import LISTED_SECONDS, VaultSigner
from shared.application.audit.verify_anchors import signed_checkpoint
from shared.application.ports.anchors import SigningUnavailable
from shared.domain.audit.anchor_files import checkpoint_path
from shared.domain.audit.signed_note import PublicKey
from tests.contract.secrets.conftest import MovedClock
from tests.tools.stack import running_stack
from tests.tools.vaults import running_identity, running_vault_with_keys

KEY = "audit-anchors"
LONG = 100_000


@dataclass
class Vaulted:
    vault: EmulatedVault
    keys: EmulatedKeys
    signer: VaultSigner
    clock: MovedClock

    def later(self) -> None:
        """Let so much time pass that versions are listed again."""
        self.clock.seconds += LISTED_SECONDS


def public(stored: StoredKey) -> PublicKey:
    return ecdsa_keys.of_key(stored.key.public_key())


@pytest.fixture
async def vaulted(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Vaulted]:
    async with running_identity(monkeypatch), running_vault_with_keys() as (vault, keys):
        tokens, clock = CachedTokens(lambda authority: managed_identity("", authority)), MovedClock()
        signer = VaultSigner(vault.url, lambda: tokens.credential, KEY, clock)
        yield Vaulted(vault, keys, signer, clock)
        await signer.aclose()
        await tokens.close()


async def test_the_vault_signs_and_its_public_key_verifies(vaulted: Vaulted) -> None:
    stored = vaulted.keys.create(KEY)
    (made,) = await vaulted.signer.sign(b"message")
    (key,) = await vaulted.signer.public_keys()
    assert made.key.encoded == key.encoded == public(stored).encoded
    assert key.verify(made.signature, b"message")
    assert not key.verify(made.signature, b"another")
    assert vaulted.vault.challenges == 1


async def test_a_run_lists_the_versions_once_and_reads_a_key_once(vaulted: Vaulted) -> None:
    vaulted.keys.create(KEY)
    for _ in range(3):
        await vaulted.signer.public_keys()
    assert len(vaulted.vault.requests) == 2
    vaulted.later()
    await vaulted.signer.public_keys()
    assert len(vaulted.vault.requests) == 3


async def test_a_new_version_signs_beside_the_old_one_until_that_is_disabled(vaulted: Vaulted) -> None:
    versions = [vaulted.keys.create(KEY, age_seconds=age) for age in (3 * LONG, 2 * LONG)]
    await vaulted.signer.sign(b"x")
    assert vaulted.keys.signed == [versions[1].version, versions[0].version]
    versions.append(vaulted.keys.create(KEY))
    vaulted.later()
    made = await vaulted.signer.sign(b"x")
    assert [each.key.encoded for each in made] == [public(versions[2]).encoded, public(versions[1]).encoded]
    versions[1].enabled = False
    versions[0].enabled = False
    vaulted.later()
    assert [each.key.encoded for each in await vaulted.signer.sign(b"x")] == [public(versions[2]).encoded]
    assert len(await vaulted.signer.public_keys()) == 3  # the others were read before


@pytest.mark.parametrize("shows_disabled", [False, True])
async def test_disabled_versions_verify_if_the_vault_shows_them(vaulted: Vaulted, shows_disabled: bool) -> None:
    vaulted.keys.create(KEY, age_seconds=LONG).enabled = False
    newest = vaulted.keys.create(KEY)
    vaulted.keys.shows_disabled = shows_disabled
    found = await vaulted.signer.public_keys()
    assert (len(found), found[0].encoded) == (1 + shows_disabled, public(newest).encoded)


async def test_an_enabled_version_that_may_not_be_read_is_an_error(vaulted: Vaulted) -> None:
    vaulted.keys.create(KEY)
    await vaulted.signer._all_versions()
    vaulted.vault.status = 403
    with pytest.raises(SigningUnavailable, match="403"):
        await vaulted.signer.public_keys()


async def test_versions_that_signed_earlier_still_verify(vaulted: Vaulted) -> None:
    versions = [vaulted.keys.create(KEY, age_seconds=age) for age in (3 * LONG, 2 * LONG, LONG)]
    assert [each.encoded for each in await vaulted.signer.public_keys()] == [
        public(each).encoded for each in reversed(versions)
    ]


async def test_versions_that_are_not_yet_or_no_longer_valid_do_not_sign(vaulted: Vaulted) -> None:
    early, late = vaulted.keys.create(KEY), vaulted.keys.create(KEY, age_seconds=LONG)
    now = int(vaulted.clock.now().timestamp())
    early.not_before, late.expires = now + LONG, now - 5
    with pytest.raises(SigningUnavailable, match=f"The key '{KEY}' has no version that may sign now"):
        await vaulted.signer.sign(b"x")
    late.expires, early.not_before = now + LONG, now - 5
    vaulted.later()
    assert len(await vaulted.signer.sign(b"x")) == 2


async def test_a_key_that_does_not_exist_signs_nothing(vaulted: Vaulted) -> None:
    with pytest.raises(SigningUnavailable, match="no version that may sign"):
        await vaulted.signer.sign(b"x")
    assert await vaulted.signer.public_keys() == []


async def test_a_key_of_another_curve_is_refused(vaulted: Vaulted) -> None:
    vaulted.keys.create(KEY, curve=ec.SECP384R1())
    with pytest.raises(SigningUnavailable, match="KeyUnusable"):
        await vaulted.signer.sign(b"x")


async def test_a_signature_of_another_form_is_refused(vaulted: Vaulted) -> None:
    vaulted.keys.create(KEY)
    vaulted.keys.signature = b"short"
    with pytest.raises(SigningUnavailable, match="KeyUnusable"):
        await vaulted.signer.sign(b"x")


@pytest.mark.parametrize("status", [403, 404, 500])
async def test_a_vault_that_refuses_is_told(vaulted: Vaulted, status: int) -> None:
    vaulted.keys.create(KEY)
    vaulted.vault.status, vaulted.vault.retry_after = status, "0"
    with pytest.raises(SigningUnavailable, match=f"'{KEY}' of the key vault cannot be used: {status}"):
        await vaulted.signer.sign(b"x")


@pytest.mark.parametrize("body", [b"nothing", b"[]", b'{"value": [{"kid": 5}]}'])
async def test_an_answer_that_is_none_of_a_vault_is_told(vaulted: Vaulted, body: bytes) -> None:
    vaulted.vault.body = body
    with pytest.raises(SigningUnavailable, match=f"The key '{KEY}' of the key vault cannot be used"):
        await vaulted.signer.public_keys()


async def test_a_vault_that_hangs_is_left(vaulted: Vaulted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vault_signer, "_SECONDS", 0.05)
    vaulted.vault.gate.clear()
    with pytest.raises(SigningUnavailable, match="TimeoutError"):
        await vaulted.signer.sign(b"x")
    vaulted.vault.gate.set()


async def test_a_signer_that_was_never_used_is_closed() -> None:
    tokens: Any = None
    await VaultSigner("https://x.vault.azure.net", lambda: tokens.credential, KEY, MovedClock()).aclose()


async def test_a_gateway_anchors_with_the_key_of_its_vault(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: Any
) -> None:
    async with running_identity(monkeypatch), running_vault_with_keys() as (vault, keys):
        stored = keys.create(KEY)
        settings = {"TALLYGATE_STORAGE": "memory", "AZURE_KEY_VAULT_URL": vault.url, "AUDIT_SIGNING_KEY_NAME": KEY}
        async with running_stack(monkeypatch, tmp_path, settings) as stack:
            await asyncio.gather(*(timers.anchor_audit(past_due=False) for _ in range(2)))
            anchors = (await stack.gateway()).anchors
            note = await anchors.store.read(checkpoint_path(1))
            assert note is not None
            assert signed_checkpoint(note, "tallygate/memory", [public(stored)]).size == 1
