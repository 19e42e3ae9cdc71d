"""Compare the chain of a month of the audit log with its anchored heads."""

from __future__ import annotations

from collections.abc import Mapping

from shared.application.audit.verify_anchors import AnchorFinding
from shared.application.ports.audit import AuditChain
from shared.domain.audit.audit_chain import AuditHead, audit_genesis
from shared.domain.errors import RowsDamaged


class VerifyAnchoredEvents:
    """Reads the entries of a month. It does not recompute their hashes: that is the verification of the log itself."""

    def __init__(self, chain: AuditChain) -> None:
        self._chain = chain

    async def __call__(self, period: str, anchored: Mapping[int, str]) -> list[AnchorFinding]:
        """Return the anchored entries that the log has not, or has otherwise. Entries that retention deleted are none.

        `anchored` has the hashes by number. Raises `StorageUnavailable`.
        """
        if not anchored:
            return []
        nothing = AuditHead(period, 0, audit_genesis(period))
        try:
            head = await self._chain.head(period) or nothing
        except RowsDamaged as error:
            return [_finding(period, "B", str(error))]
        last, found = max(anchored), list[AnchorFinding]()
        if last > head.seq:
            found.append(_finding(period, "B", f"entry {last} was anchored, and the log ends at entry {head.seq}"))
        if anchored.get(head.seq, head.head) != head.head:
            found.append(_finding(period, "B", f"the head is not that of entry {head.seq} as it was anchored"))
        async for entry in self._chain.entries(period, 1, head.seq):
            if anchored.get(entry.seq, entry.sealed.hash) != entry.sealed.hash:
                message = f"entry {entry.seq} is not the one that was anchored"
                found.append(_finding(period, f"E|{entry.seq:016}", message))
        return found


def _finding(period: str, row: str, message: str) -> AnchorFinding:
    return AnchorFinding(row, f"audit log of {period}: {message}")
