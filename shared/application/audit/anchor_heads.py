"""Anchor the heads of all hash chains: a signed leaf of a log that only grows (ADR 35)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from shared.application.audit.anchor_log import AnchorLog, LogState
from shared.application.ports.anchors import HeadSource, Witness
from shared.application.sweep import Failures, SweepFailed
from shared.domain.audit.anchor_files import UNREAD, ChainHead, head_faults, unread_head
from shared.domain.errors import GatewayError
from shared.domain.values import record

WITNESS_SECONDS: Final = 20.0
"""The longest time that one witness may take."""


class ChainDamaged(GatewayError):
    """A chain lost entries, has others than before, or its head is none. The message tells which."""


@record
class Anchored:
    """The result of a run."""

    size: int
    """The number of leaves of the log."""
    heads: int
    """The number of chains in the new leaf."""


class AnchorHeads:
    """Writes a leaf with the heads of all chains, signs the log, and hands the checkpoint to witnesses.

    Idempotent in its effect: another run, also one at the same time, adds a leaf or goes on with that of the other.
    """

    def __init__(self, log: AnchorLog, sources: Sequence[HeadSource], witnesses: Sequence[Witness] = ()) -> None:
        self._log = log
        self._sources = sources
        self._witnesses = witnesses

    async def __call__(self) -> Anchored:
        """Anchor once.

        - Raises `AnchorsDamaged` if files of the log are gone or others: then nothing is signed.
        - Raises `StorageUnavailable` if chains cannot be listed, or a file cannot be written. The next run continues.
        - Raises `SweepFailed` at the end for chains that could not be read or lost entries, and for witnesses. The leaf
          is written all the same, and shows them.
        """
        failures = Failures()
        state = await self._log.resume()
        before = await self._log.heads(state.last) if state.last else ()
        final = frozenset(state.final)
        heads = await self._gather(final, failures)
        heads = await self._log.append(state, heads)
        known = {head.chain: head for head in before if head.seq != UNREAD}
        for chain, fault in head_faults(known, heads, final):
            failures.add(chain, ChainDamaged(f"the chain {fault}"))
        await self._tell(state, failures)
        failures.raise_any()
        return Anchored(size=state.log.size, heads=len(heads))

    async def _gather(self, final: frozenset[str], failures: Failures) -> Sequence[ChainHead]:
        """Return the heads of all chains, sorted."""
        heads: list[ChainHead] = []
        for source in self._sources:
            try:
                async for head in source.heads(final):
                    heads.append(self._sound(head, failures))  # noqa: PERF401 - those before the error count
            except SweepFailed as error:
                for name, cause in error.failures:
                    failures.add(name, cause)
        return sorted(heads, key=lambda head: head.chain)

    def _sound(self, head: ChainHead, failures: Failures) -> ChainHead:
        if head.is_sound or head == unread_head(head.chain):
            return head
        failures.add(head.chain, ChainDamaged("the head of the chain is no number and hash of an entry"))
        return unread_head(head.chain)

    async def _tell(self, state: LogState, failures: Failures) -> None:
        for witness in self._witnesses:
            with failures.collected(witness.name):
                async with asyncio.timeout(WITNESS_SECONDS):
                    await witness.tell(state.log.size, state.checkpoint, self._log.store)
