"""The baseline: one event for each document that is older than the audit log."""

from __future__ import annotations

from datetime import datetime

from shared.domain.values import record


@record
class Baseline:
    """The end of the baseline. From then on, a document without an event is one that somebody wrote by hand."""

    completed_at: datetime
