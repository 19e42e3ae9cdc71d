"""Service tiers, as requests name them and as answers state them.

https://learn.microsoft.com/azure/ai-foundry/openai/how-to/priority-processing
"""

from __future__ import annotations

from typing import Final

STANDARD_TIER: Final = "default"
UNSTATED_TIER: Final = ""
_STANDARD_NAMES: Final = frozenset({"default", "standard"})
_CHOSEN_UPSTREAM: Final = frozenset({"", "auto"})


def service_tier(text: str) -> str:
    """Return the tier that `text` means: `default`, another tier, or an empty string if it names none.

    `auto` names none: the deployment's setting decides. `standard` is another name of `default`.
    """
    tier = text.strip().lower()
    if tier in _STANDARD_NAMES:
        return STANDARD_TIER
    return UNSTATED_TIER if tier in _CHOSEN_UPSTREAM else tier
