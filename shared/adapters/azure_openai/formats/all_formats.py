"""All inference operations by path. To add one, write its format in this folder and list it here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from shared.adapters.azure_openai.formats.chat import ChatCompletions
from shared.adapters.azure_openai.formats.completions import Completions
from shared.adapters.azure_openai.formats.embeddings import Embeddings
from shared.adapters.azure_openai.formats.images import ImageGenerations
from shared.adapters.azure_openai.formats.responses import Responses
from shared.adapters.azure_openai.formats.speech import Speech
from shared.adapters.azure_openai.formats.transcriptions import Transcriptions
from shared.application.ports.formats import InferenceFormat

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
