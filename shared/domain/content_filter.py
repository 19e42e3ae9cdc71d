"""Findings of the content filter of Azure OpenAI, and a tenant's policy for them.

A finding is written `{category}:{severity}` for a severity above safe, `{category}:detected` or `{category}:filtered`.
Source: https://learn.microsoft.com/azure/ai-services/openai/concepts/content-filter-annotations
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from enum import StrEnum


class ContentFilterPolicy(StrEnum):
    """A tenant's policy for findings. Upstream's own verdicts pass through unchanged under every policy."""

    PASS = "pass"
    ANNOTATE = "annotate"
    """Name the findings in a header of the answer."""
    BLOCK = "block"
    """Refuse findings at or above the threshold, even if the deployment only annotates them."""


class Severity(StrEnum):
    """Severity of a finding, ascending."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


VERDICTS = ("filtered", "detected")
MAX_FINDINGS = 64
"""More categories than any content filter has."""
_SEVERITIES = tuple(Severity)


def findings_text(found: Iterable[str]) -> str:
    """Join findings as a ledger entry stores them: sorted, separated by commas, at most `MAX_FINDINGS`."""
    return ",".join(sorted(found)[:MAX_FINDINGS])


def findings_from_text(text: str) -> list[str]:
    """Split stored findings; the inverse of `findings_text`."""
    return text.split(",") if text else []


def is_flagged(text: str) -> bool:
    """Tell whether stored findings include a filtered or detected category."""
    return any(finding.endswith(VERDICTS) for finding in findings_from_text(text))


def refused_categories(found: Collection[str], threshold: Severity) -> list[str]:
    """List the categories that the policy `block` refuses: filtered, detected, or at least as severe as `threshold`."""
    unwanted = (*VERDICTS, *_SEVERITIES[_SEVERITIES.index(threshold) :])
    refused = {category for category, _, what in (each.partition(":") for each in found) if what in unwanted}
    return sorted(refused)[:MAX_FINDINGS]
