"""One admitted upstream attempt, and how it is booked."""

from __future__ import annotations

from collections.abc import Iterable

from shared.application.ports import Clock, Ledger, Tokenizer
from shared.domain.ledger import Amount, Balance, EntryKind, Outcome, Reservation
from shared.domain.pricing import RateCard
from shared.domain.usage import Usage
from shared.domain.values import value


@value
class MeteredAttempt:
    """A reservation whose attempt is under way. Exactly one of `charge` and `void` is to be called."""

    ledger: Ledger
    clock: Clock
    tokenizer: Tokenizer
    reservation: Reservation
    rates: RateCard
    started_at: float

    async def charge(
        self,
        usage: Usage,
        *,
        status: int,
        error_code: str = "",
        estimated: bool = False,
        content_filter: Iterable[str] = (),
    ) -> Balance:
        """Settle with what was consumed; returns the balance after it."""
        outcome = Outcome(
            kind=EntryKind.CHARGE,
            amount=Amount(usage.total_tokens, self.rates.cost(usage)),
            usage=usage,
            status=status,
            error_code=error_code,
            latency_ms=self._latency_ms(),
            estimated=estimated,
            content_filter=",".join(sorted(content_filter)),
        )
        return await self.ledger.settle(self.reservation, outcome)

    async def charge_estimate(
        self, output_tokens: int, *, status: int, error_code: str, content_filter: Iterable[str] = ()
    ) -> Balance:
        """Settle with all of the input and the output that was counted, where upstream stated no usage."""
        usage = Usage(input=self.reservation.input_tokens, output=output_tokens)
        return await self.charge(
            usage, status=status, error_code=error_code, estimated=True, content_filter=content_filter
        )

    async def void(self, *, status: int, error_code: str) -> Balance:
        """Settle with nothing: upstream provably did not bill."""
        outcome = Outcome(EntryKind.VOID, status=status, error_code=error_code, latency_ms=self._latency_ms())
        return await self.ledger.settle(self.reservation, outcome)

    def count(self, texts: Iterable[str]) -> int:
        """Tokens of generated texts."""
        model = self.reservation.attempt.model
        return sum(self.tokenizer.count(text, model) for text in texts)

    def _latency_ms(self) -> int:
        return round((self.clock.monotonic() - self.started_at) * 1000)
