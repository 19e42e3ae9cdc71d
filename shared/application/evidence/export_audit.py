"""Copy the audit log into an evidence package, and the history of the configuration."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

from shared.application.evidence.replay_audit import FORMAT, is_configuration
from shared.application.ports.audit import AuditChain, AuditPeriods
from shared.application.ports.evidence import EvidenceFiles
from shared.domain.audit.audit_chain import AuditHead, audit_genesis
from shared.domain.audit.hash_chain import canonical
from shared.domain.audit.package_paths import AUDIT, CONFIGURATION


class ExportAudit:
    """Copies the log of each month up to its head at that moment."""

    def __init__(self, chain: AuditChain, periods: AuditPeriods) -> None:
        self._chain = chain
        self._periods = periods

    async def __call__(self, package: EvidenceFiles, tenant: str | None, folder: Path) -> dict[str, int]:
        """Returns the number of events of each month. `folder` is for temporary files. Raises `StorageUnavailable`."""
        counts: dict[str, int] = {}
        history, log = folder / "configuration", folder / "audit"
        with history.open("wb") as configuration:
            periods = [period async for period in self._chain.periods()]
            for head in [head for period in periods if (head := await self._chain.head(period))]:
                counts[head.period] = head.seq
                with log.open("wb") as lines:
                    async for line, event in self._lines(head):
                        lines.write(line + b"\n")
                        if is_configuration(event, tenant):
                            configuration.write(event.encode() + b"\n")
                if tenant is None:
                    package.add_file(f"{AUDIT}/{head.period}.jsonl", log)
        package.add_file(CONFIGURATION, history)
        return counts

    async def _lines(self, head: AuditHead) -> AsyncIterator[tuple[bytes, str]]:
        """Yield the head and each entry as lines, with the text of its event."""
        state = await self._periods.get(head.period)
        deleted = (state.deleted if state else None) or AuditHead(head.period, 0, audit_genesis(head.period))
        stated = {
            "deleted": {"head": deleted.head, "seq": deleted.seq},
            "format": FORMAT,
            "head": head.head,
            "period": head.period,
            "seq": head.seq,
        }
        yield json.dumps(stated, sort_keys=True, separators=(",", ":")).encode(), ""
        async for entry in self._chain.entries(head.period, deleted.seq + 1, head.seq):
            yield canonical(entry.sealed.fields()), entry.text
