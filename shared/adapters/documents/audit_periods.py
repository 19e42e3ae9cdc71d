"""States of months, weak settings, the baseline, and events of earlier versions, as documents in the table `audit`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from shared.adapters.documents.audit import AUDIT_TABLE, PERIODS_PARTITION, SETTINGS_PARTITION, AuditedDocuments
from shared.adapters.documents.codec import to_document
from shared.adapters.documents.read_documents import read_document
from shared.adapters.documents.store import Documents
from shared.application.ports.audit import UnchainedEvent
from shared.domain.audit.audit_period import AuditPeriod
from shared.domain.audit.baseline import Baseline
from shared.domain.audit.events import AuditEvent
from shared.domain.audit.protections import WeakSettings

_WEAK: Final = "weak"
_BASELINE: Final = "baseline"
_MOST_OF_A_MONTH: Final = 10_000
"""Events of one month that are read. Earlier versions had one for each change over the management API."""


class DocumentAuditPeriods:
    """Implements `AuditPeriods`."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self._audited = AuditedDocuments(documents)

    async def get(self, period: str) -> AuditPeriod | None:
        found = await self._documents.get(AUDIT_TABLE, PERIODS_PARTITION, period)
        return read_document(AuditPeriod, AUDIT_TABLE, found) if found else None

    async def replace(self, changed: AuditPeriod, event: AuditEvent) -> None:
        await self._audited.put(AUDIT_TABLE, PERIODS_PARTITION, changed.period, changed, event)


class DocumentUnchainedEvents:
    """Implements `UnchainedEvents`. Earlier versions have a partition for each month, `YYYYMM`."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def first_period(self) -> str | None:
        return await self._period_after("")

    async def of_month(self, period: str) -> Sequence[UnchainedEvent]:
        found = await self._documents.list(AUDIT_TABLE, partition=_partition(period), limit=_MOST_OF_A_MONTH)
        return [UnchainedEvent(each.key, json.loads(each.text)) for each in found]

    async def periods(self, end: str) -> Sequence[str]:
        found: list[str] = []
        period = await self._period_after("")
        while period is not None and period < end:
            found.append(period)
            period = await self._period_after(_partition(period))
        return found

    async def remove(self, period: str) -> int:
        removed = 0
        while found := await self._documents.list(AUDIT_TABLE, partition=_partition(period), limit=_MOST_OF_A_MONTH):
            for each in found:
                await self._documents.remove(AUDIT_TABLE, each.partition, each.key)
            removed += len(found)
        return removed

    async def _period_after(self, partition: str) -> str | None:
        found = await self._documents.list(AUDIT_TABLE, after=partition, limit=1)
        name = found[0].partition if found else ""
        return f"{name[:4]}-{name[4:]}" if name.isdigit() else None


def _partition(period: str) -> str:
    return period.replace("-", "")


class DocumentProtections:
    """Implements `StoredProtections`."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self._audited = AuditedDocuments(documents)

    async def get(self) -> WeakSettings | None:
        found = await self._documents.get(AUDIT_TABLE, SETTINGS_PARTITION, _WEAK)
        return read_document(WeakSettings, AUDIT_TABLE, found) if found else None

    async def replace(self, changed: WeakSettings, event: AuditEvent) -> None:
        await self._audited.put(AUDIT_TABLE, SETTINGS_PARTITION, _WEAK, changed, event)


class DocumentBaseline:
    """Implements `StoredBaseline`."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self._audited = AuditedDocuments(documents)

    async def is_complete(self) -> bool:
        return await self._documents.get(AUDIT_TABLE, SETTINGS_PARTITION, _BASELINE) is not None

    async def complete(self, baseline: Baseline, event: AuditEvent) -> None:
        await self._audited.insert(AUDIT_TABLE, SETTINGS_PARTITION, _BASELINE, to_document(baseline), event)
