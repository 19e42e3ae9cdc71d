"""A token that another process has verified and remembers loses its rights there within 25 seconds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from local.emulators.entra import EmulatedEntra
from shared.application.tenancy.authenticate import BearerCredential
from shared.application.tenancy.memberships import Member
from shared.application.tenancy.principals import TokenPrincipal
from shared.composition.gateway import Gateway, build
from shared.domain.errors import AddressNotAllowed, InsufficientRole
from shared.domain.tenancy.tenant import TenantState
from shared.settings import read_settings
from tests.tools.entra import running_entra, settings_of
from tests.tools.ledgers import ManualClock
from tests.tools.stack import AzuriteAccount, Stack, running_stack

GROUP = str(uuid4())


@pytest.fixture
async def entra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[EmulatedEntra]:
    async with running_entra(monkeypatch, tmp_path) as running:
        yield running


@pytest.fixture
async def stack(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, azurite: AzuriteAccount, entra: EmulatedEntra
) -> AsyncIterator[Stack]:
    async with running_stack(monkeypatch, tmp_path, {**azurite.settings, **settings_of(entra)}) as running:
        yield running


@pytest.fixture
async def another(stack: Stack) -> AsyncIterator[tuple[Gateway, ManualClock]]:
    """Another gateway over the same storage, with a clock that a test sets."""
    clock = ManualClock((await stack.gateway()).clock.now())
    gateway = await build(read_settings(), clock)
    yield gateway, clock
    await gateway.aclose()


async def member_of(gateway: Gateway, token: str) -> Member:
    caller = await gateway.tenancy.authenticate.identify(BearerCredential(token), lambda: "203.0.113.7")
    assert isinstance(caller, TokenPrincipal)
    return await gateway.tenancy.authenticate.member(caller, "", lambda: "203.0.113.7", lambda _: None)


async def outcome(gateway: Gateway, token: str) -> str:
    """Return the state of the tenant for which a caller acts, or the kind of its refusal."""
    try:
        return (await member_of(gateway, token)).tenant.state
    except (AddressNotAllowed, InsufficientRole) as refusal:
        return type(refusal).__name__


async def change(stack: Stack, body: Any) -> None:
    await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", body)


async def suspend(stack: Stack) -> None:
    await stack.manage("POST", f"/manage/tenants/{stack.tenant}/suspend")


async def close(stack: Stack) -> None:
    await stack.manage("DELETE", f"/manage/tenants/{stack.tenant}")


CHANGES: dict[str, tuple[Callable[[Stack], Awaitable[None]], str]] = {
    "unnamed": (lambda stack: change(stack, {"entra_principals": []}), "InsufficientRole"),
    "from elsewhere": (lambda stack: change(stack, {"address_ranges": ["198.51.100.0/24"]}), "AddressNotAllowed"),
    "suspended": (suspend, TenantState.SUSPENDED),
    "closed": (close, TenantState.CLOSED),
}


@pytest.mark.parametrize("kind", ["application", "person", "group"])
@pytest.mark.parametrize(("take_away", "expected"), CHANGES.values(), ids=CHANGES)
async def test_rights_end_in_another_process_within_25_seconds_and_in_this_one_at_once(
    stack: Stack, entra: EmulatedEntra, another: tuple[Gateway, ManualClock], kind: str,
    take_away: Callable[[Stack], Awaitable[None]], expected: str,
) -> None:  # fmt: skip
    gateway, clock = another
    application, person = entra.applications[0], replace(entra.people[0], groups=(GROUP, str(uuid4())))
    id_ = {"application": application.client_id, "person": person.object_id, "group": GROUP}[kind]
    token = entra.token_of(application if kind == "application" else person)
    named = {"directory_id": entra.directory_id, "kind": kind, "id": id_, "role": "tenant.use"}
    await change(stack, {"entra_principals": [named]})
    here = await stack.gateway()
    assert [await outcome(each, token) for each in (here, gateway)] == [TenantState.ACTIVE] * 2
    await take_away(stack)
    assert await outcome(here, token) == expected
    clock.seconds = 25
    assert await outcome(gateway, token) == expected
    await gateway.background.drain()
