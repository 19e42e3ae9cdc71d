"""The one table of operations, from which `/reference` follows. Tests compare it with the routes.

To add a route: its function in `function_app.py`, its handler, its row here or in `management/operations.py`.
To add an inference operation: its format, the format's name in `formats/all_formats.py`, its two functions in
`function_app.py`, its row in `INFERENCE_OPERATIONS`. A test sends the example of every row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from shared.domain.identity.role import INFERENCE, OPEN, OWN_DATA, OWN_ENTRIES
from shared.domain.routing.paths import V1
from shared.http.management.operations import MANAGEMENT_OPERATIONS
from shared.http.operation import API_VERSION, InferenceOperation, Operation

INFERENCE_OPERATIONS: Final = (
    InferenceOperation(
        path="chat/completions",
        summary="Chat completion",
        model="gpt-4o",
        example={
            "messages": [{"role": "user", "content": "Hello!"}],
            "max_completion_tokens": 100,
            "user": "ann",
        },
        required=("messages",),
    ),
    InferenceOperation(
        path="completions",
        summary="Legacy completion",
        model="gpt-35-turbo-instruct",
        example={"prompt": "Once upon a time", "max_tokens": 20},
        required=("prompt",),
    ),
    InferenceOperation(
        path="embeddings",
        summary="Embeddings",
        model="text-embedding-3-small",
        example={"input": ["One text", "another"]},
        required=("input",),
    ),
    InferenceOperation(
        path="images/generations",
        summary="Images",
        model="dall-e-3",
        example={"prompt": "A fox in the snow", "size": "1024x1024", "quality": "standard"},
        required=("prompt",),
    ),
    InferenceOperation(
        path="audio/transcriptions",
        summary="Transcription of sound",
        model="whisper",
        example={"file": "(a file of sound)", "response_format": "json"},
        required=("file",),
    ),
    InferenceOperation(
        path="audio/translations",
        summary="Transcription of sound in English",
        model="whisper",
        example={"file": "(a file of sound)", "response_format": "json"},
        required=("file",),
    ),
    InferenceOperation(
        path="audio/speech",
        summary="Speech",
        model="tts-hd",
        example={"input": "Hello there", "voice": "alloy", "response_format": "mp3"},
        required=("input", "voice"),
    ),
    InferenceOperation(
        path="responses",
        summary="Response",
        model="gpt-4o",
        example={"input": "Hello!", "max_output_tokens": 100},
        required=("input",),
        is_below_deployment=False,
    ),
)
BELOW_DEPLOYMENT: Final = frozenset(row.path for row in INFERENCE_OPERATIONS if row.is_below_deployment)
_STORED_RESPONSES: Final = tuple(
    Operation(method=method, path=f"{base}/responses/{path}", summary=summary, roles=INFERENCE, query=query)
    for base, query in (("/openai", API_VERSION), (V1, ()))
    for method, path, summary in (
        ("GET", "{response}", "Get a response of your own"),
        ("DELETE", "{response}", "Delete a response"),
        ("POST", "{response}/cancel", "Cancel a response"),
        ("GET", "{response}/input_items", "List its input"),
    )
)
_MODELS: Final = (
    Operation(
        method="GET",
        path="/openai/models",
        summary="The deployments this tenant may call",
        roles=INFERENCE,
        query=API_VERSION,
    ),
    Operation(method="GET", path=f"{V1}/models", summary="The deployments this tenant may call", roles=INFERENCE),
    Operation(method="GET", path=f"{V1}/models/{{model}}", summary="One of them", roles=INFERENCE),
)
_ME: Final = (
    Operation(method="GET", path="/me", summary="The tenant of the calling key", roles=OWN_DATA),
    Operation(
        method="GET",
        path="/me/usage",
        summary="The calling tenant's usage",
        roles=OWN_DATA,
        query=("period", "group_by"),
    ),
    Operation(
        method="GET",
        path="/me/entries",
        summary="The calling tenant's ledger entries, newest first",
        roles=OWN_ENTRIES,
        query=("period", "from", "to", "user", "application", "limit", "cursor"),
    ),
    Operation(
        method="GET",
        path="/me/entries/{rid}/proof",
        summary="A proof that an entry of the calling tenant is anchored",
        roles=OWN_ENTRIES,
        query=("period", "seq"),
    ),
    Operation(
        method="GET",
        path="/me/alerts",
        summary="Alerts about the calling tenant, newest first",
        roles=OWN_ENTRIES,
        query=("limit",),
    ),
)
_SERVICE: Final = (
    Operation(method="GET", path="/healthz", summary="Liveness: the process answers", roles=OPEN),
    Operation(method="GET", path="/readyz", summary="Readiness: requests can be served", roles=OPEN),
    Operation(method="GET", path="/reference", summary="This reference, to read and to try", roles=OPEN),
    Operation(method="GET", path="/reference/openapi.json", summary="This document", roles=OPEN),
)
OPERATIONS: Final = (
    *(operation for row in INFERENCE_OPERATIONS for operation in row.operations),
    *_STORED_RESPONSES,
    *_MODELS,
    *MANAGEMENT_OPERATIONS,
    *_ME,
    *_SERVICE,
)
PARAMETER_EXAMPLES: Final[Mapping[str, str]] = {
    "api-version": "2024-10-21",
    "deployment": "gpt-4o",
    "model": "gpt-4o",
    "tenant": "blue-team",
    "backend": "se-gpt-4o",
    "response": "resp_0123456789abcdef",
    "key": "blue-team-1a2b3c4d",
    "period": "2026-11",
    "rid": "01930f0e6a1a7c2e8b1d5f3a9c7e4d21",
    "group_by": "deployment,user,application,day",
    "from": "2026-11-01T00:00:00Z",
    "to": "2026-12-01T00:00:00Z",
    "limit": "100",
    "reason": "approved by finance",
    "object": "blue-team",
    "action": "tenant",
    "format": "csv",
    "sink": "ops",
}
"""By name, for the parameters of paths and queries."""
