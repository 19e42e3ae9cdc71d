"""The recorded times and the result of one attempt at a backend."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from shared.domain.ledger.entries import Outcome, Reservation
from shared.domain.values import state

_GEN_AI_NAMES: Final[Mapping[str, str]] = {"completions": "text_completion", "responses": "chat"}
Measure: TypeAlias = "Callable[[AttemptTrace, Reservation, Outcome], None]"


@state
class AttemptTrace:
    """One attempt. It knows no request, so that both are freed without the garbage collector (ADR 12)."""

    measure: Measure | None
    """Called when the attempt is being settled; `None` if nothing is exported."""
    sent_at: float = 0.0
    """Monotonic seconds, as the following ones; 0 until then."""
    head_at: float = 0.0
    ended_at: float = 0.0
    status: int = 0
    """The status that the backend answered with."""
    reservation: Reservation | None = None
    outcome: Outcome | None = None


def gen_ai_operation(operation: str) -> str:
    """Return the name of an operation in OpenTelemetry's conventions, such as `chat`.

    https://opentelemetry.io/docs/specs/semconv/registry/attributes/gen-ai/
    """
    name = operation.removesuffix("/completions")
    return _GEN_AI_NAMES.get(name, name)
