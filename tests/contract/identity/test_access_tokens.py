"""Access tokens of the emulated Entra, over TLS, to the adapter as the gateway wires it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme

from local.emulators.entra import EmulatedEntra, Fault
from local.emulators.entra_objects import Person, SigningKey
from shared.adapters.identity.access_tokens import EntraAccessTokens
from shared.adapters.identity.key_documents import KeyDocuments, KeysNotFetched
from shared.adapters.identity.signing_keys import REFRESH_SECONDS, RETRY_SECONDS, UNKNOWN_KEY_SECONDS
from shared.composition.identity import access_tokens
from shared.domain.errors import IdentityProviderUnavailable, InvalidToken
from shared.domain.identity.authority import authority_of
from shared.settings import read_settings
from tests.tools.entra import running_entra, settings_of
from tests.tools.ledgers import ManualClock
from tests.tools.stack import CHAIN_KEY, eventually

COGNITIVE = "https://cognitiveservices.azure.com"


@dataclass
class Verification:
    """An identity provider, a verifier of its tokens, and the verifier's clock."""

    entra: EmulatedEntra
    tokens: EntraAccessTokens
    clock: ManualClock

    @property
    def fetches(self) -> int:
        """The number of times that the set of keys was asked for."""
        return sum(path.endswith("/keys") for path in self.entra.asked)

    def fresh(self, key: SigningKey | None = None) -> str:
        """Return a token that is issued at the time of the verifier's clock."""
        now = int(self.clock.now().timestamp())
        claims = {**self.entra.claims_of(Person()), "iat": now, "nbf": now, "exp": now + 3600}
        return self.entra.signed(claims, key=key)

    async def refuses(self, token: str) -> str:
        """Return the message with which a token is refused."""
        with pytest.raises(InvalidToken) as refusal:
            await self.tokens.verify(token)
        return str(refusal.value)


@pytest.fixture
async def verification(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Verification]:
    async with running_entra(monkeypatch, tmp_path) as entra, aiohttp.ClientSession(auto_decompress=False) as session:
        own = {"TALLYGATE_STORAGE": "memory", "AUDIT_CHAIN_KEY": CHAIN_KEY, "ENTRA_LEGACY_AUDIENCES": COGNITIVE}
        for name, text in {**own, **settings_of(entra)}.items():
            monkeypatch.setenv(name, text)
        clock = ManualClock(datetime.now(UTC))
        tokens = access_tokens(read_settings(), session, clock)
        assert tokens is not None
        yield Verification(entra, tokens, clock)
        await tokens.close()


async def test_a_provider_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async with running_entra(monkeypatch, tmp_path) as entra, aiohttp.ClientSession() as session:
        entra.fault = Fault(hangs=True)
        authority = authority_of(entra.url)
        assert authority is not None
        for documents, reason in (
            (KeyDocuments(session, authority, timeout_seconds=0.05), "in time"),
            (KeyDocuments(session, replace(authority, host="127.0.0.1:1")), "ClientConnectorError"),
        ):
            with pytest.raises(KeysNotFetched, match=reason):
                await documents.fetch(entra.directory_id)


