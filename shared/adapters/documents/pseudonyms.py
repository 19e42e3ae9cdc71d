"""The aliases of users as documents in the table `pseudonyms`."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from shared.adapters.documents.audit import unplaced_row
from shared.adapters.documents.codec import to_json
from shared.adapters.documents.read_documents import read_document
from shared.adapters.documents.store import Documents, Write
from shared.application.ports.tenancy import Versioned
from shared.domain.audit.events import AuditEvent
from shared.domain.tenancy.pseudonyms import PseudonymState

PSEUDONYMS_TABLE: Final = "pseudonyms"
_STATE: Final = "state"
"""The key of the tenant's state. Those of aliases are hexadecimal."""


class DocumentPseudonyms:
    """Implements `Pseudonyms`, with a partition for each tenant."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def alias(self, tenant_id: str, key: str) -> str | None:
        found = await self._documents.get(PSEUDONYMS_TABLE, tenant_id, key)
        return None if found is None else read_document(str, PSEUDONYMS_TABLE, found)

    async def state(self, tenant_id: str) -> Versioned[PseudonymState]:
        found = await self._documents.get(PSEUDONYMS_TABLE, tenant_id, _STATE)
        return (
            Versioned(PseudonymState(), "")
            if found is None
            else Versioned(read_document(PseudonymState, PSEUDONYMS_TABLE, found), found.etag)
        )

    async def add(self, tenant_id: str, key: str, alias: str, before: str, after: PseudonymState) -> None:
        added = Write(key=key, text=to_json(alias), etag=None)
        await self._documents.commit(PSEUDONYMS_TABLE, tenant_id, [added, _state(before, after)])

    async def erase(
        self, tenant_id: str, keys: Collection[str], before: str, after: PseudonymState, event: AuditEvent
    ) -> None:
        removed = [Write(key=key, text=None, etag="*") for key in keys]
        await self._documents.commit(PSEUDONYMS_TABLE, tenant_id, [_state(before, after, event), *removed])


def _state(before: str, after: PseudonymState, event: AuditEvent | None = None) -> Write:
    row = None if event is None else unplaced_row(event)
    return Write(key=_STATE, text=to_json(after), etag=before or None, event=row)
