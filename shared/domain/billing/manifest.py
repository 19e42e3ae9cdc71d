"""The manifest of a period: its statement files with their digests, and the totals that they must add up to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Self

from shared.domain.billing.statements import PeriodStatements
from shared.domain.ledger.balance import Lane
from shared.domain.values import record, value


@value
class StatementFile:
    """A file as it was written: its name, its SHA-256 in hexadecimal, and its size in bytes."""

    name: str
    sha256: str
    size_bytes: int

    @classmethod
    def of(cls, name: str, content: bytes) -> Self:
        """Describe a file with this content."""
        return cls(name, hashlib.sha256(content).hexdigest(), len(content))


@value
class WrittenStatements:
    """The fact that the audit log keeps of a period's statements: what their manifest was when it was written."""

    manifest_sha256: str


@record
class Manifest:
    """The files of a period and its totals. `chain_heads` names the last hash of each `{tenant}|{lane}`."""

    period: str
    files: tuple[StatementFile, ...]
    cost_cents: int
    tokens: int
    entries: int
    chain_heads: Mapping[str, str]

    def names(self, lane: Lane) -> bool:
        """Return whether the statements cover a lane."""
        return f"{lane.tenant_id}|{lane.number:02}" in self.chain_heads


def manifest_of(statements: PeriodStatements, files: Iterable[StatementFile]) -> Manifest:
    """Return the manifest of a period whose statements are in these files."""
    bills = statements.statements
    return Manifest(
        period=statements.period,
        files=tuple(files),
        cost_cents=statements.cost_cents,
        tokens=sum(bill.tokens_used for bill in bills),
        entries=sum(bill.entries for bill in bills),
        chain_heads={f"{bill.tenant_id}|{lane}": head for bill in bills for lane, head in bill.chain_heads.items()},
    )
