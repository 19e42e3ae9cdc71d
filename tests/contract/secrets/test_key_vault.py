"""Secrets of a vault: cached, renewed, rotated, and kept while it is down. The SDK is Microsoft's, unmodified."""

from __future__ import annotations

import asyncio
import os

import pytest

from local.emulators.key_vault import EmulatedVault
from local.emulators.managed_identity import APP_SERVICE_PATH, EmulatedIdentity
from shared.adapters.identity.credentials import CachedTokens, managed_identity
from shared.adapters.key_vault.renewed import Renewed
from shared.adapters.key_vault.secrets import KeyVaultSecrets
from shared.adapters.key_vault.vault import Vault
from shared.domain.errors import SecretUnavailable
from tests.contract.secrets.conftest import MovedClock
from tests.tools.stack import eventually, free_port
from tests.tools.vaults import running_identity

OLD = 99_999
"""An age in seconds: nothing overlaps with such a version."""


def times(vault: EmulatedVault, path: str = "/secrets/key/") -> int:
    return vault.requests.count(path)


async def test_the_vault_challenges_and_the_identity_signs_in(
    secrets: KeyVaultSecrets, vault: EmulatedVault, identity: EmulatedIdentity
) -> None:
    vault.set("key", "k1", age_seconds=OLD)
    assert await secrets.get("key") == "k1"
    assert vault.challenges == 1
    assert [asked["resource"] for asked in identity.asked] == [vault.resource]


async def test_a_managed_identity_over_tls_signs_in_too(monkeypatch: pytest.MonkeyPatch, vault: EmulatedVault) -> None:
    vault.set("key", "k1", age_seconds=OLD)
    async with running_identity(monkeypatch, tls=True) as identity:
        tokens = CachedTokens(lambda authority: managed_identity("client", authority))
        secrets = KeyVaultSecrets(Vault(vault.url, lambda: tokens.credential), MovedClock(), {}, lambda _: None)
        assert await secrets.get("key") == "k1"
        assert {asked["client_id"] for asked in identity.asked} == {"client"}
        await secrets.aclose()
        await tokens.close()


async def test_a_virtual_machine_s_identity_signs_in_too(
    monkeypatch: pytest.MonkeyPatch, secrets: KeyVaultSecrets, vault: EmulatedVault, identity: EmulatedIdentity
) -> None:
    host = os.environ["IDENTITY_ENDPOINT"].removesuffix(APP_SERVICE_PATH)
    monkeypatch.delenv("IDENTITY_ENDPOINT")
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", host)
    vault.set("key", "k1", age_seconds=OLD)
    assert await secrets.get("key") == "k1"
    assert identity.asked[0]["api-version"] == "2018-02-01"


async def test_callers_that_wait_share_one_reading(secrets: KeyVaultSecrets, vault: EmulatedVault) -> None:
    vault.set("key", "k1", age_seconds=OLD)
    assert {*await asyncio.gather(*(secrets.get("key") for _ in range(9)))} == {"k1"}
    assert times(vault) == 1
    assert await secrets.get("key") == "k1"
    assert times(vault) == 1


async def test_a_caller_that_is_cancelled_does_not_cancel_the_reading_of_others(
    secrets: KeyVaultSecrets, vault: EmulatedVault
) -> None:
    vault.set("key", "k1", age_seconds=OLD)
    vault.gate.clear()
    first, second = (asyncio.create_task(secrets.get("key")) for _ in range(2))
    await eventually(lambda: times(vault) == 1)
    first.cancel()
    vault.gate.set()
    assert await second == "k1"


async def test_a_value_is_renewed_in_the_background_ahead_of_its_end(
    secrets: KeyVaultSecrets, vault: EmulatedVault, clock: MovedClock
) -> None:
    vault.set("key", "k1", age_seconds=OLD)
    await secrets.get("key")
    vault.set("key", "k2", age_seconds=OLD)
    clock.seconds = 479
    assert secrets.held("key") == "k1"
    clock.seconds = 481
    assert secrets.held("key") is None
    vault.gate.clear()
    assert [await secrets.get("key"), await secrets.get("key")] == ["k1", "k1"]  # nobody waits
    vault.gate.set()
    await eventually(lambda: secrets.held("key") == "k2")
    assert times(vault) == 2


async def test_a_value_is_not_used_beyond_its_lifetime_without_a_reading(
    secrets: KeyVaultSecrets, vault: EmulatedVault, clock: MovedClock
) -> None:
    vault.set("key", "k1", age_seconds=OLD)
    await secrets.get("key")
    vault.set("key", "k2", age_seconds=OLD)
    clock.seconds = 601
    assert await secrets.get("key") == "k2"


async def test_lifetimes_differ_between_processes(vault: EmulatedVault, identity: EmulatedIdentity) -> None:
    vault.set("key", "k1", age_seconds=OLD)
    tokens, clock = CachedTokens(lambda authority: managed_identity("", authority)), MovedClock()
    secrets = KeyVaultSecrets(Vault(vault.url, lambda: tokens.credential), clock, {}, lambda _: None, lambda: 1)
    await secrets.get("key")
    clock.seconds = 433  # 80% of 90% of ten minutes is 432 s
    assert secrets.held("key") is None
    await secrets.aclose()
    await tokens.close()


