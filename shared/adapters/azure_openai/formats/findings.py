"""Findings of the content filter, read from the annotations of an answer.

https://learn.microsoft.com/azure/ai-services/openai/concepts/content-filter-annotations
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from shared.domain.content_filter import VERDICTS, Severity

_ABOVE_SAFE: Final = frozenset(Severity)


def findings(results: Mapping[str, object]) -> Iterator[str]:
    """Yield the findings of one `content_filter_results` object."""
    for category, verdict in results.items():
        if isinstance(verdict, dict):
            severity = verdict.get("severity")
            if isinstance(severity, str) and severity in _ABOVE_SAFE:
                yield f"{category}:{severity}"
            for name in VERDICTS:
                if verdict.get(name) is True:
                    yield f"{category}:{name}"
