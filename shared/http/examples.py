"""A request that works for every operation that takes one, as `/openapi.json` shows it. A test sends each of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_SAY_HELLO: Final = {"messages": [{"role": "user", "content": "Hello!"}]}
INFERENCE: Final[Mapping[str, Mapping[str, Any]]] = {
    "chat/completions": {**_SAY_HELLO, "max_completion_tokens": 100, "user": "ann"},
    "completions": {"prompt": "Once upon a time", "max_tokens": 20},
    "embeddings": {"input": ["One text", "another"]},
    "images/generations": {"prompt": "A fox in the snow", "size": "1024x1024", "quality": "standard"},
    "audio/transcriptions": {"file": "(a file of sound)", "response_format": "json"},
    "audio/translations": {"file": "(a file of sound)", "response_format": "json"},
    "audio/speech": {"input": "Hello there", "voice": "alloy", "response_format": "mp3"},
    "responses": {"model": "gpt-4o", "input": "Hello!", "max_output_tokens": 100},
}
"""By operation; on the v1 path `model` is added."""
MODELS: Final[Mapping[str, str]] = {
    "chat/completions": "gpt-4o",
    "completions": "gpt-35-turbo-instruct",
    "embeddings": "text-embedding-3-small",
    "images/generations": "dall-e-3",
    "audio/transcriptions": "whisper",
    "audio/translations": "whisper",
    "audio/speech": "tts-hd",
    "responses": "gpt-4o",
}
MANAGEMENT: Final[Mapping[str, Mapping[str, Any]]] = {
    "TenantRegistration": {
        "tenant_id": "blue-team",
        "name": "Blue team",
        "cost_center": "CC-1000",
        "deployments": ["gpt-4o"],
        "monthly_quota_tokens": 1_000_000,
        "monthly_budget_usd": "250.00",
        "residency": {"zones": ["eu"]},
    },
    "TenantChange": {"monthly_quota_tokens": 2_000_000, "reason": "approved by finance"},
    "Grant": {"tokens": 100_000, "reason": "launch week", "grant_id": "launch-1"},
    "KeyCreation": {"expires_at": "2030-01-01T00:00:00Z"},
    "BackendDefinition": {
        "endpoint": "https://contoso.openai.azure.com",
        "upstream_deployment": "gpt-4o",
        "model": "gpt-4o",
        "region": "swedencentral",
        "zone": "eu",
        "sku": "DataZoneStandard",
    },
    "DeploymentDefinition": {"backends": ["se-gpt-4o"], "max_output_tokens": 4096},
    "RouteQuestion": {"tenant_id": "blue-team", "deployment": "gpt-4o", "tokens": 1000},
    "PriceInsertion": {
        "model": "gpt-4o",
        "meter": "input",
        "usd_per_million": "2.50",
        "effective_from": "2024-01-01T00:00:00Z",
        "source": "price sheet",
    },
}
"""By model of the body."""
PARAMETERS: Final[Mapping[str, str]] = {
    "api-version": "2024-10-21",
    "deployment": "gpt-4o",
    "model": "gpt-4o",
    "tenant": "blue-team",
    "backend": "se-gpt-4o",
    "response": "resp_0123456789abcdef",
    "key": "blue-team-1a2b3c4d",
    "period": "2026-11",
    "group_by": "deployment,user,day",
    "from": "2026-11-01T00:00:00Z",
    "to": "2026-12-01T00:00:00Z",
    "limit": "100",
}
"""By name, of paths and queries."""
