"""One admitted attempt, and the ways to book it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from shared.application.inference.response_owner import ResponseOwner
from shared.application.ports.clock import Clock
from shared.application.ports.inference import Tokenizer
from shared.application.ports.ledger import Ledger
from shared.application.telemetry.attempt_trace import AttemptTrace, Measure
from shared.domain.content_filter import findings_text
from shared.domain.errors import StorageUnavailable
from shared.domain.identifiers import label
from shared.domain.inference.model_facts import context_window, hides_output
from shared.domain.ledger.amounts import Amount
from shared.domain.ledger.balance import Balance
from shared.domain.ledger.entries import Attempt, EntryKind, Outcome, Reservation
from shared.domain.pricing.price_book import NO_PRICES, PriceBook
from shared.domain.pricing.rate_card import RateCard
from shared.domain.pricing.rates import AppliedPrice, Rates
from shared.domain.pricing.usage import NOTHING_STATED, NOTHING_USED, LeastTokens, Usage, limited
from shared.domain.values import fact

_MOST_TOKENS_PER_HELD: Final = 4
"""Tokens that upstream may state for each one that was held, where that is more than a context window."""


@fact
class MeteredAttempt:
    """A reservation whose attempt is under way. Exactly one of its booking methods is called."""

    ledger: Ledger
    clock: Clock
    tokenizer: Tokenizer
    reservation: Reservation
    trace: AttemptTrace
    """Measures the attempt when it is settled."""
    rates: Rates
    rate_card: RateCard
    """The dearest of the rates, by which the reservation is held."""
    started_at: float
    """Monotonic seconds."""
    book: PriceBook = NO_PRICES
    """The prices as they were known when the attempt was admitted."""
    served: Attempt | None = None
    """The facts of the attempt if another deployment than the backend's has served it."""
    flag: str = ""
    """The reason why the rates are an assumption, if they are."""
    usual: Usage = NOTHING_USED
    """The probable consumption, for answers that do not show it: output tokens and other units."""
    choices: int = 1
    """The most answers that may be generated."""
    response_owner: ResponseOwner | None = None
    """Set if the answer is a response, by whose id upstream may be asked later."""

    async def charge(
        self,
        usage: Usage | None,
        *,
        at_least: LeastTokens = NOTHING_STATED,
        units: Usage = NOTHING_USED,
        texts: Iterable[str] = (),
        status: int = 200,
        error_code: str = "",
        findings: Iterable[str] = (),
        service_tier: str = "",
        response_id: str = "",
    ) -> Balance:
        """Settle a complete or partial answer. Without a stated `usage`, its tokens are estimated from `texts`.

        - A usage without output is not believed of an answer that shows some.
        - `at_least` are tokens that upstream stated without a usage. The estimate is never below them.
        - `units` is the known consumption other than tokens. Tokens are estimated only if the model is priced by them.
        - Raises `LedgerUnavailable`; the ledger then retries the settlement.
        """
        is_whole = usage is not None and (usage.output or usage.audio_output)
        produced = 0 if is_whole else self.count(texts) or self.usual.output
        if usage is not None and produced and self.rate_card.charges_tokens:
            at_least = LeastTokens(input=usage.input_tokens)
            usage = None
        estimated = usage is None and (units is NOTHING_USED or self.rate_card.charges_tokens)
        if estimated and units is NOTHING_USED:
            units = self._usual_units
        if usage is None:
            usage = self._estimated_tokens(self._with_unseen(produced), at_least)
        if units is not NOTHING_USED:
            usage = usage + units
        outcome = self._charge(usage, status, error_code, findings, estimated=estimated, service_tier=service_tier)
        settling = self.ledger.settle(self.reservation, outcome)
        if self.response_owner is None or not response_id or not self.response_owner.is_stored:
            return await settling
        owner, tokens = self.response_owner, outcome.usage.total_tokens
        balance, _ = await asyncio.gather(settling, owner.remember(response_id, tokens))
        return balance

    async def charge_hold(self, status: int, error_code: str) -> Balance:
        """Settle with all tokens and units that were held, at the price of the hold: nobody can tell what was used.

        Raises `LedgerUnavailable`; the ledger then retries the settlement.
        """
        usage = self._estimated_tokens(self.reservation.output_tokens) + self._usual_units
        outcome = self._charge(usage, status, error_code, (), estimated=True, applied=AppliedPrice(self.rate_card))
        return await self.ledger.settle(self.reservation, outcome)

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
            served=self.served,
        )
        if self.trace.measure is not None:
            self._ended(outcome, self.trace.measure)
        return await self.ledger.settle(self.reservation, outcome)

    async def defer(self, response_id: str) -> bool:
        """Leave the settlement to the timer, because upstream still works on the response.

        Returns `False` if the hold was charged instead, because nobody could ask for the response later: it has no id,
        or another attempt has the same one. Raises `StorageUnavailable` if that is because it cannot be stored.
        A cancellation of the caller does not stop it.
        """
        return await asyncio.shield(self._defer(response_id))

    async def _defer(self, response_id: str) -> bool:
        owner = self.response_owner
        try:
            is_deferred = owner is not None and response_id != "" and await owner.defer(response_id, self._deferred)
        except StorageUnavailable:
            await self.charge_hold(200, "response_not_deferred")
            raise
        if not is_deferred:
            await self.charge_hold(200, "response_not_deferred")
        return is_deferred

    @property
    def facts(self) -> Attempt:
        """The facts of the attempt, as far as they are known."""
        return self.served or self.reservation.attempt

    @property
    def _deferred(self) -> Reservation:
        return self.reservation if self.served is None else replace(self.reservation, attempt=self.served)

    async def resolve(self, response_id: str) -> None:
        """Take a deferred settlement from the timer, because it is booked. Raises `StorageUnavailable`."""
        assert self.response_owner is not None, "it has deferred the settlement"
        await self.response_owner.resolve(response_id)

    @property
    def is_background(self) -> bool:
        """Tells whether upstream goes on working after the client has disconnected."""
        return self.response_owner is not None and self.response_owner.is_background

    def count(self, texts: Iterable[str]) -> int:
        """Count the tokens of generated texts."""
        model = self.facts.model
        return sum(self.tokenizer.count(text, model) for text in texts)

    def _estimated_tokens(self, output: int = 0, at_least: LeastTokens = NOTHING_STATED) -> Usage:
        """Estimate tokens if the model is priced by tokens; else nothing."""
        if not self.rate_card.charges_tokens:
            return NOTHING_USED
        held = self.reservation
        input_, output = max(held.input_tokens, at_least.input), max(output, at_least.output)
        rest = max(0, at_least.combined - input_ - output)
        return Usage(input=input_, output=output + rest) if held.output_tokens else Usage(input=input_ + rest)

    def _with_unseen(self, output: int) -> int:
        """Return the output to charge for what an answer shows: all that was held if the model reasons unseen."""
        held = self.reservation
        return max(output, held.output_tokens) if hides_output(self.facts.model) else output

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
        applied: AppliedPrice | None = None,
    ) -> Outcome:
        tokens = usage.total_tokens
        if tokens > _MOST_TOKENS_PER_HELD * self.reservation.amount.tokens or usage.images or usage.audio_seconds:
            possible = self._limited(usage)
            estimated, usage, tokens = estimated or possible is not usage, possible, possible.total_tokens
        price, served = applied or self.rates.applied(service_tier, usage), self.served
        rate_card = price.rate_card
        if rate_card.version != self.reservation.attempt.price_version:
            served = replace(self.facts, price_version=rate_card.version)
        outcome = Outcome(
            kind=EntryKind.CHARGE,
            amount=Amount(tokens, rate_card.cost(usage)),
            usage=usage,
            status=status,
            error_code=error_code,
            latency_ms=self._latency_ms(),
            estimated=estimated,
            content_filter=findings_text(findings),
            service_tier=label(service_tier) if service_tier else "",
            price_flags=price.flagged(self.flag) if self.flag else price.flags_text,
            superseded=superseded,
            served=served,
        )
        if self.trace.measure is not None:
            self._ended(outcome, self.trace.measure)
        return outcome

    def _limited(self, usage: Usage) -> Usage:
        """Cut a usage to what the request can have used, so that no answer can take more than that from the quota."""
        held = self.reservation
        window, most_held = context_window(self.facts.model), _MOST_TOKENS_PER_HELD * held.amount.tokens
        return limited(usage, max(window, most_held), max(window * self.choices, most_held), held.units)

    def _ended(self, outcome: Outcome, measure: Measure) -> None:
        """Note the end of the attempt, and measure it. The settlement follows at once."""
        trace = self.trace
        trace.reservation, trace.outcome, trace.ended_at = self.reservation, outcome, self.clock.monotonic()
        measure(trace, self.reservation, outcome)

    def _latency_ms(self) -> int:
        return round((self.clock.monotonic() - self.started_at) * 1000)
