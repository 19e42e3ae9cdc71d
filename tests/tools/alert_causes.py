"""Things that happen to a gateway so that it raises an alert, by requests and timers alone: one for each kind."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import pytest

from local.emulators.entra import EmulatedEntra
from shared import timers
from shared.adapters.clock import StorageClock
from shared.adapters.tables.audit_chain import AUDIT_LOG_TABLE
from shared.adapters.tables.rows import partition_of, table_of
from shared.adapters.tables.store import Row
from shared.application.audit.anchor_log import AnchorsDamaged
from shared.application.sweep import SweepFailed
from shared.domain.alerts.alert import AlertKind
from shared.domain.identifiers import BillingPeriod, timestamp
from shared.domain.ledger.balance import Lane
from tests.tools.stack import Stack

OFFICE: Final = "203.0.113.7"


class Calendar:
    """The date of the gateway, which a test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._ahead = timedelta()
        monkeypatch.setattr(StorageClock, "_machine_time", lambda _: self.now().timestamp())

    def now(self) -> datetime:
        return datetime.fromtimestamp(time.time(), UTC) + self._ahead

    def wait(self, **duration: float) -> None:
        self._ahead += timedelta(**duration)

    def wait_until_day(self, day: int) -> None:
        """Wait until noon of this day of the next month."""
        following = BillingPeriod.containing(self.now()).end
        self._ahead += following + timedelta(days=day - 1, hours=12) - self.now()


class World:
    """A gateway with a tenant, its calendar, and the directory whose tokens it accepts."""

    def __init__(self, stack: Stack, calendar: Calendar, entra: EmulatedEntra) -> None:
        self.stack = stack
        self.calendar = calendar
        self.entra = entra

    @property
    def tenant_path(self) -> str:
        return f"/manage/tenants/{self.stack.tenant}"

    async def change_tenant(self, **fields: Any) -> None:
        await self.stack.manage("PATCH", self.tenant_path, fields)

    async def create_key(self, **fields: Any) -> dict[str, Any]:
        created: dict[str, Any] = await self.stack.manage("POST", f"{self.tenant_path}/keys", fields)
        return created

    async def chat_from(self, source: str, **headers: str) -> int:
        """Send a chat through a proxy from an address. Returns the status."""
        body = {"messages": [{"role": "user", "content": "Hello!"}]}
        sent = {"X-Forwarded-For": source, **headers}
        async with self.stack.session.post(self.stack.chat_url, json=body, headers=sent) as response:
            return response.status

    async def used(self) -> dict[str, Any]:
        """Serve a request, and sum it into rollups. Returns its entry."""
        assert (await self.stack.chat())[0] == 200
        await self.stack.settled()
        await timers.roll_up_usage(past_due=False)
        return (await self.stack.entries())[-1]

    async def damage(self, table: str, partition: str, key: str, **fields: Any) -> None:
        """Edit the first row of a partition whose key begins so, past the gateway."""
        books: Any = (await self.stack.gateway()).ledger.books
        rows = books._store._tables[table][partition]
        first = min(each for each in rows if each.startswith(key))
        rows[first] = Row(first, {**rows[first].fields, **fields}, "edited")


Cause: TypeAlias = Callable[[World], Awaitable[None]]


async def _refused_key(world: World) -> None:
    key = (await world.create_key(address_ranges=[f"{OFFICE}/32"]))["key"]
    assert await world.chat_from("198.51.100.9", **{"api-key": key}) == 401


async def _many_refused_keys(world: World) -> None:
    key = (await world.create_key(address_ranges=[f"{OFFICE}/32"]))["key"]
    for number in range(21):
        await world.chat_from(f"198.51.{number}.9", **{"api-key": key})


async def _refused_token(world: World) -> None:
    person = world.entra.people[0]
    principal = {"directory_id": world.entra.directory_id, "kind": "person", "id": person.object_id}
    await world.change_tenant(entra_principals=[{**principal, "role": "tenant.use"}], address_ranges=[f"{OFFICE}/32"])
    token = world.entra.token_of(person)
    assert await world.chat_from("198.51.100.9", Authorization=f"Bearer {token}") == 403


async def _key_after_its_end(world: World) -> None:
    created = await world.create_key()
    await world.stack.manage("DELETE", f"{world.tenant_path}/keys/{created['key_id']}")
    assert (await world.stack.chat(key=created["key"]))[0] == 401