async def test_a_provider_with_a_foreign_certificate_gives_no_keys(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with running_entra(monkeypatch, tmp_path, trustme.CA()) as entra, aiohttp.ClientSession() as session:
        authority = authority_of(entra.url)
        assert authority is not None
        with pytest.raises(KeysNotFetched, match="ClientConnectorCertificateError"):
            await KeyDocuments(session, authority).fetch(entra.directory_id)
        assert entra.asked == []


async def test_a_provider_that_hangs_holds_up_no_caller_of_a_known_key(verification: Verification) -> None:
    entra, application = verification.entra, verification.entra.applications[0]
    await verification.tokens.verify(entra.token_of(application))
    entra.fault = Fault(hangs=True)
    verification.clock.seconds = REFRESH_SECONDS
    unknown = entra.signed(entra.claims_of(application), key=SigningKey.new())
    waiting = asyncio.create_task(verification.tokens.verify(unknown))
    asked = len(entra.asked)
    await eventually(lambda: len(entra.asked) > asked)
    for _ in range(20):
        await verification.tokens.verify(entra.token_of(application))
    assert len(entra.asked) == asked + 1
    assert not waiting.done()
    waiting.cancel()


async def test_a_fetch_that_is_under_way_ends_with_the_gateway(verification: Verification) -> None:
    verification.entra.fault = Fault(hangs=True)
    waiting = asyncio.create_task(verification.tokens.verify(verification.entra.token_of(Person())))
    await eventually(lambda: bool(verification.entra.asked))
    await verification.tokens.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting


@pytest.mark.parametrize("version", ["1.0", "2.0"])
async def test_applications_people_and_managed_identities_are_told_apart(
    verification: Verification, version: str
) -> None:
    entra = verification.entra
    entra.version = version
    application, identity = entra.applications
    person = Person(roles=("Gateway.Admin",), groups=("g1", "g2"))
    found = [await verification.tokens.verify(entra.token_of(each)) for each in (application, identity, person)]
    assert [(each.is_person, each.is_managed_identity) for each in found] == [
        (False, False), (False, True), (True, False)
    ]  # fmt: skip
    assert [each.object_id for each in found] == [each.object_id for each in (application, identity, person)]
    assert [each.application_id for each in found] == [
        application.client_id, identity.client_id, application.client_id
    ]  # fmt: skip
    assert (found[2].roles, found[2].groups) == (frozenset({"Gateway.Admin"}), frozenset({"g1", "g2"}))
    assert {each.directory_id for each in found} == {entra.directory_id}


async def test_too_many_groups_are_told_instead_of_fetched(verification: Verification) -> None:
    person = Person(groups=tuple(f"g{number}" for number in range(201)))
    found = await verification.tokens.verify(verification.entra.token_of(person))
    assert (found.has_group_overage, found.groups) == (True, frozenset())
    implicit = verification.entra.token_of(Person(), hasgroups=True)
    assert (await verification.tokens.verify(implicit)).has_group_overage


async def test_a_token_for_another_service_has_neither_roles_nor_groups(verification: Verification) -> None:
    entra = verification.entra
    person = Person(roles=("Gateway.Admin",), groups=("g",))
    claims = {**entra.claims_of(person, audience=COGNITIVE), "roles": ["Gateway.Admin"], "hasgroups": True}
    found = await verification.tokens.verify(entra.signed(claims))
    assert found.is_legacy_audience
    assert (found.roles, found.groups, found.has_group_overage) == (frozenset(), frozenset(), False)
    assert "another service" in await verification.refuses(
        entra.signed(entra.claims_of(person, audience="https://management.azure.com"))
    )


async def test_a_verified_token_is_known_until_it_expires(verification: Verification) -> None:
    entra, clock = verification.entra, verification.clock
    token = entra.token_of(entra.applications[0])
    first = await verification.tokens.verify(token)
    entra.fault = Fault(status=503, body=b"")
    assert await verification.tokens.verify(token) is first
    clock.seconds = 301
    second = await verification.tokens.verify(token)
    assert second == first
    assert second is not first
    clock.seconds = 4500 + 61
    assert "expired" in await verification.refuses(token)


async def test_a_new_key_of_the_provider_is_fetched_once_for_all_callers(verification: Verification) -> None:
    entra = verification.entra
    await verification.tokens.verify(entra.token_of(entra.applications[0]))
    entra.rotate()
    verification.clock.seconds = UNKNOWN_KEY_SECONDS
    tokens = [entra.token_of(entra.applications[0]) for _ in range(20)]
    await asyncio.gather(*map(verification.tokens.verify, tokens))
    assert verification.fetches == 2


async def test_hostile_key_ids_cause_one_fetch_a_minute_and_stop_nobody(verification: Verification) -> None:
    entra = verification.entra
    application = entra.applications[0]
    known, stranger = entra.token_of(application), SigningKey.new()
    await verification.tokens.verify(known)
    for second in range(0, 180, 3):
        verification.clock.seconds = second
        forged = entra.signed(entra.claims_of(application), {"kid": f"k{second}"}, stranger)
        assert "not signed" in await verification.refuses(forged)
    assert verification.fetches == 3
    assert not (await verification.tokens.verify(entra.token_of(application))).is_person


async def test_a_key_that_was_withdrawn_is_refused_also_for_tokens_that_were_verified(
    verification: Verification,
) -> None:
    entra = verification.entra
    token = entra.token_of(entra.applications[0])
    await verification.tokens.verify(token)
    entra.keys = [SigningKey.new()]
    verification.clock.seconds = UNKNOWN_KEY_SECONDS
    await verification.tokens.verify(entra.token_of(entra.applications[0]))
    assert "not signed" in await verification.refuses(token)


async def test_a_key_that_was_withdrawn_while_nobody_called_is_refused_at_once(verification: Verification) -> None:
    entra = verification.entra
    await verification.tokens.verify(entra.token_of(entra.applications[0]))
    stolen, entra.keys = entra.keys[0], [SigningKey.new()]
    verification.clock.seconds = 2 * REFRESH_SECONDS
    assert "not signed" in await verification.refuses(verification.fresh(key=stolen))


async def test_known_keys_are_kept_while_the_provider_is_down_however_long(verification: Verification) -> None:
    entra = verification.entra
    await verification.tokens.verify(entra.token_of(entra.applications[0]))
    entra.fault = Fault(status=503, body=b"")
    for hours in (2, 50):
        verification.clock.seconds = hours * REFRESH_SECONDS
        await verification.tokens.verify(verification.fresh())
    assert len(entra.asked) == 4  # two for the keys, and one in vain at each time


async def test_a_key_that_takes_the_id_of_another_replaces_it(verification: Verification) -> None:
    entra = verification.entra
    token, signer = entra.token_of(entra.applications[0]), entra.keys[0]
    await verification.tokens.verify(token)
    entra.keys = [SigningKey(SigningKey.new().private, signer.key_id)]
    verification.clock.seconds = REFRESH_SECONDS
    await _refreshed(verification, entra.signed(entra.claims_of(Person()), key=signer))
    assert "not signed" in await verification.refuses(token)


async def _refreshed(verification: Verification, token: str) -> None:
    """Verify a token, which refreshes old keys in the background, and wait for that."""
    fetches = verification.fetches
    await verification.tokens.verify(token)
    await eventually(lambda: verification.fetches > fetches)
    (keys,) = verification.tokens._keys.values()
    await eventually(lambda: keys._fetching is None)


FAULTS = {
    "is down": Fault(status=503, body=b"{}"),
    "redirects": Fault(location="https://127.0.0.1:1/keys"),
    "answers a page": Fault(body=b"<html></html>"),
    "answers another document": Fault(body=b"{}"),
    "answers a list": Fault(body=b"[]"),
    "answers far too much": Fault(body=b'{"a": "' + b"x" * 300_000 + b'"}'),
    "answers names twice": Fault(body=b'{"issuer": "a", "issuer": "b"}'),
    "nests deeply": Fault(body=b'{"a": ' + b"[" * 100_000),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_while_the_provider_fails_known_keys_are_kept_and_unknown_ones_wait(
    verification: Verification, fault: Fault
) -> None:
    entra, application = verification.entra, verification.entra.applications[0]
    await verification.tokens.verify(entra.token_of(application))
    entra.fault = fault
    verification.clock.seconds = REFRESH_SECONDS
    await verification.tokens.verify(entra.token_of(application))
    new = SigningKey.new()
    token = entra.signed(entra.claims_of(application), key=new)
    with pytest.raises(IdentityProviderUnavailable):
        await verification.tokens.verify(token)
    await verification.tokens.verify(entra.token_of(application))
    entra.fault, entra.keys = Fault(), [*entra.keys, new]
    with pytest.raises(IdentityProviderUnavailable):  # it was asked a moment ago
        await verification.tokens.verify(token)
    verification.clock.seconds += RETRY_SECONDS
    await verification.tokens.verify(token)


@pytest.mark.parametrize(
    "changes",
    [{"jwks_uri": "https://evil.example/keys"}, {"jwks_uri": "http://127.0.0.1/keys"},
     {"jwks_uri": "https://127.0.0.1\\@evil.example/keys"}, {"jwks_uri": None}, {"issuer": "https://evil.example/"},
     {"keys": []}, {"keys": [{"kty": "RSA", "kid": "k", "n": "AQAB", "e": "AQAB"}]}],
    ids=str,
)  # fmt: skip
async def test_keys_come_from_the_provider_only(verification: Verification, changes: dict[str, Any]) -> None:
    entra = verification.entra
    base = f"{entra.url}/{entra.directory_id}"
    document = {"issuer": f"{base}/v2.0", "jwks_uri": f"{base}/discovery/v2.0/keys", **changes}
    entra.fault = Fault(body=json.dumps(document).encode())
    with pytest.raises(IdentityProviderUnavailable):
        await verification.tokens.verify(entra.token_of(entra.applications[0]))
    assert len(entra.asked) == (2 if "keys" in changes else 1)


async def test_without_any_key_a_token_is_neither_accepted_nor_refused(verification: Verification) -> None:
    entra = verification.entra
    entra.fault = Fault(status=500, body=b"")
    for _ in range(5):
        with pytest.raises(IdentityProviderUnavailable):
            await verification.tokens.verify(entra.token_of(entra.applications[0]))
    assert len(entra.asked) == 1
