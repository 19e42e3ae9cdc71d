"""Settings of the audit log."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings


class AuditSettings(BaseSettings):
    """A part of `Settings`, which validates these fields first."""

    audit_retention_months: int = Field(default=0, ge=0, le=1200)
    """The whole months for which events are kept, beside the current one; 0 keeps them for ever."""
