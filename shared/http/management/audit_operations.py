"""The rows of the operations of the audit log. `operation_table.py` is the table of all operations."""

from __future__ import annotations

from typing import Final

from shared.domain.identity.role import ADMINISTRATION, AUDIT
from shared.http.operation import Operation

AUDIT_OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/manage/audit",
        summary="Events of the audit log, newest first",
        roles=AUDIT,
        query=("from", "to", "actor", "object", "action", "limit", "cursor"),
    ),
    Operation(
        method="GET",
        path="/manage/audit/verify",
        summary="Verify the audit log of a month",
        roles=AUDIT,
        query=("period",),
    ),
    Operation(
        method="GET",
        path="/manage/audit/export",
        summary="The audit log of a month as JSON lines or CSV",
        roles=AUDIT,
        query=("period", "format"),
    ),
    Operation(
        method="PUT",
        path="/manage/audit/holds/{period}",
        summary="Keep a month of the audit log until the hold is released",
        roles=ADMINISTRATION,
    ),
    Operation(
        method="DELETE",
        path="/manage/audit/holds/{period}",
        summary="Release the hold on a month of the audit log",
        roles=ADMINISTRATION,
    ),
)
