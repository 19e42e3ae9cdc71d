"""Count tokens offline with OpenAI's vocabularies, which the wheel of `splintr-rs` contains (ADR 6)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Final, Protocol

_CL100K_MODELS: Final = ("gpt-4-", "gpt-4-32k", "gpt-35", "gpt-3.5", "text-embedding", "ada", "babbage", "davinci")
"""Prefixes of models with the older vocabulary. https://github.com/openai/tiktoken, `tiktoken/model.py`."""
_PIECE_CHARACTERS: Final = 16_384
"""Longer texts are counted in pieces, which bounds the time of hostile input."""
_ROLES: Final = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
"""One token each in every vocabulary. Every message has a role, so that these need no encoder."""


class _Encoder(Protocol):
    def encode_ordinary(self, text: str) -> list[int]: ...


class SplintrTokenizer:
    """Implements `Tokenizer`. Loads a vocabulary (about 30 MB) when a model first needs it."""

    def count(self, text: str, model: str) -> int:
        """Count the tokens of `text`: exactly up to 16,384 characters, and never too few beyond."""
        if text in _ROLES:
            return 1
        encoder = _encoder(_vocabulary_of(model))
        if len(text) <= _PIECE_CHARACTERS:
            return len(encoder.encode_ordinary(text))
        return sum(len(encoder.encode_ordinary(piece)) for piece in _pieces(text))


def _pieces(text: str) -> Iterator[str]:
    for start in range(0, len(text), _PIECE_CHARACTERS):
        yield text[start : start + _PIECE_CHARACTERS]


def _vocabulary_of(model: str) -> str:
    """Return the vocabulary of a model. An unknown model has the newer one."""
    is_older = model == "gpt-4" or model.startswith(_CL100K_MODELS)
    return "cl100k_base" if is_older else "o200k_base"


@cache
def _encoder(vocabulary: str) -> _Encoder:
    import splintr

    encoder: _Encoder = splintr.Tokenizer.from_pretrained(vocabulary)
    return encoder
