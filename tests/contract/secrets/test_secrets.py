"""Every implementation of `Secrets` keeps the port's promises."""

from __future__ import annotations

import pytest

from local.emulators.key_vault import EmulatedVault
from shared.adapters.in_memory.secrets import StatedSecrets
from shared.adapters.key_vault.secrets import KeyVaultSecrets
from shared.application.ports.secrets import Secrets
from shared.domain.errors import SecretUnavailable


@pytest.fixture(params=["stated", "vault", "stated before a vault"])
def either(request: pytest.FixtureRequest, secrets: KeyVaultSecrets, vault: EmulatedVault) -> Secrets:
    """Secrets with one, `key`, whose value is `k1`."""
    stated = {"key": "k1"}
    if request.param == "stated":
        return StatedSecrets(stated)
    if request.param == "vault":
        vault.set("key", "k1", age_seconds=9999)
        return secrets
    vault.set("key", "never asked for")
    return StatedSecrets(stated, secrets)


async def test_a_secret_has_a_value_and_a_version(either: Secrets) -> None:
    assert await either.get("key") == "k1"
    assert either.held("key") == "k1"
    assert [*await either.accepted("key")] == ["k1"]
    (version,) = await either.versions("key")
    assert version.value == "k1"
    assert "k1" not in f"{version!r} {version}"


async def test_a_refused_value_has_no_alternative_if_there_is_one_version(either: Secrets) -> None:
    assert await either.refused("key", "k1") is None


async def test_a_secret_that_is_not_known_is_named(either: Secrets) -> None:
    assert either.held("other") is None
    for ask in (either.get, either.accepted, either.versions, lambda name: either.refused(name, "x")):
        with pytest.raises(SecretUnavailable, match="'other'"):
            await ask("other")


async def test_secrets_that_are_not_stated_come_from_the_vault(secrets: KeyVaultSecrets, vault: EmulatedVault) -> None:
    both = StatedSecrets({"stated": "s"}, secrets)
    vault.set("key", "k1")
    assert both.held("key") is None
    assert await both.get("key") == "k1" == both.held("key")
    assert [*await both.accepted("key")] == ["k1"]
    assert [each.value for each in await both.versions("key")] == ["k1"]
    assert await both.refused("key", "k0") == "k1"
