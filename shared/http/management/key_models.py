"""Bodies of the routes of a tenant's keys."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Any

from pydantic import Field, StrictInt

from shared.definitions import Model, Name, Text
from shared.domain.errors import InvalidRequest
from shared.domain.tenancy.keys import GatewayKey, KeyScope
from shared.domain.tenancy.rotation import DEFAULT_OVERLAP_HOURS, MAX_OVERLAP_HOURS, Rotation
from shared.http.management.models import MAX_NAMES, AddressRanges, Moment


class KeySettings(Model):
    """The settings of a key. An expiry of null means none, and deployments of null mean all of the tenant's."""

    label: Text = ""
    owner: Text = ""
    expires_at: Moment | None = None
    scope: KeyScope = KeyScope.USE
    deployments: Annotated[list[Name], Field(min_length=1, max_length=MAX_NAMES)] | None = None
    address_ranges: AddressRanges = Field(default_factory=list)

    def apply(self, key: GatewayKey) -> GatewayKey:
        """Return the key with the settings that were sent."""
        return replace(key, **{name: self._domain_value(name) for name in self.model_fields_set})

    def _domain_value(self, name: str) -> Any:
        sent = getattr(self, name)
        return tuple(sent) if isinstance(sent, list) else sent


class KeyCreation(KeySettings):
    """A new key, without an expiry unless one is given."""


class KeyChange(KeySettings):
    """The settings of a key to change."""


class KeyRotation(Model):
    """The end of the old key, and that of the new one, which is by default as long from now as the old key's was."""

    overlap_hours: Annotated[StrictInt, Field(ge=0, le=MAX_OVERLAP_HOURS)] = DEFAULT_OVERLAP_HOURS
    expires_at: Moment | None = None
    new_key_expires_at: Moment | None = None

    def to_domain(self) -> Rotation:
        """Return the rotation. Raises `InvalidRequest` if the end of the old key is stated twice."""
        if self.expires_at is not None and "overlap_hours" in self.model_fields_set:
            raise InvalidRequest("Send 'overlap_hours' or 'expires_at', not both.", "expires_at")
        return Rotation(
            overlap=timedelta(hours=self.overlap_hours),
            old_expires_at=self.expires_at,
            is_new_end_stated="new_key_expires_at" in self.model_fields_set,
            new_expires_at=self.new_key_expires_at,
        )
