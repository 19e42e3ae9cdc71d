"""What the content filter of Azure OpenAI found in a prompt or completion, and what a tenant wants done about it.

https://learn.microsoft.com/azure/ai-services/openai/concepts/content-filter-annotations. A finding is written
`{category}:{severity}` for a severity above safe, `{category}:detected` and `{category}:filtered`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from enum import StrEnum


class ContentFilterPolicy(StrEnum):
    """What is done about findings. Upstream's own verdicts pass through untouched in every case."""

    PASS = "pass"
    ANNOTATE = "annotate"
    """Name the findings in a header of the answer."""
    BLOCK = "block"
    """Refuse what is found at or above the threshold, also where the deployment only annotates."""


class Severity(StrEnum):
    """How bad it is, ascending."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


VERDICTS = ("filtered", "detected")
_SEVERITIES = tuple(Severity)


def findings_text(found: Iterable[str]) -> str:
    """Findings as an entry keeps them: sorted, with commas between."""
    return ",".join(sorted(found)) if found else ""


def findings_from_text(text: str) -> list[str]:
    """The inverse of `noted`."""
    return text.split(",") if text else []


def is_flagged(text: str) -> bool:
    """Whether noted findings tell that something was filtered or detected."""
    return any(finding.endswith(VERDICTS) for finding in findings_from_text(text))


def refused_categories(found: Collection[str], threshold: Severity) -> list[str]:
    """The categories that a tenant which blocks does not want: filtered, detected, or as severe as `threshold`."""
    unwanted = (*VERDICTS, *_SEVERITIES[_SEVERITIES.index(threshold) :])
    return sorted({category for category, _, what in (each.partition(":") for each in found) if what in unwanted})
