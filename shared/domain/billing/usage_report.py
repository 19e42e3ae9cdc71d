"""A tenant's usage in a period: totals, and sums by deployment, user, application or day."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from enum import StrEnum

from shared.domain.identifiers import BillingPeriod
from shared.domain.ledger.amounts import Amount, Limit
from shared.domain.ledger.balance import Balance
from shared.domain.ledger.rollup import Rollup, RollupKey
from shared.domain.tenancy.tenant import Tenant
from shared.domain.values import record, value


class Grouping(StrEnum):
    """A property of requests by which a report sums them, named as in `RollupKey`."""

    DEPLOYMENT = "deployment"
    USER = "user"
    DAY = "day"
    APPLICATION = "application"

    def of(self, key: RollupKey) -> Group:
        """Return the group that a rollup belongs to. A deployment is shown once for each model behind it."""
        name: str = getattr(key, self.value)
        return Group(name, key.model if self is Grouping.DEPLOYMENT else "")


@value
class Group:
    """One deployment, user, application or day. `model` is empty unless it is a deployment."""

    name: str
    model: str = ""


@value
class GroupUsage:
    """The sums of one group."""

    group: Group
    sums: Rollup


@record
class UsageReport:
    """A tenant's usage in a period. `limit` is the quota and budget with what was granted on top.

    `total` sums all requests; `groups` has a list for each grouping, in order of the groups' names.
    """

    tenant: Tenant
    period: str
    state: str
    """That of its balance in lower case, or `not_open`."""
    used: Amount
    reserved: Amount
    limit: Limit
    total: Rollup
    groups: Mapping[Grouping, tuple[GroupUsage, ...]]


def state_of(balance: Balance | None, tenant: Tenant, period: str, now: datetime) -> str:
    """Return a tenant's state in a period.

    The first request opens the current period. Any other period without a balance is `not_open`: it is over, has not
    begun, or was before the tenant existed.
    """
    if balance is not None:
        return balance.state.lower()
    current = BillingPeriod.containing(now)
    exists = BillingPeriod.containing(tenant.created_at) <= current
    return "open" if exists and period == str(current) else "not_open"


def total_of(sums: Iterable[Rollup]) -> Rollup:
    """Add sums up."""
    return sum(sums, Rollup())


def grouped(rollups: Collection[tuple[RollupKey, Rollup]], grouping: Grouping) -> tuple[GroupUsage, ...]:
    """Sum rollups by group, in order of the groups' names."""
    found: dict[Group, Rollup] = {}
    for key, sums in rollups:
        group = grouping.of(key)
        found[group] = found.get(group, Rollup()) + sums
    in_order = sorted(found, key=lambda group: (group.name, group.model))
    return tuple(GroupUsage(group, found[group]) for group in in_order)
