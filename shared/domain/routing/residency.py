"""Data residency: places where backends process requests, and places that a tenant allows.

Source: https://learn.microsoft.com/azure/ai-services/openai/how-to/deployment-types
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from shared.domain.errors import InvalidRequest
from shared.domain.routing.known_values import DATA_ZONES, REGIONS
from shared.domain.values import value


class Processing(StrEnum):
    """The area in which a deployment type may process a request."""

    ANYWHERE = "anywhere"
    DATA_ZONE = "data zone"
    REGION = "region"
    OWN_ZONE = "own zone"
    """On-premises, and sovereign clouds."""


SKUS: Final[Mapping[str, Processing]] = {
    "Standard": Processing.REGION,
    "ProvisionedManaged": Processing.REGION,
    "DataZoneStandard": Processing.DATA_ZONE,
    "DataZoneProvisionedManaged": Processing.DATA_ZONE,
    "GlobalStandard": Processing.ANYWHERE,
    "GlobalProvisionedManaged": Processing.ANYWHERE,
    "DeveloperTier": Processing.ANYWHERE,
    "OnPremises": Processing.OWN_ZONE,
}
ANYWHERE: Final = "global"


@value
class Residency:
    """The places where a tenant's data may be processed. No zones means every zone; global SKUs need `allow_global`."""

    zones: tuple[str, ...] = ()
    allow_global: bool = True


@value
class Placement:
    """The place of a backend. Its SKU decides in which area around that it may process."""

    sku: str
    region: str
    zone: str

    @property
    def processing(self) -> Processing:
        """The area in which the SKU may process. An unknown SKU may process anywhere."""
        return SKUS.get(self.sku, Processing.ANYWHERE)

    @property
    def processed_in(self) -> str:
        """The narrowest place where requests are certainly processed: a region, a zone, or `global`."""
        match self.processing:
            case Processing.ANYWHERE:
                return ANYWHERE
            case Processing.REGION:
                return self.region
            case _:
                return self.zone

    def objection(self, residency: Residency) -> str | None:
        """Return the reason why a tenant's data may not be processed here; `None` if it may."""
        processing = self.processing
        if processing is Processing.ANYWHERE:
            if residency.allow_global:
                return None
            return f"{self.sku} may process anywhere, and global processing is not allowed"
        if not residency.zones or self.zone in residency.zones:
            return None
        if processing is Processing.REGION and self.region in residency.zones:
            return None
        return f"{self.sku} in {self.region} processes in '{self.processed_in}', which is not among the allowed zones"


def checked_placement(sku: str, region: str, zone: str) -> Placement:
    """Return the placement of a configured backend. Derives the zone of a known region if `zone` is empty.

    Raises `InvalidRequest` if the zone contradicts the region, or a required zone is missing.
    """
    known = next((name for name, regions in DATA_ZONES.items() if region in regions), None)
    if zone in DATA_ZONES and known != zone and region in REGIONS:
        place = f"the zone '{known}'" if known else "no data zone"
        raise InvalidRequest(f"The region '{region}' lies in {place}, not in '{zone}'.", "zone")
    placement = Placement(sku, region, zone or known or "")
    if not placement.zone and placement.processing in (Processing.DATA_ZONE, Processing.OWN_ZONE):
        raise InvalidRequest(f"'zone' is required: {sku} processes in the zone of '{region}'.", "zone")
    return placement