async def _budget(world: World) -> None:
    entry = await world.used()
    await world.change_tenant(monthly_budget_usd=entry["cost_usd"])
    await timers.watch_budgets(past_due=False)


async def _quota(world: World) -> None:
    entry = await world.used()
    await world.change_tenant(monthly_quota_tokens=2 * entry["tokens"])
    await timers.watch_budgets(past_due=False)


async def _forecast(world: World) -> None:
    world.calendar.wait_until_day(10)
    entry = await world.used()
    await world.change_tenant(monthly_quota_tokens=2 * entry["tokens"])
    await timers.watch_spending(past_due=False)


async def _expiring_key(world: World) -> None:
    await world.create_key(expires_at=timestamp(world.calendar.now() + timedelta(days=40)))
    world.calendar.wait(days=15)
    await timers.watch_spending(past_due=False)


async def _unusual_day(world: World) -> None:
    world.calendar.wait(days=10)
    await world.used()
    await timers.watch_spending(past_due=False)


async def _closed_month(world: World) -> None:
    await world.used()
    world.calendar.wait_until_day(20)
    for _ in range(2):
        await timers.export_chargeback(past_due=False)


async def _refusing_backend(world: World) -> None:
    await world.stack.pool("francecentral")
    await world.stack.fault(kind="status", status=401)
    assert (await world.stack.chat())[0] >= 500


async def _unpriced_model(world: World) -> None:
    await world.stack.backend("eastus", model="gpt-unpriced")
    await world.stack.manage("PUT", "/manage/deployments/gpt-4o", {"backends": ["eastus"]})
    assert (await world.stack.chat())[0] == 424


async def _edited_books(world: World) -> None:
    await world.used()
    lane = Lane(world.stack.tenant, str(BillingPeriod.containing(world.calendar.now())))
    await world.damage(table_of(lane.period), partition_of(lane), "E|", used_tokens=1)
    await timers.verify_books(past_due=False)


async def _edited_audit_log(world: World) -> None:
    await timers.chain_audit(past_due=False)
    await world.damage(AUDIT_LOG_TABLE, str(BillingPeriod.containing(world.calendar.now())), "B", seq="many")
    await world.create_key()
    with pytest.raises(SweepFailed, match="RowsDamaged"):
        await timers.chain_audit(past_due=False)


async def _edited_anchors(world: World) -> None:
    await timers.anchor_audit(past_due=False)
    anchors: Any = (await world.stack.gateway()).anchors
    newest = max(path for path in anchors.store.files if "checkpoint" in path)
    anchors.store.files[newest] = b"edited"
    with pytest.raises(AnchorsDamaged):
        await timers.anchor_audit(past_due=False)


async def _still_timers(world: World) -> None:
    await timers.roll_up_usage(past_due=False)
    world.calendar.wait(hours=2)
    await timers.report_health(past_due=False)


async def _test(world: World) -> None:
    tested = await world.stack.manage("POST", "/manage/alerts/test", {})
    assert tested["delivered"]


CAUSES: Final[Mapping[AlertKind, Cause]] = MappingProxyType(
    {
        AlertKind.KEY_ADDRESS_REFUSED: _refused_key,
        AlertKind.TOKEN_ADDRESS_REFUSED: _refused_token,
        AlertKind.KEY_USED_AFTER_END: _key_after_its_end,
        AlertKind.ALERTS_SUPPRESSED: _many_refused_keys,
        AlertKind.BUDGET_THRESHOLD: _budget,
        AlertKind.QUOTA_THRESHOLD: _quota,
        AlertKind.FORECAST_EXCEEDS_LIMIT: _forecast,
        AlertKind.KEY_EXPIRES_SOON: _expiring_key,
        AlertKind.BACKEND_MISCONFIGURED: _refusing_backend,
        AlertKind.REGION_DOWN: _refusing_backend,
        AlertKind.POOL_DOWN: _refusing_backend,
        AlertKind.MODEL_UNPRICED: _unpriced_model,
        AlertKind.PERIOD_CLOSED: _closed_month,
        AlertKind.VERIFICATION_FAILED: _edited_books,
        AlertKind.TIMER_LATE: _still_timers,
        AlertKind.SPEND_ANOMALY: _unusual_day,
        AlertKind.ANCHORS_FAILED: _edited_anchors,
        AlertKind.CHAIN_FAILED: _edited_audit_log,
        AlertKind.ALERTS_TEST: _test,
    }
)
