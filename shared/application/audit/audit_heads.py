"""The heads of the audit log's chains: one for each month."""

from __future__ import annotations

from collections.abc import AsyncIterator, Set

from shared.application.ports.audit import AuditChain
from shared.application.sweep import Failures
from shared.domain.audit.anchor_files import ChainHead, group_of, unread_head
from shared.domain.audit.audit_chain import chain_name


class AuditHeads:
    """Implements `HeadSource` for the audit log. No chain is ever closed: an event may be chained late."""

    def __init__(self, chain: AuditChain) -> None:
        self._chain = chain

    async def heads(self, final: Set[str]) -> AsyncIterator[ChainHead]:
        failures = Failures()
        async for period in self._chain.periods():
            name = chain_name(period)
            if group_of(name) in final:
                continue
            try:
                found = await self._chain.head(period)
            except Exception as error:  # noqa: BLE001 - raised at the end, with its chain
                failures.add(name, error)
                yield unread_head(name)
            else:
                if found is not None:
                    yield ChainHead(chain=name, seq=found.seq, head=found.head)
        failures.raise_any()
