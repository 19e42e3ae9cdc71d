"""Every inference operation by its path. To add one, write its format beside this file and name it here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from shared.adapters.azure_openai.chat import ChatCompletions
from shared.adapters.azure_openai.completions import Completions
from shared.adapters.azure_openai.embeddings import Embeddings
from shared.adapters.azure_openai.images import ImageGenerations
from shared.adapters.azure_openai.responses import Responses
from shared.adapters.azure_openai.speech import Speech
from shared.adapters.azure_openai.transcriptions import Transcriptions
from shared.application.inference_format import InferenceFormat

FORMATS: Final[Mapping[str, InferenceFormat]] = {
    format_.operation: format_
    for format_ in (
        ChatCompletions(),
        Completions(),
        Embeddings(),
        ImageGenerations(),
        Responses(),
        Speech(),
        Transcriptions("audio/transcriptions"),
        Transcriptions("audio/translations"),
    )
}
