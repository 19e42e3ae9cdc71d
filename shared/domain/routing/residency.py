"""Where a request may be processed, and whose data may go there.

https://learn.microsoft.com/azure/ai-services/openai/how-to/deployment-types
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from shared.domain.errors import InvalidRequest
from shared.domain.values import value


class Processing(StrEnum):
    """How far from its region a deployment type may process a request."""

    ANYWHERE = "anywhere"
    DATA_ZONE = "data zone"
    REGION = "region"
    OWN_ZONE = "own zone"
    """On-premises, and clouds of their own."""


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
DATA_ZONES: Final[Mapping[str, frozenset[str]]] = {
    "eu": frozenset(
        {"austriaeast", "belgiumcentral", "denmarkeast", "francecentral", "germanywestcentral", "italynorth",
         "northeurope", "polandcentral", "spaincentral", "swedencentral", "westeurope"}
    ),
    "us": frozenset(
        {"centralus", "eastus", "eastus2", "northcentralus", "southcentralus", "westcentralus", "westus", "westus2",
         "westus3"}
    ),
}  # fmt: skip
_GLOBAL: Final = "global"


@value
class Residency:
    """Where a tenant's data may be processed. No zones named means every zone; global SKUs need `allow_global`."""

    zones: tuple[str, ...] = ()
    allow_global: bool = True


@value
class Placement:
    """Where a backend stands, and by its SKU how far from there it may process."""

    sku: str
    region: str
    zone: str

    @property
    def processing(self) -> Processing:
        """Of a SKU that is not known nothing is known, so that it may process anywhere."""
        return SKUS.get(self.sku, Processing.ANYWHERE)

    @property
    def processed_in(self) -> str:
        """The narrowest place of which it is certain that requests are processed there: a region, a zone, `global`."""
        match self.processing:
            case Processing.ANYWHERE:
                return _GLOBAL
            case Processing.REGION:
                return self.region
            case _:
                return self.zone

    def objection(self, residency: Residency) -> str | None:
        """Why a tenant's data may not be processed here, or `None` if it may."""
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
    """The placement of a backend that is configured so; the zone of a known region need not be named.

    Raises `InvalidRequest` for an unknown SKU, a zone that is missing where it decides, or one that contradicts the
    region.
    """
    if sku not in SKUS:
        raise InvalidRequest(f"'sku' must be one of {', '.join(SKUS)}.", "sku")
    known = next((name for name, regions in DATA_ZONES.items() if region in regions), None)
    if zone in DATA_ZONES and known not in (None, zone):
        raise InvalidRequest(f"The region '{region}' lies in the zone '{known}', not in '{zone}'.", "zone")
    placement = Placement(sku, region, zone or known or "")
    if not placement.zone and placement.processing in (Processing.DATA_ZONE, Processing.OWN_ZONE):
        raise InvalidRequest(f"'zone' is required: {sku} processes in the zone of '{region}'.", "zone")
    return placement
