"""Alerts: events that people are to be told of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from enum import StrEnum

from shared.domain.values import record


class AlertKind(StrEnum):
    """The kinds of alerts. A kind is a partition of the outbox, and the type of its events."""

    KEY_ADDRESS_REFUSED = "key.address_refused"
    """A valid key was used from an address outside its ranges, or outside those of its tenant."""
    TOKEN_ADDRESS_REFUSED = "token.address_refused"
    """A valid access token was used from an address outside the ranges of its tenant."""
    KEY_USED_AFTER_END = "key.used_after_end"
    """A key was used after it was revoked or had expired."""
    ALERTS_SUPPRESSED = "alerts.suppressed"
    """A tenant had more alerts in an hour than are stored."""


@record
class Alert:
    """One event. Two processes that see the same give it the same id, so that it is stored once."""

    kind: AlertKind
    event_id: str
    at: datetime
    subject: str
    """The path of the object that it is about, such as `tenants/acme/keys/acme-0a1b2c3d`."""
    data: Mapping[str, str] = field(default_factory=dict)
