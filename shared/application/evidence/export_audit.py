"""Copy the audit log into an evidence package, the history of the configuration, and the states of documents."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Final

from shared.application.evidence.read_documents import DocumentsMove, ReadDocuments, document_lines
from shared.application.evidence.replay_audit import FORMAT, is_configuration
from shared.application.ports.audit import AuditChain, AuditedDocument, AuditPeriods, DocumentPlace
from shared.application.ports.evidence import EvidenceFiles
from shared.domain.audit.audit_chain import AuditHead, audit_genesis
from shared.domain.audit.hash_chain import canonical
from shared.domain.audit.package_paths import AUDIT, CONFIGURATION, DOCUMENTS

_READING_ATTEMPTS: Final = 5
_CONFIGURATION_FILE: Final = "configuration"
_DOCUMENTS_FILE: Final = "documents"


class ExportAudit:
    """Copies the log of each month up to its head at that moment, and all documents as they were then."""

    def __init__(self, chain: AuditChain, periods: AuditPeriods, documents: ReadDocuments) -> None:
        self._chain = chain
        self._periods = periods
        self._documents = documents
        self._copied: Mapping[DocumentPlace, AuditedDocument] = {}

    async def __call__(self, package: EvidenceFiles, tenant: str | None, folder: Path) -> dict[str, int]:
        """Returns the number of events of each month. `folder` is for temporary files.

        Raises `DocumentsMove` if documents change during each reading, and `StorageUnavailable`.
        """
        if tenant is not None:
            await self._write_log(tenant, folder)
            package.add_file(CONFIGURATION, folder / _CONFIGURATION_FILE)
            return {}
        counts = await self._write_all(folder)
        for period in counts:
            package.add_file(f"{AUDIT}/{period}.jsonl", folder / period)
        package.add_file(CONFIGURATION, folder / _CONFIGURATION_FILE)
        package.add_file(DOCUMENTS, folder / _DOCUMENTS_FILE)
        return counts

    async def require_same_prices(self) -> None:
        """Raise `DocumentsMove` if prices have changed since they were copied: books may name others already."""
        await self._documents.require_prices(self._copied)

    async def _write_all(self, folder: Path) -> dict[str, int]:
        """Write the log while no document changes, so that both agree."""
        for _ in range(_READING_ATTEMPTS):
            documents = await self._documents()
            removed = await self._documents.removals(documents)
            counts = await self._write_log(None, folder)
            if await self._documents() == documents:
                with (folder / _DOCUMENTS_FILE).open("wb") as file:
                    file.writelines(document_lines(documents, removed))
                self._copied = documents
                return counts
        raise DocumentsMove

    async def _write_log(self, tenant: str | None, folder: Path) -> dict[str, int]:
        """Write the log of each month into a file of its name, and the history of the configuration."""
        counts: dict[str, int] = {}
        with (folder / _CONFIGURATION_FILE).open("wb") as configuration:
            periods = [period async for period in self._chain.periods()]
            for head in [head for period in periods if (head := await self._chain.head(period))]:
                counts[head.period] = head.seq
                with (folder / head.period).open("wb") as lines:
                    async for line, event in self._lines(head):
                        lines.write(line + b"\n")
                        if is_configuration(event, tenant):
                            configuration.write(event.encode() + b"\n")
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
