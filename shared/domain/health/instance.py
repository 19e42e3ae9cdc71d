"""The processes of the gateway."""

from __future__ import annotations

from datetime import datetime

from shared.domain.values import record


@record
class Instance:
    """One process of the gateway, as it told of itself."""

    name: str
    version: str
    started_at: datetime
    seen_at: datetime
