"""Hedged requests: ask a second backend if the first is slow to begin. Whichever begins first serves."""

from __future__ import annotations

import asyncio

from shared.application.background import Background
from shared.application.inference.attempt_backend import AttemptBackend, Reached, Served
from shared.application.inference.book_answer import AttemptFailed
from shared.application.inference.resolved_request import ResolvedRequest, ServingState
from shared.application.routing.backend_slot import BackendSlot
from shared.application.routing.dispatch import Dispatcher
from shared.domain.errors import GatewayError
from shared.domain.routing.answer import Meaning


class Hedge:
    """Races two attempts at one request. The loser is cancelled and its input is charged."""

    def __init__(
        self, attempt: AttemptBackend, dispatcher: Dispatcher, background: Background, max_attempts: int
    ) -> None:
        self._attempt = attempt
        self._dispatcher = dispatcher
        self._background = background
        self._max_attempts = max_attempts

    async def __call__(
        self, request: ResolvedRequest, state: ServingState, slot: BackendSlot, after_seconds: float
    ) -> Served:
        """Serve the request. A second attempt begins `after_seconds` without an answer.

        Raises `AttemptFailed` if all attempts of the race failed.
        """
        racing = {asyncio.create_task(self._attempt.reach(request, state, slot))}
        try:
            done, _ = await asyncio.wait(racing, timeout=after_seconds)
            if not done and state.attempts < self._max_attempts:
                second = self._dispatcher.take_slot(
                    request.pool, request.tenant, request.tokens, {*state.tried, slot.backend.backend_id}
                )
                if second is not None:
                    racing.add(asyncio.create_task(self._attempt.reach(request, state, second)))
            served = None
            while served is None:
                served = await self._first(request, state, racing)
            return served
        finally:
            await self._cancel(racing)

    async def _first(
        self, request: ResolvedRequest, state: ServingState, racing: set[asyncio.Task[Reached]]
    ) -> Served | None:
        """Take the first attempt that ends. Returns `None` if it failed while another is under way."""
        done, _ = await asyncio.wait(racing, return_when=asyncio.FIRST_COMPLETED)
        first = min(done, key=lambda task: task.exception() is not None)
        racing.discard(first)
        try:
            reached = first.result()
            if _has_won(reached):
                state.has_winner = True
                await self._cancel(racing)
            served = await self._attempt.answer(request, state, reached)
            state.has_winner = True
            return served
        except AttemptFailed as failed:
            if not racing:
                raise
            await failed.book(superseded=True)
        except GatewayError:
            if not racing:
                raise
        return None

    async def _cancel(self, racing: set[asyncio.Task[Reached]]) -> None:
        """Cancel the attempts that have lost, and book what they consumed."""
        for task in racing:
            task.cancel()
        for ended in await asyncio.gather(*racing, return_exceptions=True):
            if isinstance(ended, AttemptFailed):
                self._background.start(ended.book(superseded=True))
            elif isinstance(ended, Reached):
                self._attempt.abandon(ended)
        racing.clear()


def _has_won(reached: Reached) -> bool:
    """Tell whether the head of an answer ends the race: the client will get this answer."""
    return reached.answer.error is None and reached.answer.meaning is not Meaning.UNDECIDED