FAULTS: dict[str, dict[str, object]] = {
    "down": {"status": 503},
    "throttled": {"status": 429, "retry_after": "0"},
    "forbidden": {"status": 403},
    "wrong host": {"status": 404},
    "garbage": {"body": b'{"value":'},
    "no bundle": {"body": b"[1]"},
    "no object": {"body": b"null"},
    "no value": {"body": b"{}"},
    "other domain": {"resource": "https://vault.evil.example"},
}


def commit(fault: str, vault: EmulatedVault) -> None:
    for name, value in FAULTS[fault].items():
        setattr(vault, name, value)


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_of_the_vault_does_not_stop_what_is_cached(
    fault: str, secrets: KeyVaultSecrets, vault: EmulatedVault, clock: MovedClock
) -> None:
    vault.set("key", "k1", age_seconds=OLD)
    await secrets.get("key")
    commit(fault, vault)
    for seconds in (601, 605, 5_000, 50_000):
        clock.seconds = seconds
        assert await secrets.get("key") == "k1"


@pytest.mark.parametrize("fault", FAULTS)
async def test_without_a_cached_value_a_fault_names_the_secret(
    fault: str, secrets: KeyVaultSecrets, vault: EmulatedVault, clock: MovedClock
) -> None:
    vault.set("key", "k1", age_seconds=OLD)
    commit(fault, vault)
    with pytest.raises(SecretUnavailable, match="'key'") as raised:
        await secrets.get("key")
    assert not raised.value.is_gone
    asked = len(vault.requests) + vault.challenges
    with pytest.raises(SecretUnavailable, match="'key'"):
        await secrets.get("key")
    assert len(vault.requests) + vault.challenges == asked  # a vault that is down is not asked for every request
    vault.status, vault.body, vault.resource = 0, None, vault.url.replace("//127.0.", "//")
    clock.seconds += 11
    assert await secrets.get("key") == "k1"


async def test_a_vault_to_which_nobody_can_connect_is_an_outage(identity: EmulatedIdentity) -> None:
    tokens = CachedTokens(lambda authority: managed_identity("", authority))
    vault = Vault(f"https://127.0.0.1:{free_port()}", lambda: tokens.credential)
    secrets = KeyVaultSecrets(vault, MovedClock(), {}, lambda _: None)
    with pytest.raises(SecretUnavailable, match="vault cannot be reached, so the secret 'key' is not known"):
        await secrets.get("key")
    await secrets.aclose()
    await tokens.close()


async def test_without_an_identity_the_secret_is_named(
    secrets: KeyVaultSecrets, vault: EmulatedVault, identity: EmulatedIdentity
) -> None:
    vault.set("key", "k1", age_seconds=OLD)
    identity.fails = True
    with pytest.raises(SecretUnavailable, match="could not sign in to the key vault, so the secret 'key'"):
        await secrets.get("key")


async def test_an_outage_delays_no_request_that_has_a_value(
    secrets: KeyVaultSecrets, vault: EmulatedVault, clock: MovedClock
) -> None:
    vault.set("key", "k1", age_seconds=OLD)
    await secrets.get("key")
    vault.status = 503
    clock.seconds = 700
    await secrets.get("key")
    vault.status = 0
    vault.gate.clear()
    clock.seconds = 800
    assert await secrets.get("key") == "k1"  # does not wait, although the vault is silent and the value is old


@pytest.mark.parametrize("change", ["disabled", "deleted"])
async def test_a_secret_that_is_gone_is_not_used_any_more(
    change: str, secrets: KeyVaultSecrets, vault: EmulatedVault, clock: MovedClock
) -> None:
    version = vault.set("key", "k1", age_seconds=OLD)
    await secrets.get("key")
    if change == "disabled":
        vault.disable("key", version)
    else:
        vault.versions.clear()
    clock.seconds = 601
    with pytest.raises(SecretUnavailable, match="'key'") as raised:
        await secrets.get("key")
    assert raised.value.is_gone
    assert secrets.held("key") is None


async def test_a_refused_value_is_read_anew_at_once_and_then_rarely(
    secrets: KeyVaultSecrets, vault: EmulatedVault, clock: MovedClock
) -> None:
    vault.set("key", "k1", age_seconds=OLD)
    await secrets.get("key")
    vault.set("key", "k2", age_seconds=OLD)
    found = await asyncio.gather(*(secrets.refused("key", "k1") for _ in range(9)))
    assert (found, times(vault)) == (["k2"] * 9, 2)
    assert await secrets.refused("key", "k2") is None
    assert times(vault) == 2
    vault.set("key", "k3", age_seconds=OLD)
    clock.seconds = 29
    assert (await secrets.refused("key", "k2"), times(vault)) == (None, 2)
    clock.seconds = 31
    assert (await secrets.refused("key", "k2"), times(vault)) == ("k3", 3)


