"""What the content filter of Azure OpenAI said about a prompt or completion.

https://learn.microsoft.com/azure/ai-services/openai/concepts/content-filter-annotations
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def flagged_categories(results: Mapping[str, object]) -> Iterable[str]:
    """The categories that were filtered or detected in one `content_filter_results` object."""
    for category, verdict in results.items():
        if isinstance(verdict, dict) and (verdict.get("filtered") or verdict.get("detected")):
            yield category
