"""One admitted attempt, and the ways to book it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from shared.application.inference.response_owner import ResponseOwner
from shared.application.ports.clock import Clock
from shared.application.ports.inference import Tokenizer
from shared.application.ports.ledger import Ledger
from shared.domain.content_filter import findings_text
from shared.domain.ledger.amounts import Amount
from shared.domain.ledger.balance import Balance
from shared.domain.ledger.entries import EntryKind, Outcome, Reservation
from shared.domain.pricing.price_book import RateCard
from shared.domain.pricing.usage import NOTHING_USED, Usage
from shared.domain.values import fact


@fact
class MeteredAttempt:
    """A reservation whose attempt is under way. Exactly one of its booking methods is called."""

    ledger: Ledger
    clock: Clock
    tokenizer: Tokenizer
    reservation: Reservation
    rate_card: RateCard
    started_at: float
    """Monotonic seconds."""
    usual: Usage = NOTHING_USED
    """The probable consumption, for answers that do not show it: output tokens and other units."""
    response_owner: ResponseOwner | None = None
    """Set if upstream stores the response."""

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
        """Settle a complete or partial answer. Without a stated `usage`, its tokens are estimated from `texts`.

        `units` is the known consumption other than tokens. Tokens are estimated only if the model is priced by tokens.
        Raises `LedgerUnavailable`; the ledger then retries the settlement.
        """
        estimated = usage is None and (units is NOTHING_USED or self.rate_card.charges_tokens)
        if estimated and units is NOTHING_USED:
            units = self._usual_units
        if usage is None:
            usage = self._estimated_tokens(self.count(texts) or self.usual.output)
        if units is not NOTHING_USED:
            usage = usage + units
        outcome = self._charge(usage, status, error_code, findings, estimated=estimated, service_tier=service_tier)
        settling = self.ledger.settle(self.reservation, outcome)
        if self.response_owner is None or not response_id:
            return await settling
        balance, _ = await asyncio.gather(settling, self.response_owner.remember(response_id, usage.total_tokens))
        return balance

    async def charge_input(
        self, status: int, error_code: str, *, findings: Iterable[str] = (), superseded: bool = False
    ) -> Balance:
        """Settle with the input alone: upstream may have processed it, or refused it after reading.

        `superseded` says that another attempt at the same request follows or has won.
        Raises `LedgerUnavailable`; the ledger then retries the settlement.
        """
        usage = self._estimated_tokens() + Usage(audio_seconds=self.usual.audio_seconds)
        outcome = self._charge(usage, status, error_code, findings, estimated=True, superseded=superseded)
        return await self.ledger.settle(self.reservation, outcome)

    async def void(self, status: int, error_code: str, *, superseded: bool = False) -> Balance:
        """Settle with nothing: upstream provably did not bill.

        Raises `LedgerUnavailable`; the ledger then retries the settlement.
        """
        outcome = Outcome(
            kind=EntryKind.VOID,
            status=status,
            error_code=error_code,
            latency_ms=self._latency_ms(),
            superseded=superseded,
        )
        return await self.ledger.settle(self.reservation, outcome)

    async def defer(self, response_id: str) -> None:
        """Leave the settlement to the timer, because upstream still works on the response."""
        assert self.response_owner is not None, "upstream stores every background response"
        await self.response_owner.defer(response_id, self.reservation)

    @property
    def is_background(self) -> bool:
        """Tells whether upstream goes on working after the client has disconnected."""
        return self.response_owner is not None and self.response_owner.is_background

    def count(self, texts: Iterable[str]) -> int:
        """Count the tokens of generated texts."""
        model = self.reservation.attempt.model
        return sum(self.tokenizer.count(text, model) for text in texts)

    def _estimated_tokens(self, output: int = 0) -> Usage:
        """Estimate tokens if the model is priced by tokens; else nothing."""
        if not self.rate_card.charges_tokens:
            return NOTHING_USED
        return Usage(input=self.reservation.input_tokens, output=output)

    @property
    def _usual_units(self) -> Usage:
        usual = self.usual
        return Usage(images=usual.images, speech_characters=usual.speech_characters, audio_seconds=usual.audio_seconds)

    def _charge(
        self,
        usage: Usage,
        status: int,
        error_code: str,
        findings: Iterable[str],
        *,
        estimated: bool,
        service_tier: str = "",
        superseded: bool = False,
    ) -> Outcome:
        return Outcome(
            kind=EntryKind.CHARGE,
            amount=Amount(usage.total_tokens, self.rate_card.cost(usage)),
            usage=usage,
            status=status,
            error_code=error_code,
            latency_ms=self._latency_ms(),
            estimated=estimated,
            content_filter=findings_text(findings),
            service_tier=service_tier,
            superseded=superseded,
        )

    def _latency_ms(self) -> int:
        return round((self.clock.monotonic() - self.started_at) * 1000)
