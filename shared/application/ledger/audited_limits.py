"""Verify the invariant I21: each grant and each limit in the books has the audit event that tells it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, TypeAlias

from shared.application.audit.record_baseline import BASELINE
from shared.application.ledger.findings import Finding, NotChecked, finding_at
from shared.application.ports.books import Place
from shared.domain.identifiers import timestamp
from shared.domain.ledger.amounts import Amount, Limit
from shared.domain.pricing.money import pusd_from_usd
from shared.domain.values import record

AUDITED: Final = "I21"
_GRANTED: Final = "tenant.grant"
_REFUSED: Final = "tenant.grant.refuse"
_UPDATE: Final = timedelta(hours=1)
"""The time in which an update ends: processes of earlier versions may still change limits without such an event."""
_GrantKey: TypeAlias = tuple[str, str, str]
"""Tenant id, period and grant id."""


@record
class BookedLimit:
    """The limit after a limit entry of a vault, or that of the vault's opening, whose number is 0."""

    tenant_id: str
    period: str
    seq: int
    timestamp: str
    limit: Limit
    """The limit after the entry, without what was granted."""
    granted: Amount
    """The amount that the entry grants."""
    grant_id: str
    """Empty if the entry is no grant."""
    place: Place

    @property
    def name(self) -> str:
        """The name of the change in reports."""
        return f"entry {self.seq}" if self.seq else "the opening of the period"


@dataclass(slots=True, kw_only=True)
class AuditedLimits:
    """The grants and the limits of tenants that audit events tell. Events may come in any order."""

    deleted_months: set[str] = field(default_factory=set)
    """The months of which retention has deleted events."""
    _asked: defaultdict[_GrantKey, set[Amount]] = field(default_factory=lambda: defaultdict(set))
    _refused: set[_GrantKey] = field(default_factory=set)
    _limits: defaultdict[str, set[Limit]] = field(default_factory=lambda: defaultdict(set))
    _first: dict[str, str] = field(default_factory=dict)
    """The time of each tenant's first event."""

    def add(self, text: str) -> None:
        """Add an event. Of one that cannot be read, I18 has a finding."""
        try:
            event = json.loads(text)
            at, action = str(event["at"]), str(event["action"])
            table, _, rest = str(event["place"]).partition("/")
            if action in (_GRANTED, _REFUSED):
                self._add_grant(str(event["target"]), action, event["after"])
            elif table == "tenants":
                if action == BASELINE:
                    at = timestamp(datetime.fromisoformat(at) + _UPDATE)
                self._add_document(rest.partition("/")[0], at, event["before"], event["after"])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return

    def compare(self, booked: Sequence[BookedLimit], period: str, only: str | None = None) -> LimitsCompared:
        """Compare all limit entries of a period, or those of one tenant, with the events."""
        unproven, findings = 0, list[Finding]()
        for each in booked:
            problem = self._problem(each)
            if problem and self._may_have_been_told(each):
                unproven += 1
            elif problem:
                findings.append(finding_at(each.place, AUDITED, f"{each.name} {problem}"))
        there = {(each.tenant_id, each.period, each.grant_id) for each in booked}
        return LimitsCompared(findings=findings, unproven=unproven, notes=[*self._asked_only(there, period, only)])

    def _add_grant(self, tenant_id: str, action: str, after: Mapping[str, Any]) -> None:
        key = tenant_id, str(after["period"]), str(after["grant_id"])
        if action == _GRANTED:
            self._asked[key].add(Amount(int(after["tokens"]), pusd_from_usd(str(after["usd"]))))
        else:
            self._refused.add(key)

    def _add_document(
        self, tenant_id: str, at: str, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None
    ) -> None:
        self._first[tenant_id] = min(at, self._first.get(tenant_id, at))
        for stated in (before, after):
            if stated is not None:
                usd = stated.get("monthly_budget_usd")
                self._limits[tenant_id].add(
                    Limit(stated.get("monthly_quota_tokens"), None if usd is None else pusd_from_usd(str(usd)))
                )

    def _problem(self, booked: BookedLimit) -> str:
        """Tell in which way no event tells an entry; empty if one does, or if nobody can say."""
        if booked.grant_id:
            asked = self._asked.get((booked.tenant_id, booked.period, booked.grant_id), set[Amount]())
            return "" if booked.granted in asked else f"grants '{booked.grant_id}', and no event tells it"
        is_told = booked.limit in self._limits.get(booked.tenant_id, ())
        return "" if is_told else "sets a limit that no event of the tenant's document tells"

    def _may_have_been_told(self, booked: BookedLimit) -> bool:
        """Tell whether an entry is older than its tenant's events, or its event may be one that retention deleted."""
        is_older = booked.timestamp < self._first.get(booked.tenant_id, "~")
        is_unknown = not (booked.grant_id or self._limits.get(booked.tenant_id))
        return is_older or is_unknown or any(month <= booked.timestamp for month in self.deleted_months)

    def _asked_only(self, there: Set[_GrantKey], period: str, only: str | None) -> Iterator[str]:
        for key in sorted(self._asked.keys() - there - self._refused):
            if key[1] == period and only in (None, key[0]):
                yield f"{key[0]}: the grant '{key[2]}' was only asked for: an event tells it, and no entry"


@record
class LimitsCompared:
    """The entries that no event tells, the number of those of which nobody can say, and the grants without an entry."""

    findings: Sequence[Finding]
    unproven: int
    notes: Sequence[str]

    def not_checked(self) -> Iterator[NotChecked]:
        """Yield what could not be compared."""
        if self.unproven:
            reason = f"{self.unproven} limits: they are older than the audit log, or retention deleted events"
            yield NotChecked(invariant=AUDITED, reason=reason)
