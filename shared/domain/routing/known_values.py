"""Values that Azure defines: its regions, data zones, clouds and their token scopes. As of November 2026.

A value that Azure has added since can be allowed by a setting; see `BackendRules`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Final

from shared.domain.errors import InvalidRequest

DATA_ZONES: Final[Mapping[str, frozenset[str]]] = {
    "eu": frozenset(
        {"austriaeast", "belgiumcentral", "denmarkeast", "francecentral", "francesouth", "germanynorth",
         "germanywestcentral", "italynorth", "northeurope", "polandcentral", "spaincentral", "swedencentral",
         "swedensouth", "westeurope"}
    ),
    "us": frozenset(
        {"centralus", "eastus", "eastus2", "northcentralus", "southcentralus", "westcentralus", "westus", "westus2",
         "westus3"}
    ),
    "apac": frozenset(
        {"australiacentral", "australiacentral2", "australiaeast", "australiasoutheast", "centralindia", "japaneast",
         "japanwest", "jioindiacentral", "jioindiawest", "koreacentral", "koreasouth", "southeastasia", "southindia",
         "westindia"}
    ),
    "usgov": frozenset({"usgovarizona", "usgovtexas", "usgovvirginia"}),
}  # fmt: skip
"""Data zones, with the regions of their countries.

https://learn.microsoft.com/azure/ai-foundry/foundry-models/concepts/deployment-types
"""
REGIONS: Final[frozenset[str]] = frozenset().union(*DATA_ZONES.values()) | {
    "brazilsouth", "brazilsoutheast", "canadacentral", "canadaeast", "chilecentral", "chinaeast", "chinaeast2",
    "chinaeast3", "chinanorth", "chinanorth2", "chinanorth3", "eastasia", "indonesiacentral", "israelcentral",
    "israelnorthwest", "malaysiasouth", "malaysiawest", "mexicocentral", "newzealandnorth", "norwayeast", "norwaywest",
    "qatarcentral", "southafricanorth", "southafricawest", "switzerlandnorth", "switzerlandwest", "taiwannorth",
    "taiwannorthwest", "uaecentral", "uaenorth", "uksouth", "ukwest", "usdodcentral", "usdodeast",
}  # fmt: skip
"""Regions by their names in the resource manager. https://learn.microsoft.com/azure/reliability/regions-list"""
TOKEN_SCOPES: Final = frozenset(
    f"https://{service}.azure.{top_level}/.default"
    for service in ("cognitiveservices", "ai")
    for top_level in ("com", "us", "cn")
)
"""Scopes for models in the public cloud, Azure Government and Azure China.

https://learn.microsoft.com/azure/ai-services/openai/how-to/managed-identity
"""
AUTHORITIES: Final = frozenset(
    f"https://{host}"
    for host in (
        "login.microsoftonline.com", "login.microsoftonline.us", "login.chinacloudapi.cn",
        "login.partner.microsoftonline.cn",
    )
)  # fmt: skip
"""Identity providers of the same clouds.

https://learn.microsoft.com/entra/identity-platform/authentication-national-cloud
"""


def require_known(param: str, text: str, known: Iterable[str], allowed: Iterable[str]) -> None:
    """Raise `InvalidRequest` if a value is neither known nor allowed. Names the known value that is most like it."""
    choices = {*known, *allowed}
    if text in choices:
        return
    similar = get_close_matches(text, sorted(choices), n=1) or get_close_matches(text.lower(), sorted(choices), n=1)
    hint = f" Did you mean '{similar[0]}'?" if similar else ""
    raise InvalidRequest(f"'{param}': '{text}' is unknown.{hint} {_setting(param)} can allow it.", param)


def _setting(param: str) -> str:
    """Return the name of the setting that allows more values of a field."""
    return "ALLOWED_AUTHORITIES" if param == "authority" else f"ALLOWED_{param.upper()}S"