async def test_a_refused_value_stays_if_the_vault_is_down(secrets: KeyVaultSecrets, vault: EmulatedVault) -> None:
    vault.set("key", "k1", age_seconds=OLD)
    await secrets.get("key")
    vault.status = 503
    assert await secrets.refused("key", "k1") is None
    assert await secrets.get("key") == "k1"


async def test_a_version_and_the_one_before_it_overlap(
    secrets: KeyVaultSecrets, vault: EmulatedVault, clock: MovedClock
) -> None:
    vault.page_size = 2
    for number, value in enumerate(("k1", "k2", "k3")):
        vault.set("key", value, age_seconds=OLD - number)
    vault.set("key", "k4", age_seconds=60)
    assert [*await secrets.accepted("key")] == ["k4", "k3"]
    assert await secrets.get("key") == "k4"
    assert await secrets.refused("key", "k4") == "k3"
    clock.seconds = 19 * 60 + 1
    assert [*await secrets.accepted("key")] == ["k4"]


async def test_a_version_that_is_disabled_ends_its_overlap(
    secrets: KeyVaultSecrets, vault: EmulatedVault, clock: MovedClock
) -> None:
    vault.set("key", "k1", age_seconds=OLD)
    leaked = vault.set("key", "k2", age_seconds=OLD - 9)
    vault.set("key", "k3")
    assert [*await secrets.accepted("key")] == ["k3", "k2"]
    vault.disable("key", leaked)
    clock.seconds = 601
    assert [*await secrets.accepted("key")] == ["k3"]


async def test_without_the_right_to_list_the_version_that_was_held_overlaps(
    secrets: KeyVaultSecrets, vault: EmulatedVault, clock: MovedClock
) -> None:
    vault.may_list = False
    vault.set("key", "k1")
    assert [*await secrets.accepted("key")] == ["k1"]
    vault.set("key", "k2")
    clock.seconds = 601
    assert [*await secrets.accepted("key")] == ["k2", "k1"]
    clock.seconds = 1_190
    await secrets.refused("key", "k2")
    assert [*await secrets.accepted("key")] == ["k2", "k1"]


async def test_a_version_that_breaks_its_rule_is_not_taken(
    secrets: KeyVaultSecrets, vault: EmulatedVault, clock: MovedClock
) -> None:
    good = "0123456789abcdef" * 2
    vault.set("Admin", good, age_seconds=OLD)
    assert await secrets.get("Admin") == good
    vault.set("Admin", "too-short", age_seconds=OLD)
    clock.seconds = 601
    assert await secrets.get("Admin") == good
    for bad in ("two\nlines", ""):
        vault.set("key", bad)
        clock.seconds += 11
        with pytest.raises(
            SecretUnavailable, match="secret 'key' in the key vault cannot be used: its value must"
        ) as raised:
            await secrets.get("key")
        assert not bad or bad not in str(raised.value)


async def test_all_enabled_versions_are_listed_oldest_first_and_read_once(
    secrets: KeyVaultSecrets, vault: EmulatedVault, clock: MovedClock
) -> None:
    vault.page_size = 2
    names = [vault.set("hooks", f"key {number}", age_seconds=OLD - number) for number in range(5)]
    vault.disable("hooks", names[1])
    found = await secrets.versions("hooks")
    assert [each.version for each in found] == [names[0], *names[2:]]
    assert [each.value for each in found] == ["key 0", "key 2", "key 3", "key 4"]
    newest = vault.set("hooks", "key 5")
    clock.seconds = 601
    assert (await secrets.versions("hooks"))[-1].version == newest
    assert len([path for path in vault.requests if names[0] in path]) == 1
    vault.versions.clear()
    clock.seconds = 1_300
    with pytest.raises(SecretUnavailable, match="'hooks' has no enabled version"):
        await secrets.versions("hooks")


async def test_closing_ends_what_is_being_read(secrets: KeyVaultSecrets, vault: EmulatedVault) -> None:
    vault.gate.clear()
    waiting = [asyncio.create_task(ask("key")) for ask in (secrets.get, secrets.versions)]
    await eventually(lambda: len(vault.requests) == 2)
    await secrets.aclose()
    for each in waiting:
        with pytest.raises(asyncio.CancelledError):
            await each


async def test_a_version_whose_time_is_not_told_is_old(secrets: KeyVaultSecrets, vault: EmulatedVault) -> None:
    vault.body = b'{"value": "k1", "id": "https://x/secrets/key/1", "attributes": {"created": "yesterday"}}'
    assert [*await secrets.accepted("key")] == ["k1"]


async def test_a_defect_of_a_reading_is_reported_and_not_taken_for_an_outage() -> None:
    async def broken(_: object) -> str:
        raise ZeroDivisionError

    reported: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    value: Renewed[str] = Renewed("key", broken, MovedClock(), lambda: 0)
    with pytest.raises(ZeroDivisionError):
        await value.get()
    assert [type(each["exception"]) for each in reported] == [ZeroDivisionError]
