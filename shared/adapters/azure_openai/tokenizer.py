"""Token counts with OpenAI's vocabularies, offline: they are inside the wheel of `splintr-rs` (ADR 6)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, lru_cache
from typing import Final, Protocol

_CL100K_MODELS: Final = ("gpt-4-", "gpt-4-32k", "gpt-35", "gpt-3.5", "text-embedding", "ada", "babbage", "davinci")
_PIECE_CHARACTERS: Final = 16_384
_ROLES: Final = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
"""One token each in every vocabulary; every message has one."""


class _Encoder(Protocol):
    def encode_ordinary(self, text: str) -> list[int]: ...


class SplintrTokenizer:
    """Implements `Tokenizer`. A vocabulary is loaded when a model first needs it (about 30 MB each)."""

    def count(self, text: str, model: str) -> int:
        """Exact for texts up to 16,384 characters; longer ones are counted in pieces, which can only add tokens."""
        if text in _ROLES:
            return 1
        encoder = _encoder(_vocabulary_of(model))
        if len(text) <= _PIECE_CHARACTERS:
            return len(encoder.encode_ordinary(text))
        return sum(len(encoder.encode_ordinary(piece)) for piece in _pieces(text))


def _pieces(text: str) -> Iterator[str]:
    for start in range(0, len(text), _PIECE_CHARACTERS):
        yield text[start : start + _PIECE_CHARACTERS]


@lru_cache(maxsize=256)
def _vocabulary_of(model: str) -> str:
    is_older = model == "gpt-4" or model.startswith(_CL100K_MODELS)
    return "cl100k_base" if is_older else "o200k_base"


@cache
def _encoder(vocabulary: str) -> _Encoder:
    import splintr

    encoder: _Encoder = splintr.Tokenizer.from_pretrained(vocabulary)
    return encoder
