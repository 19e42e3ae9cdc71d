"""The key of ledger entries is in a vault: all its versions verify, and the newest signs."""

from __future__ import annotations

import asyncio

import pytest

from local.emulators.key_vault import EmulatedVault
from shared.adapters.key_vault.secrets import KeyVaultSecrets
from shared.application.audit.chain_keys import ChainKeys
from shared.domain.audit.hash_chain import ChainVerifier, HashChain, KeyRing, Sealed
from shared.domain.errors import SecretUnavailable
from tests.contract.secrets.conftest import MovedClock

FIRST, SECOND, THIRD = (f"{number}-chain-key-0123456789abcdef-key-{number}" for number in range(3))


class Sleeper(MovedClock):
    """A clock whose sleeper wakes when a test lets time pass."""

    def __init__(self, clock: MovedClock) -> None:
        super().__init__()
        self._clock = clock
        self.asleep, self.woken = asyncio.Event(), asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        self._clock.seconds += seconds
        self.asleep.set()
        await self.woken.wait()
        self.woken.clear()

    async def pass_time(self, seconds: float = 0.0) -> None:
        """Let the sleeper work once, after so many seconds."""
        await self.asleep.wait()
        self.asleep.clear()
        self._clock.seconds += seconds
        self.woken.set()
        await self.asleep.wait()


@pytest.fixture
def keys(secrets: KeyVaultSecrets) -> ChainKeys:
    return ChainKeys(secrets, "chain", {"0": FIRST.encode()}, "")


def sealed(chain: HashChain) -> Sealed:
    fields: dict[str, object] = {"kind": "charge"}
    chain.seal("head", fields)  # type: ignore[arg-type]
    return Sealed.from_fields(fields)  # type: ignore[arg-type]


async def test_the_newest_version_signs_and_all_others_verify(vault: EmulatedVault, keys: ChainKeys) -> None:
    old, new = vault.set("chain", SECOND, age_seconds=99), vault.set("chain", THIRD)
    ring = await keys.ring()
    assert ring.newest == new
    assert ring.keys == {"0": FIRST.encode(), old: SECOND.encode(), new: THIRD.encode()}


async def test_a_version_that_could_be_guessed_is_never_signed_with(vault: EmulatedVault, keys: ChainKeys) -> None:
    vault.set("chain", "short", age_seconds=99)
    good = vault.set("chain", SECOND)
    assert {*(await keys.ring()).keys} == {"0", good}


async def test_without_a_usable_newest_version_the_secret_is_named(vault: EmulatedVault, keys: ChainKeys) -> None:
    vault.set("chain", SECOND, age_seconds=99)
    vault.set("chain", "short")
    with pytest.raises(SecretUnavailable, match="The secret 'chain' in the key vault cannot be used: its value must"):
        await keys.ring()
    assert await keys.readable() == {"0": FIRST.encode()}


async def test_a_running_process_signs_with_a_new_version(
    vault: EmulatedVault, keys: ChainKeys, clock: MovedClock
) -> None:
    old = vault.set("chain", SECOND, age_seconds=99)
    chain, sleeper = HashChain(await keys.ring()), Sleeper(clock)
    renewal = asyncio.create_task(keys.keep_current(chain, sleeper))
    before = sealed(chain)
    new = vault.set("chain", THIRD)
    await sleeper.pass_time(600)
    after = sealed(chain)
    assert [each.covered["key_version"] for each in (before, after)] == [old, new]
    verifier = ChainVerifier((await keys.ring()).keys)
    assert {verifier.check("head", each).fault for each in (before, after)} == {""}
    vault.versions.clear()  # somebody deletes the key: the process goes on with what it has
    await sleeper.pass_time(1_200)
    assert sealed(chain).covered["key_version"] == new
    renewal.cancel()
    await asyncio.wait([renewal])


async def test_a_renewal_that_fails_in_any_way_is_tried_again(
    vault: EmulatedVault, secrets: KeyVaultSecrets, clock: MovedClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(ChainKeys):
        failures = 2

        async def ring(self) -> KeyRing:
            if self.failures:
                self.failures -= 1
                raise RuntimeError("a defect")
            return await super().ring()

    new, keys = vault.set("chain", SECOND), Failing(secrets, "chain", {"0": FIRST.encode()}, "0")
    chain, sleeper = HashChain(KeyRing(keys={"0": FIRST.encode()}, newest="0")), Sleeper(clock)
    renewal = asyncio.create_task(keys.keep_current(chain, sleeper))
    for _ in range(2):
        await sleeper.pass_time(60)
        assert sealed(chain).covered["key_version"] == "0"
    await sleeper.pass_time(60)
    assert sealed(chain).covered["key_version"] == new
    assert "RuntimeError: a defect Entries are signed with the version that is held." in caplog.text
    renewal.cancel()
    await asyncio.wait([renewal])


async def test_keys_that_the_settings_state_need_no_vault(secrets: KeyVaultSecrets, vault: EmulatedVault) -> None:
    stated = ChainKeys(secrets, "", {"0": FIRST.encode(), "1": SECOND.encode()}, "1")
    assert (await stated.ring()).newest == "1"
    assert await stated.readable() == {"0": FIRST.encode(), "1": SECOND.encode()}
    assert vault.challenges == 0
