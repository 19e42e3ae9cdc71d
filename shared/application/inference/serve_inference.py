"""Serve one inference request: resolve it, wait for a backend, and try one backend after the other."""

from __future__ import annotations

import asyncio

from shared.application.background import Background
from shared.application.inference.attempt_backend import AttemptBackend, Served
from shared.application.inference.book_answer import AttemptFailed
from shared.application.inference.hedge import Hedge
from shared.application.inference.incoming_call import IncomingCall
from shared.application.inference.note_failover import NoteFailover
from shared.application.inference.resolve_request import ResolveRequest
from shared.application.inference.resolved_request import ResolvedRequest, ServingState
from shared.application.ports.clock import Clock
from shared.application.ports.formats import InferenceFormat
from shared.application.routing.backend_slot import BackendSlot
from shared.application.routing.dispatch import Dispatcher
from shared.application.routing.tenant_turns import TenantTurns
from shared.application.tenancy.principals import TenantPrincipal
from shared.domain.errors import BackendUnavailable, GatewayError
from shared.domain.values import value


@value
class FailoverPolicy:
    """The most attempts of a request, and the seconds within which another attempt may begin."""

    attempts: int
    seconds: float


class ServeInference:
    """The use case of every inference route. Each attempt is booked once, and each slot is released."""

    def __init__(
        self,
        resolve: ResolveRequest,
        attempt: AttemptBackend,
        dispatcher: Dispatcher,
        turns: TenantTurns,
        clock: Clock,
        background: Background,
        failover: FailoverPolicy,
        note_failover: NoteFailover,
    ) -> None:
        self._note_failover = note_failover
        self._resolve = resolve
        self._attempt = attempt
        self._hedge = Hedge(attempt, dispatcher, background, failover.attempts)
        self._dispatcher = dispatcher
        self._turns = turns
        self._clock = clock
        self._background = background
        self._failover = failover

    async def __call__(self, caller: TenantPrincipal, call: IncomingCall, format_: InferenceFormat) -> Served:
        """Serve one call of a tenant that was checked before. Raises the errors of docs/reference/errors.md.

        Everything that was consumed is in the ledger, whatever is raised.
        """
        request = await self._resolve(caller, call, format_)
        call.trace.deployment = request.deployment.name
        state = ServingState(input_tokens={request.model: request.input_tokens})
        if caller.tenant.max_concurrent_requests is not None:
            state.release_turn = await self._turns.wait(caller.tenant, call.wait_for_disconnect)
        try:
            return await self._serve(request, state)
        except GatewayError as error:
            error.limit_status, error.attempts = state.limit_status or error.limit_status, state.attempts
            raise
        finally:
            if state.release_turn is not None:
                state.release_turn()

    async def _serve(self, request: ResolvedRequest, state: ServingState) -> Served:
        slot = await self._first_slot(request)
        state.deadline = slot.started_at + self._failover.seconds
        hedge_after_ms = None if request.body.is_stored else request.deployment.hedge_after_ms
        while True:
            try:
                if hedge_after_ms is not None:
                    return await self._hedge(request, state, slot, hedge_after_ms / 1000)
                return await self._attempt.answer(request, state, await self._attempt.reach(request, state, slot))
            except AttemptFailed as failed:
                slot = await self._fail_over(request, state, failed)

    async def _first_slot(self, request: ResolvedRequest) -> BackendSlot:
        """Take a slot at once if a backend is ready and nobody waits, else wait in the fair queue."""
        pool, tokens, point = request.pool, request.tokens, request.affinity_point
        slot = self._dispatcher.take_slot_now(pool, request.tenant, tokens, (), point)
        if slot is not None:
            return slot
        return await self._dispatcher.wait_for_slot(
            pool, request.tenant, tokens, (), point, wait_for_disconnect=request.call.wait_for_disconnect
        )

    async def _fail_over(self, request: ResolvedRequest, state: ServingState, failed: AttemptFailed) -> BackendSlot:
        """Take a slot at another backend, and book the attempt that failed. Raises its error if there is none."""
        slot = None
        try:
            slot = await self._another_slot(request, state)
        except BackendUnavailable:
            pass
        except asyncio.CancelledError:
            self._background.start(failed.book(superseded=False))
            raise
        try:
            await failed.book(superseded=slot is not None)
        except BaseException:
            if slot is not None:
                slot.release()
            raise
        if slot is None:
            error = failed.error
            if error.retry_after_seconds is None or len(request.pool.candidates) > 1:
                error.retry_after_seconds = self._dispatcher.retry_after_seconds(request.pool)
            raise error
        self._note_failover(request, failed, slot.backend)
        return slot

    async def _another_slot(self, request: ResolvedRequest, state: ServingState) -> BackendSlot:
        seconds = state.deadline - self._clock.monotonic()
        if state.attempts >= self._failover.attempts or seconds <= 0:
            raise BackendUnavailable("No further attempt is allowed.")
        return await self._dispatcher.wait_for_slot(
            request.pool,
            request.tenant,
            request.tokens,
            state.tried,
            request.affinity_point,
            seconds,
            request.call.wait_for_disconnect,
        )
