"""The members of a request that decide by which prices it is charged: the service tier, and audio in and out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from shared.adapters.azure_openai.formats import bodies
from shared.domain.errors import InvalidRequest
from shared.domain.pricing.price_book import TOKENS, Basis, tokens_of
from shared.domain.pricing.service_tier import service_tier

_LONGEST_TIER_CHARACTERS: Final = 32


def named_tier(fields: Mapping[str, Any]) -> str:
    """Return the tier that a request names: `default` or another; empty for `auto` and none. Raises `InvalidRequest`.

    https://learn.microsoft.com/azure/ai-foundry/openai/how-to/priority-processing
    """
    named = bodies.text(fields, "service_tier")
    if named is None:
        return ""
    if len(named) > _LONGEST_TIER_CHARACTERS:
        raise InvalidRequest("'service_tier' must be the name of a tier, for example 'default'.", "service_tier")
    return service_tier(named)


def tokens_basis(fields: Mapping[str, Any], *, has_audio: bool) -> Basis:
    """Return the basis of a request priced by token. It needs prices for the audio that it carries or asks for."""
    modalities = fields.get("modalities")
    asks_for_audio = fields.get("audio") is not None or (isinstance(modalities, list) and "audio" in modalities)
    return tokens_of(has_audio=has_audio, asks_for_audio=asks_for_audio) if has_audio or asks_for_audio else TOKENS
