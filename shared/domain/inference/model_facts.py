"""Facts about models that follow from their names: whether they reason unseen, and how much one request can use."""

from __future__ import annotations

import re
from typing import Final

_REASONING: Final = re.compile(r"(?:.*/)?(?:o\d|codex|gpt-(?!5-chat)(?:[5-9]|1\d)(?!\d))", re.IGNORECASE)
"""https://learn.microsoft.com/azure/ai-services/openai/how-to/reasoning. A vendor may stand before the name."""
_OTHERS_THAT_HIDE: Final = re.compile(
    r"(?:.*/)?(?:computer-use|model-router|grok-(?:3-mini|code|(?!4.*non-reasoning)[4-9]))", re.IGNORECASE
)
"""They take the parameters of models that do not reason. The router may choose one that does."""
_CONTEXT_WINDOWS: Final = (
    ("gpt-4.1", 1_047_576),
    ("gpt-4.5", 131_072),
    ("gpt-4", 131_072),
    ("gpt-3", 16_385),
    ("o1", 200_000),
    ("o3", 200_000),
    ("o4", 200_000),
    ("codex-mini", 200_000),
    ("computer-use-preview", 8_192),
    ("gpt-5.", 1_050_000),
    ("gpt-5", 400_000),
)
"""Tokens by the beginning of the name; the first that fits counts. No model of a family has more."""
_LARGEST_CONTEXT_WINDOW: Final = 2_097_152
"""Twice the largest window on offer, for a model that is not listed."""


def reasons(model: str) -> bool:
    """Tell whether a model of OpenAI's reasons, so that it takes other parameters."""
    return _REASONING.match(model) is not None


def hides_output(model: str) -> bool:
    """Tell whether answers of a model may not show all the tokens that they cost, because it reasons unseen."""
    return reasons(model) or _OTHERS_THAT_HIDE.match(model) is not None


def context_window(model: str) -> int:
    """Return the most tokens that one prompt, or one answer, of a model can have."""
    return next((window for name, window in _CONTEXT_WINDOWS if model.startswith(name)), _LARGEST_CONTEXT_WINDOW)
