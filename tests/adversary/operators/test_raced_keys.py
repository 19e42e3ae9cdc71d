"""Administrators of two processes rotate, change and revoke one key at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from dataclasses import replace

import pytest

from shared.application.audit.record_audit import Actor
from shared.application.tenancy.rotate_key import RotatedKey
from shared.composition.gateway import Gateway, build
from shared.composition.tenancy import Tenancy
from shared.domain.errors import KeyEnded, KeyReplaced
from shared.domain.tenancy.keys import GatewayKey
from shared.domain.tenancy.rotation import Rotation
from shared.settings import read_settings
from tests.tools.events import waiting
from tests.tools.stack import Stack

ACTOR = Actor(name="tests", source_address="203.0.113.7")


@pytest.fixture
async def processes(stack_on_tables: Stack) -> AsyncIterator[list[Gateway]]:
    """Two gateways over one storage."""
    other = await build(read_settings())
    yield [await stack_on_tables.gateway(), other]
    await other.aclose()


async def rotate(tenancy: Tenancy, key: GatewayKey) -> RotatedKey | None:
    try:
        return await tenancy.rotate_key(key.tenant_id, key.key_id, Rotation(), ACTOR)
    except (KeyEnded, KeyReplaced):
        return None


async def test_of_all_rotations_of_a_key_one_is_done_and_no_change_and_no_revocation_is_lost(
    stack_on_tables: Stack, processes: list[Gateway]
) -> None:
    first, second = (each.tenancy for each in processes)
    tenant = stack_on_tables.tenant
    for is_revoked in (False, True, False, True):
        key, _ = await first.keys.create(tenant, lambda made: made, ACTOR)
        works: list[Awaitable[object]] = [
            rotate(first, key),
            second.keys.change(tenant, key.key_id, lambda old: replace(old, label="new"), (), ACTOR),
            rotate(second, key),
            first.keys.change(tenant, key.key_id, lambda old: replace(old, owner="ann"), (), ACTOR),
            *([second.keys.revoke(tenant, key.key_id, ACTOR)] if is_revoked else []),
            rotate(first, key),
            rotate(second, key),
        ]
        done = await asyncio.gather(*works, return_exceptions=True)
        assert {type(each) for each in done if isinstance(each, BaseException)} <= ({KeyEnded} if is_revoked else set())
        rotated = [each for each in done if isinstance(each, RotatedKey)]
        assert len(rotated) == 1 or (is_revoked and not rotated)
        stored = {each.key.key_id: each.key for each in (await second.keys.list(tenant)).known}
        old, successors = stored[key.key_id], [each.key_id for each in stored.values() if each.replaces == key.key_id]
        assert successors == [each.new.key_id for each in rotated]
        assert (old.replaced_by, old.revoked_at is not None) == ("".join(successors), is_revoked)
        if not is_revoked:
            assert (old.label, old.owner, old.expires_at) == ("new", "ann", rotated[0].old.expires_at)
        events = await waiting(first.keys._keys._documents)  # type: ignore[attr-defined]
        actions = [each["action"] for each in events if each["target"] == f"{tenant}/{key.key_id}"]
        assert (actions.count("key.rotate"), actions.count("key.revoke")) == (len(rotated), is_revoked)
