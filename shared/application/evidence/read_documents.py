"""Read the states of all audited documents for an evidence package."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from shared.application.audit.document_history import place_of
from shared.application.audit.verify_documents import MOST_WAITING
from shared.application.evidence.audit_lines import PRICES, object_of
from shared.application.ports.audit import AuditedDocument, AuditedDocuments, DocumentPlace, WaitingEvents
from shared.domain.audit.hash_chain import canonical
from shared.domain.errors import GatewayError
from shared.domain.stored_fields import Fields


class DocumentsMove(GatewayError):
    """Documents changed at each reading, or while the books were read."""

    def __init__(self) -> None:
        super().__init__("Prices, other documents or the audit log changed meanwhile. Run it again in a minute.")


class ReadDocuments:
    """Reads documents as SHA-256 of their texts, because texts may hold secrets. Prices are read with their texts."""

    def __init__(self, documents: AuditedDocuments, waiting: WaitingEvents) -> None:
        self._documents = documents
        self._waiting = waiting

    async def __call__(self) -> dict[DocumentPlace, AuditedDocument]:
        """Return all documents. Raises `StorageUnavailable`."""
        return {each.place: each async for each in self._documents.all()}

    async def removals(self, documents: Mapping[DocumentPlace, AuditedDocument]) -> dict[DocumentPlace, str]:
        """Return the waiting events by which documents were removed that are not among these.

        Raises `DocumentsMove` if the deletion of a month of the log waits to be told, and `StorageUnavailable`.
        """
        removed: dict[DocumentPlace, str] = {}
        for table in self._waiting.tables:
            waiting = await self._waiting.waiting(table, MOST_WAITING)
            events = sorted((row.event for row in waiting if row.event), key=lambda each: each.event_id)
            for fields in (object_of(event.text.encode()) for event in events):
                place = place_of(str(fields.get("place", "")))
                if fields.get("action") == "audit.delete":
                    raise DocumentsMove
                if place is not None and place not in documents:
                    removed[place] = str(fields["event_id"])
        return removed

    async def require_prices(self, documents: Mapping[DocumentPlace, AuditedDocument]) -> None:
        """Raise `DocumentsMove` if prices have changed since. Raises `StorageUnavailable`."""
        if _prices(documents) != _prices(await self()):
            raise DocumentsMove


def document_lines(
    documents: Mapping[DocumentPlace, AuditedDocument], removed: Mapping[DocumentPlace, str]
) -> Iterator[bytes]:
    """Yield a line for each document, and for each one whose removal is not chained yet, in the order of places."""
    lines: dict[str, Fields] = {}
    for document in documents.values():
        place = "/".join(document.place)
        lines[place] = {"event_id": document.event_id, "place": place, "sha256": document.sha256}
        if document.place[0] == PRICES:
            lines[place]["text"] = document.text
    for parts, event_id in removed.items():
        place = "/".join(parts)
        lines[place] = {"event_id": event_id, "place": place, "sha256": ""}
    for _, fields in sorted(lines.items()):
        yield canonical(fields) + b"\n"


def _prices(documents: Mapping[DocumentPlace, AuditedDocument]) -> list[AuditedDocument]:
    return [document for place, document in documents.items() if place[0] == PRICES]
