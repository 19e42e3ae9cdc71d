"""The backend that a prompt prefers, because what it begins with may be cached there."""

from __future__ import annotations

import hashlib
from typing import Final

from shared.application.inference.incoming_call import Inquiry
from shared.domain.routing.selection import Pool

_CACHED_PROMPT_TOKENS: Final = 1_024
"""Of shorter prompts nothing is cached: https://learn.microsoft.com/azure/ai-services/openai/how-to/prompt-caching"""
_PREFIX_CHARACTERS: Final = 4_096
_PREFIX_TEXTS: Final = 8


def home_of(inquiry: Inquiry, pool: Pool, tokens: int) -> float | None:
    """A point of `[0, 1)` for the beginning of a tenant's prompt of so many tokens; `None` where it does not matter."""
    if len(pool.candidates) == 1 or tokens < _CACHED_PROMPT_TOKENS:
        return None
    texts = [text[:_PREFIX_CHARACTERS] for text in inquiry.request.texts[:_PREFIX_TEXTS]]
    prefix = "\0".join([inquiry.tenant.tenant_id, *texts])[:_PREFIX_CHARACTERS]
    digest = hashlib.blake2b(prefix.encode("utf-8", "replace"), digest_size=8).digest()
    return (int.from_bytes(digest) >> 11) / 2**53
