"""One admitted upstream attempt, and how it is booked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable

from shared.application.inference.remember_response import KeepResponse
from shared.application.ports.clock import Clock
from shared.application.ports.inference import Tokenizer
from shared.application.ports.ledger import Ledger
from shared.domain.content_filter import noted
from shared.domain.ledger.amounts import Amount
from shared.domain.ledger.balance import Balance
from shared.domain.ledger.entries import EntryKind, Outcome, Reservation
from shared.domain.pricing.price_book import RateCard
from shared.domain.pricing.usage import NOTHING_USED, Usage
from shared.domain.values import value


@value
class MeteredAttempt:
    """A reservation whose attempt is under way. Exactly one of its booking methods is to be called.

    `usual` is what it probably consumes, tokens of output and other units, where no answer shows it.
    """

    ledger: Ledger
    clock: Clock
    tokenizer: Tokenizer
    reservation: Reservation
    rates: RateCard
    started_at: float
    usual: Usage = NOTHING_USED
    keeper: KeepResponse | None = None

    async def charge(
        self,
        usage: Usage | None,
        *,
        units: Usage = NOTHING_USED,
        texts: Iterable[str] = (),
        status: int = 200,
        error_code: str = "",
        findings: Iterable[str] = (),
        service_tier: str = "",
        response_id: str = "",
    ) -> Balance:
        """Settle an answer, whole or not: with the tokens that upstream stated, or with an estimate from what it said.

        `units` is what it is known to have consumed beside tokens. Tokens are estimated only where they are charged.
        """
        estimated = usage is None and (units is NOTHING_USED or self.rates.charges_tokens)
        if estimated and units is NOTHING_USED:
            units = self._usual_units
        if usage is None:
            usage = self._estimated_tokens(self.count(texts) or self.usual.output)
        if units is not NOTHING_USED:
            usage = usage + units
        settling = self._settle(usage, status, error_code, findings, service_tier, estimated=estimated)
        if self.keeper is None or not response_id:
            return await settling
        balance, _ = await asyncio.gather(settling, self.keeper.finished(response_id, usage.total_tokens))
        return balance

    @property
    def is_background(self) -> bool:
        """Whether upstream goes on working when nobody listens."""
        return self.keeper is not None and self.keeper.is_background

    async def defer(self, response_id: str) -> None:
        """Leave the settlement to the timer: upstream still works on the response."""
        assert self.keeper is not None, "upstream keeps what it makes in the background"
        await self.keeper.running(response_id, self.reservation)

    async def charge_input(
        self, status: int, error_code: str, *, findings: Iterable[str] = (), superseded: bool = False
    ) -> Balance:
        """Settle with what was sent and no output: upstream may have worked on it, or refused it after reading it.

        `superseded` says that another attempt at the same request follows or has won.
        """
        usage = self._estimated_tokens() + Usage(audio_seconds=self.usual.audio_seconds)
        return await self._settle(usage, status, error_code, findings, "", estimated=True, superseded=superseded)

    async def void(self, status: int, error_code: str, *, superseded: bool = False) -> Balance:
        """Settle with nothing: upstream provably did not bill."""
        outcome = Outcome(
            EntryKind.VOID,
            status=status,
            error_code=error_code,
            latency_ms=self._latency_ms(),
            superseded=superseded,
        )
        return await self.ledger.settle(self.reservation, outcome)

    def count(self, texts: Iterable[str]) -> int:
        """Tokens of generated texts."""
        model = self.reservation.attempt.model
        return sum(self.tokenizer.count(text, model) for text in texts)

    def _estimated_tokens(self, output: int = 0) -> Usage:
        """An estimate of tokens, for a model that charges any."""
        return Usage(input=self.reservation.input_tokens, output=output) if self.rates.charges_tokens else NOTHING_USED

    @property
    def _usual_units(self) -> Usage:
        usual = self.usual
        return Usage(images=usual.images, speech_characters=usual.speech_characters, audio_seconds=usual.audio_seconds)

    def _settle(
        self,
        usage: Usage,
        status: int,
        error_code: str,
        findings: Iterable[str],
        service_tier: str,
        *,
        estimated: bool,
        superseded: bool = False,
    ) -> Awaitable[Balance]:
        amount = Amount(usage.total_tokens, self.rates.cost(usage))
        outcome = Outcome(  # by place: ADR 13
            EntryKind.CHARGE,
            amount,
            usage,
            status,
            error_code,
            self._latency_ms(),
            estimated,
            noted(findings),
            service_tier,
            superseded,
        )
        return self.ledger.settle(self.reservation, outcome)

    def _latency_ms(self) -> int:
        return round((self.clock.monotonic() - self.started_at) * 1000)
