"""Findings of the content filter, read from the annotations of an answer.

https://learn.microsoft.com/azure/ai-services/openai/concepts/content-filter-annotations
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from shared.domain.content_filter import VERDICTS, Severity
from shared.domain.identifiers import label

_ABOVE_SAFE: Final = frozenset(Severity)
_NOTHING_FOUND: Final = ({"filtered": False, "severity": "safe"}, {"filtered": False, "detected": False})
"""Most verdicts, compared whole (ADR 12)."""


def findings(results: Mapping[str, object]) -> Iterator[str]:
    """Yield the findings of one `content_filter_results` object."""
    for category, verdict in results.items():
        if verdict in _NOTHING_FOUND or not isinstance(verdict, dict):
            continue
        for name, found in verdict.items():
            if found is True and name in VERDICTS:
                yield f"{_name_of(category)}:{name}"
            elif name == "severity" and isinstance(found, str) and found in _ABOVE_SAFE:
                yield f"{_name_of(category)}:{found}"


def _name_of(category: str) -> str:
    """Return a category as a header and an entry can hold it: without the separators of findings."""
    return label(category).replace(":", "?").replace(",", "?")
