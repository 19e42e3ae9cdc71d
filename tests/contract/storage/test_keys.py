"""One suite of the ports to keys, their uses and alerts, over memory and Azurite."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace
from datetime import timedelta

import pytest

from shared.adapters.documents.alerts import DocumentAlerts
from shared.adapters.documents.store import Documents
from shared.adapters.documents.tenancy import DocumentKeys, DocumentKeyUses
from shared.domain.alerts.alert import Alert, AlertKind
from shared.domain.errors import AlreadyExists, VersionConflict
from shared.domain.tenancy.keys import GatewayKey, KeyScope, new_gateway_key, successor_of
from tests.tools.events import told
from tests.tools.ledgers import NOW
from tests.tools.watched_keys import stored_alerts


@pytest.fixture
def key(tenant: str) -> GatewayKey:
    key, _ = new_gateway_key(tenant, NOW, NOW + timedelta(days=1))
    settings = {"label": "Ü", "scope": KeyScope.USAGE_READ, "deployments": ("a/b",), "address_ranges": ("::/0",)}
    return replace(key, **settings)  # type: ignore[arg-type]  # mypy joins the types of the settings


async def test_a_key_is_read_as_it_was_written(documents: Documents, key: GatewayKey) -> None:
    keys = DocumentKeys(documents)
    assert await keys.get(key.tenant_id, key.key_id) is None
    stored = await keys.insert(key, told())
    assert stored.value == key
    assert await keys.get(key.tenant_id, key.key_id) == stored
    assert (await keys.list(key.tenant_id)).readable == [key]
    assert (key.tenant_id, key.key_id) in await keys.names()
    with pytest.raises(AlreadyExists):
        await keys.insert(key, told())


async def test_a_key_is_replaced_by_version_and_removed(documents: Documents, key: GatewayKey) -> None:
    keys = DocumentKeys(documents)
    first = await keys.insert(key, told())
    revoked = replace(key, revoked_at=NOW)
    second = await keys.replace(revoked, first.etag, told())
    with pytest.raises(VersionConflict):
        await keys.replace(key, first.etag, told())
    assert await keys.get(key.tenant_id, key.key_id) == second
    await keys.remove(key, told())
    assert (await keys.list(key.tenant_id)).readable == []
    with pytest.raises(VersionConflict):
        await keys.remove(key, told())


async def test_a_rotation_stores_both_keys_or_none(documents: Documents, key: GatewayKey) -> None:
    keys = DocumentKeys(documents)
    first = await keys.insert(key, told())
    new, _ = successor_of(key, NOW, None)
    await keys.rotate(replace(key, replaced_by=new.key_id), first.etag, new, told(), told())
    assert {each.key_id: each.replaced_by for each in (await keys.list(key.tenant_id)).readable} == {
        key.key_id: new.key_id,
        new.key_id: "",
    }
    another, _ = successor_of(key, NOW, None)
    with pytest.raises(VersionConflict):
        await keys.rotate(replace(key, replaced_by=another.key_id), first.etag, another, told(), told())
    second = await keys.get(key.tenant_id, key.key_id)
    assert second is not None
    with pytest.raises(AlreadyExists):
        await keys.rotate(key, second.etag, new, told(), told())
    assert len((await keys.list(key.tenant_id)).readable) == 2


async def test_the_latest_use_of_a_key_stays(documents: Documents, tenant: str) -> None:
    uses, hour = DocumentKeyUses(documents), timedelta(hours=1)
    assert await uses.last(tenant) == {}
    for used_at, latest in ((NOW, NOW), (NOW, NOW), (NOW + hour, NOW + hour), (NOW, NOW + hour)):
        await uses.note((tenant, "k/1"), used_at)
        assert await uses.last(tenant) == {"k/1": latest}
    for _ in range(2):
        await uses.remove((tenant, "k/1"))
        assert await uses.last(tenant) == {}


async def test_of_uses_at_the_same_time_the_latest_stays(documents: Documents, tenant: str) -> None:
    uses = DocumentKeyUses(documents)
    for _ in range(2):  # the first time they insert, then they replace
        hours = [NOW + timedelta(hours=secrets.randbelow(100)) for _ in range(10)]
        await asyncio.gather(*(uses.note((tenant, "k"), hour) for hour in hours))
        latest = (await uses.last(tenant))["k"]
        assert latest >= max(hours)


async def test_an_alert_is_stored_once(documents: Documents, tenant: str) -> None:
    alerts = DocumentAlerts(documents)
    alert = Alert(
        kind=AlertKind.KEY_USED_AFTER_END,
        event_id=f"{tenant}:2001:db8::/64:2026-11-22T12",
        at=NOW,
        subject=f"tenants/{tenant}",
        data={"label": "a/b"},
    )
    assert await alerts.add(alert)
    assert not await alerts.add(replace(alert, at=NOW + timedelta(minutes=1)))
    (found,) = [each for each in await stored_alerts(documents) if each["id"] == alert.event_id]
    assert (found["type"], found["time"], found["data"]) == (
        "tallygate.key.used_after_end", "2026-11-22T12:00:00.000Z", {"label": "a/b"}
    )  # fmt: skip
