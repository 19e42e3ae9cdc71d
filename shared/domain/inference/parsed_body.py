"""The parts of a request's body and of an answer that the gateway reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from shared.domain.pricing.price_book import TOKENS, Basis
from shared.domain.pricing.usage import NOTHING_USED, Usage
from shared.domain.values import record


class EventReader(Protocol):
    """Reads one streamed answer as it passes. `usage` and `units` are what a `Completion` has by these names."""

    usage: Usage | None
    units: Usage
    findings: set[str]
    service_tier: str
    response_id: str
    ended: bool
    """Whether upstream said that the stream is complete."""
    is_text: bool
    """Whether the stream is made of events, and not of sound."""

    def feed(self, chunk: bytes) -> bytes:
        """The complete events that may go to the caller now; what ends the stream is withheld."""
        ...

    def ending(self) -> bytes:
        """What was withheld."""
        ...

    def texts(self, events: bytes) -> Sequence[str]:
        """The generated text in released events, one string a choice."""
        ...


@record
class ParsedBody:
    """What the gateway reads of a request's body; everything else passes through unread.

    `reader` makes a reader of the answer where a stream is asked for. Input tokens are those of `texts` and
    `fixed_tokens`; `input_margin` is what that count may be short of the truth. Up to `choices` answers of
    `max_output_tokens` each are generated, where the caller or the operation caps them; `unseen_output_tokens` is what
    is probably generated where no text shows it. `units` is what is consumed at most beside tokens, and `usual_units`
    what probably is, where that differs. The last three are of responses: what they follow, whether upstream keeps
    them, and whether they are made in the background.
    """

    raw: bytes
    content_type: str
    model: str | None
    reader: Callable[[], EventReader] | None = None
    user: str = ""
    texts: Sequence[str] = ()
    fixed_tokens: int = 0
    input_margin: int = 0
    choices: int = 0
    max_output_tokens: int | None = None
    unseen_output_tokens: int = 0
    units: Usage = NOTHING_USED
    usual_units: Usage | None = None
    basis: Basis = TOKENS
    previous_response_id: str = ""
    is_stored: bool = False
    is_background: bool = False


@record
class Completion:
    """What the gateway reads of an answer.

    `usage` is the tokens that upstream stated, or `None` if it stated none; then `texts` is what was generated, one
    string a choice. `units` is what was consumed beside tokens, as far as the answer shows it.
    """

    usage: Usage | None
    findings: frozenset[str] = frozenset()
    texts: Sequence[str] = ()
    units: Usage = NOTHING_USED
    service_tier: str = ""
    response_id: str = ""
    is_running: bool = False
    """Whether upstream still works on it."""
