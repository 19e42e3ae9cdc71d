"""Uses of keys are noted by the hour, and in the background; misuse becomes an alert."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest

from shared.adapters.documents.tenancy import DocumentKeyUses
from shared.adapters.in_memory.documents import InMemoryDocuments
from shared.application.background import Background
from shared.application.ports.tenancy import KeyName
from shared.application.tenancy.note_key_use import NoteKeyUse
from shared.application.tenancy.watch_keys import WatchKeys
from shared.domain.errors import AddressNotAllowed, KeyUsedElsewhere, StorageUnavailable
from shared.domain.tenancy.keys import GatewayKey, new_gateway_key
from shared.domain.tenancy.tenant import Tenant
from tests.tools.ledgers import NOW, ManualClock
from tests.tools.watched_keys import stored_alerts, watch_of

TENANT = Tenant(tenant_id="acme", name="Acme", created_at=NOW)
KEY = replace(new_gateway_key("acme", NOW, None)[0], label="jobs", owner="ann")
NAME = "acme", KEY.key_id
OFFICE, HOME = "203.0.113.7", "198.51.100.9"


class CountedUses(DocumentKeyUses):
    """Counts the uses that are stored, and fails if a test says so."""

    def __init__(self) -> None:
        super().__init__(InMemoryDocuments())
        self.noted: list[tuple[KeyName, datetime]] = []
        self.is_down = False

    async def note(self, name: KeyName, used_at: datetime) -> None:
        self.noted.append((name, used_at))
        if self.is_down:
            raise StorageUnavailable
        await super().note(name, used_at)


@dataclass(slots=True)
class Noted:
    uses: CountedUses = field(default_factory=CountedUses)
    clock: ManualClock = field(default_factory=ManualClock)
    background: Background = field(default_factory=Background)
    note: NoteKeyUse = field(init=False)

    def __post_init__(self) -> None:
        self.note = NoteKeyUse(self.uses, self.clock, self.background)

    async def use(self, *names: KeyName) -> list[datetime]:
        """Use keys, and return the hours that were stored or tried by then."""
        for name in names:
            self.note(name)
        await self.background.drain()
        return [hour for _, hour in self.uses.noted]


async def test_a_use_is_stored_once_an_hour() -> None:
    noted = Noted()
    assert await noted.use(NAME, NAME) == [NOW]
    noted.clock.seconds = 3599
    assert await noted.use(NAME) == [NOW]
    noted.clock.seconds = 3600
    assert await noted.use(NAME, NAME) == [NOW, NOW + timedelta(hours=1)]
    assert await noted.uses.last("acme") == {KEY.key_id: NOW + timedelta(hours=1)}


async def test_many_keys_are_stored_one_after_the_other() -> None:
    noted = Noted()
    names = [("acme", f"acme-{number}") for number in range(5)]
    for name in names:
        noted.note(name)
        assert len(noted.background._tasks) == 1
    await noted.background.drain()
    assert (await noted.uses.last("acme")).keys() == {key_id for _, key_id in names}


async def test_a_use_that_could_not_be_stored_is_stored_by_the_next() -> None:
    noted = Noted()
    noted.uses.is_down = True
    other = ("acme", "acme-2")
    assert await noted.use(NAME, other) == [NOW, NOW]
    assert await noted.uses.last("acme") == {}
    noted.uses.is_down = False
    assert len(await noted.use(NAME)) == 3
    assert await noted.uses.last("acme") == {KEY.key_id: NOW}


@dataclass(slots=True)
class Watched:
    documents: InMemoryDocuments = field(default_factory=InMemoryDocuments)
    clock: ManualClock = field(default_factory=ManualClock)
    background: Background = field(default_factory=Background)
    watch: WatchKeys = field(init=False)

    def __post_init__(self) -> None:
        self.watch = watch_of(self.documents, self.clock, self.background)

    async def admits(self, tenant: Tenant, key: GatewayKey, source: str) -> bool:
        try:
            self.watch.admit(tenant, key, lambda: source)
        except KeyUsedElsewhere:
            return False
        finally:
            await self.background.drain()
        return True


@pytest.mark.parametrize(
    ("of_tenant", "of_key", "source", "is_admitted"),
    [
        ((), (), HOME, True),
        ((), (), "", True),
        (("203.0.113.0/24",), (), OFFICE, True),
        (("203.0.113.0/24",), (), HOME, False),
        ((), ("203.0.113.0/24",), OFFICE, True),
        ((), ("203.0.113.0/24",), HOME, False),
        (("203.0.113.0/24",), ("203.0.113.7/32",), OFFICE, True),
        (("203.0.113.0/24",), ("198.51.100.9/32",), OFFICE, False),
        (("203.0.113.0/24",), ("198.51.100.9/32",), HOME, False),
        (("0.0.0.0/0", "::/0"), (), "", False),
    ],
)
async def test_a_key_is_admitted_from_its_ranges_and_those_of_its_tenant(
    of_tenant: tuple[str, ...], of_key: tuple[str, ...], source: str, is_admitted: bool
) -> None:
    watched = Watched()
    tenant, key = replace(TENANT, address_ranges=of_tenant), replace(KEY, address_ranges=of_key)
    assert await watched.admits(tenant, key, source) == is_admitted
    assert bool(await watched.documents.list("keyuses")) == is_admitted
    assert bool(await stored_alerts(watched.documents)) != is_admitted


def test_only_a_key_without_ranges_needs_no_further_look() -> None:
    watched = Watched()
    watched.watch = WatchKeys(lambda _: None, lambda *_, **__: None)  # type: ignore[arg-type]  # nothing is stored
    restricted = replace(TENANT, address_ranges=("203.0.113.0/24",))
    assert watched.watch.admit(TENANT, KEY, lambda: HOME)
    assert not watched.watch.admit(restricted, KEY, lambda: OFFICE)


async def test_a_refused_address_is_an_alert_once_an_hour_for_each_network() -> None:
    watched = Watched()
    key = replace(KEY, address_ranges=("203.0.113.0/24",))
    for source in (HOME, HOME, "2001:db8:1:2::1", "2001:db8:1:2::2", ""):
        assert not await watched.admits(TENANT, key, source)
    alerts = await stored_alerts(watched.documents)
    assert {each["data"]["network"] for each in alerts} == {HOME, "2001:db8:1:2::/64", "unknown"}
    assert len(alerts) == 3
    found = next(each for each in alerts if each["data"]["network"] == HOME)
    assert found == {
        "specversion": "1.0",
        "id": f"{key.key_id}:{HOME}:2026-11-22T12",
        "source": "/tallygate",
        "type": "tallygate.key.address_refused",
        "subject": f"tenants/acme/keys/{key.key_id}",
        "time": "2026-11-22T12:00:00.000Z",
        "severity": "warning",
        "tenantid": "acme",
        "datacontenttype": "application/json",
        "data": {"tenant_id": "acme", "key_id": key.key_id, "label": "jobs", "owner": "ann", "network": HOME},
    }
    watched.clock.seconds = 3600
    await watched.admits(TENANT, key, HOME)
    assert len(await stored_alerts(watched.documents)) == 4


async def test_a_use_after_the_end_is_an_alert_once_a_day() -> None:
    watched = Watched()
    for hours, count in ((0, 1), (1, 1), (11, 1), (12, 2)):
        watched.clock.seconds = hours * 3600
        watched.watch.note_use_after_end(KEY, lambda: HOME)
        await watched.background.drain()
        assert len(await stored_alerts(watched.documents)) == count


async def test_a_token_is_admitted_from_the_ranges_of_its_tenant() -> None:
    watched = Watched()
    restricted = replace(TENANT, address_ranges=("203.0.113.0/24",))
    assert watched.watch.admits_from(TENANT, lambda: HOME)
    assert watched.watch.admits_from(restricted, lambda: OFFICE)
    for source in (HOME, ""):
        assert not watched.watch.admits_from(restricted, lambda: source)  # noqa: B023 - called at once
        with pytest.raises(AddressNotAllowed):
            watched.watch.refuse_token(restricted, "ann", lambda: source)  # noqa: B023 - called at once
    await watched.background.drain()
    alerts = await stored_alerts(watched.documents)
    assert {each["id"] for each in alerts} == {
        f"acme:ann:{HOME}:2026-11-22T12",
        "acme:ann:unknown:2026-11-22T12",
    }
    assert {each["type"] for each in alerts} == {"tallygate.token.address_refused"}
