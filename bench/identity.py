"""`python -m bench.identity`: what a caller's credential costs a request, looped alone: a key, and access tokens."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from statistics import median
from typing import Any

from pydantic import SecretStr
from starlette.requests import Request

from local.emulators.entra import EmulatedEntra
from local.emulators.entra_objects import Application, Person, SigningKey
from shared.adapters.identity.access_tokens import EntraAccessTokens
from shared.adapters.identity.signing_keys import SigningKeys
from shared.adapters.identity.verified_tokens import VerifiedTokens
from shared.application.audit.record_audit import Actor
from shared.application.ports.clock import Clock
from shared.application.sweep import Sweep
from shared.composition.adapters import Adapters, connect
from shared.composition.alerts import wire_alerts
from shared.composition.tenancy import wire_tenancy
from shared.domain.errors import InvalidToken
from shared.domain.identity.authority import authority_of
from shared.domain.identity.role import INFERENCE, Role
from shared.domain.identity.token_rules import TokenRules
from shared.domain.tenancy.entra_principals import EntraPrincipal, PrincipalKind
from shared.domain.tenancy.tenant import Tenant
from shared.http.callers import tenant_principal
from shared.settings import Settings

Call = Callable[[], Awaitable[object]]
KEY, TOKEN = "a key (known)", "a token (known)"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.identity")
    parser.add_argument("--calls", type=int, default=20_000, help="calls a measurement")
    parser.add_argument("--rounds", type=int, default=9, help="rounds, interleaved; the median counts")
    options = parser.parse_args()
    return asyncio.run(_run(options.calls, options.rounds))


async def _run(calls: int, rounds: int) -> int:
    adapters = await connect(_settings(), None)
    async with adapters.resources:
        return await _measure(await _calls(adapters), calls, rounds)


async def _measure(calling: dict[str, Call], calls: int, rounds: int) -> int:
    figures: dict[str, list[float]] = {name: [] for name in calling}
    for _ in range(rounds):
        for name, call in calling.items():
            figures[name].append(await _microseconds(call, calls if "known" in name else calls // 20))
    print(f"Who calls, us a request, looped alone (median of {rounds} rounds)")
    for name, found in figures.items():
        print(f"  {name:46} {median(found):7.2f}")
    more = median(token - key for key, token in zip(figures[KEY], figures[TOKEN], strict=True))
    print(f"  a known token costs {more:.2f} us more than a key; bar: 10")
    return int(more > 10)


async def _microseconds(call: Call, calls: int) -> float:
    started = time.process_time()
    for _ in range(calls):
        await call()
    return (time.process_time() - started) / calls * 1e6


async def _calls(adapters: Adapters) -> dict[str, Call]:
    application, groups = Application(), tuple(f"{number:08}-1111-4111-8111-111111111111" for number in range(200))
    entra = EmulatedEntra("https://entra.invalid", applications=[application])
    verified = VerifiedTokens()
    verifier = _verifier(entra, verified, adapters.clock)
    sweep = Sweep(adapters.cursors, adapters.clock, 60)
    alerts = wire_alerts(adapters)
    tenancy = wire_tenancy(replace(adapters, access_tokens=verifier), sweep, alerts)
    actor = Actor(name="bench")
    named = {PrincipalKind.APPLICATION: application.client_id, PrincipalKind.GROUP: groups[0]}
    tenant = Tenant(
        tenant_id="acme",
        name="Acme",
        created_at=adapters.clock.now(),
        entra_principals=tuple(
            EntraPrincipal(directory_id=entra.directory_id, kind=kind, id=id_, role=Role.TENANT_USE)
            for kind, id_ in named.items()
        ),
    )
    await tenancy.tenants.register(tenant, actor)
    _, credential = await tenancy.keys.create("acme", lambda key: key, actor)
    token, of_person = entra.token_of(application), entra.token_of(Person(groups=groups))
    stranger = entra.signed(entra.claims_of(application), {"kid": entra.keys[0].key_id}, SigningKey.new())
    foreign = entra.token_of(application, aud="https://graph.microsoft.com")

    def identify(headers: dict[bytes, bytes]) -> Call:
        request = Request({"type": "http", "headers": [], "client": ("127.0.0.1", 1), "state": {}})
        return lambda: tenant_principal(tenancy.authenticate, request, headers, 0, INFERENCE)

    def refuse(text: str) -> Call:
        return lambda: _refused(identify(_bearer(text)))

    async def verify() -> object:
        verified.clear()
        return await identify(_bearer(token))()

    return {
        KEY: identify({b"api-key": credential.encode()}),
        TOKEN: identify(_bearer(token)),
        "a token of a person in 200 groups (known)": identify(_bearer(of_person)),
        "a token, verified": verify,
        "a token that a stranger signed, refused": refuse(stranger),
        "a token for another service, refused": refuse(foreign),
        "no token, refused": refuse("eyJ." + "x" * 1500),
    }


def _settings() -> Settings:
    return Settings(tallygate_storage="memory", audit_chain_key=SecretStr(secrets.token_hex()))


def _bearer(token: str) -> dict[bytes, bytes]:
    return {b"authorization": f"Bearer {token}".encode()}


async def _refused(call: Call) -> None:
    try:
        await call()
    except InvalidToken:
        return
    raise AssertionError("a hostile token was accepted")


def _verifier(entra: EmulatedEntra, verified: VerifiedTokens, clock: Clock) -> EntraAccessTokens:
    authority = authority_of(entra.url)
    assert authority is not None

    async def fetch() -> dict[str, Any]:
        return {key.key_id: key.private.public_key() for key in entra.keys}

    rules = TokenRules(
        authority=authority,
        directory_ids=frozenset({entra.directory_id}),
        home_directory_id=entra.directory_id,
        audiences=frozenset({entra.gateway_id}),
        scopes=frozenset({"user_impersonation"}),
    )
    return EntraAccessTokens(rules, {entra.directory_id: SigningKeys(fetch, clock, verified.clear)}, verified, clock)


if __name__ == "__main__":
    sys.exit(main())
