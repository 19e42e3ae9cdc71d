"""Prompt caching affinity: requests with the same beginning go to the same backend, which may have cached it."""

from __future__ import annotations

import hashlib
from typing import Final

from shared.domain.inference.parsed_body import ParsedBody
from shared.domain.routing.selection import Pool
from shared.domain.tenancy.tenant import Tenant

_CACHED_PROMPT_TOKENS: Final = 1_024
"""Shorter prompts are not cached: https://learn.microsoft.com/azure/ai-services/openai/how-to/prompt-caching"""
_PREFIX_CHARACTERS: Final = 4_096
_PREFIX_TEXTS: Final = 8


def affinity_point(tenant: Tenant, body: ParsedBody, pool: Pool, input_tokens: int) -> float | None:
    """Hash the beginning of a tenant's prompt to a point of `[0, 1)`.

    Returns `None` where affinity cannot help: the pool has one backend, or the prompt is too short to be cached.
    """
    if len(pool.candidates) == 1 or input_tokens < _CACHED_PROMPT_TOKENS:
        return None
    texts = [text[:_PREFIX_CHARACTERS] for text in body.texts[:_PREFIX_TEXTS]]
    prefix = "\0".join([tenant.tenant_id, *texts])[:_PREFIX_CHARACTERS]
    digest = hashlib.blake2b(prefix.encode("utf-8", "replace"), digest_size=8).digest()
    return (int.from_bytes(digest) >> 11) / 2**53
