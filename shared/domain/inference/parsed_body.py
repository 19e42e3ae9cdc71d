"""The parts of a request's body and of an answer that the gateway reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from shared.domain.pricing.price_book import TOKENS, Basis
from shared.domain.pricing.usage import NOTHING_STATED, NOTHING_USED, LeastTokens, Usage
from shared.domain.values import fact, value


class EventReader(Protocol):
    """Reads one streamed answer while it passes through."""

    usage: Usage | None
    """The tokens that upstream stated for all text so far; `None` if it stated none that can be booked."""
    at_least: LeastTokens
    """Without a `usage`, the tokens that upstream stated all the same."""
    units: Usage
    """The consumption other than tokens, as far as the answer shows it."""
    findings: set[str]
    """The content filter's findings so far."""
    service_tier: str
    response_id: str
    """Empty if upstream states none, or none by which it could be asked later."""
    is_background: bool
    """Upstream says that it goes on working on the response without its caller."""
    ended: bool
    """Upstream has marked the stream as complete."""
    is_text: bool
    """The stream consists of server-sent events; otherwise it is sound."""

    def feed(self, chunk: bytes) -> bytes:
        """Read a chunk, and return the complete events that may be sent now.

        Withholds the events that end the stream, so that it can be booked before its end is sent.
        """
        ...

    def end(self) -> None:
        """Read what is left at the end of the body: a last event without the blank line that ends events."""
        ...

    def ending(self) -> bytes:
        """Return the withheld events."""
        ...

    def texts(self, events: bytes) -> Sequence[str]:
        """Return the generated text of events, one string for each choice."""
        ...


@value
class TokenEstimate:
    """An estimate of input tokens."""

    usual: int
    """Charged if upstream states no usage."""
    most: int
    """Reserved."""
    is_bounded: bool = True
    """Upstream cannot bill more than `most`, as far as its rules are known."""

    def __add__(self, other: TokenEstimate) -> TokenEstimate:
        is_bounded = self.is_bounded and other.is_bounded
        return TokenEstimate(self.usual + other.usual, self.most + other.most, is_bounded)


NO_TOKENS: Final = TokenEstimate(0, 0)
BOUNDED: Final[frozenset[str]] = frozenset()


@fact
class ParsedBody:
    """The parts of a request's body that the gateway reads. All other parts are forwarded unread."""

    raw: bytes
    content_type: str
    model: str | None
    reader: Callable[[], EventReader] | None = None
    """Makes a reader of the answer; `None` unless the caller asks for a stream."""
    user: str = ""
    texts: Sequence[str] = ()
    """The texts whose tokens are input tokens."""
    fixed_tokens: int = 0
    """Input tokens in addition to those of `texts`."""
    input_margin: int = 0
    """The most by which the count of input tokens may be too low."""
    media: Callable[[str], TokenEstimate] | None = None
    """Estimates the tokens of images, sound and files for a model; `None` if there are none."""
    predictions: Sequence[str] = ()
    """Texts that the caller predicts. Each choice may be billed for their tokens, beside its own output."""
    unbounded: frozenset[str] = BOUNDED
    """Parts of the consumption that nothing bounds: `input`, `output` or `units`. A missing cap is not meant."""
    choices: int = 0
    """The most answers that may be generated."""
    max_output_tokens: int | None = None
    """The cap on the output tokens of each choice; `None` if neither caller nor operation sets one."""
    unseen_output_tokens: int = 0
    """The probable output tokens of an answer that shows no text."""
    units: Usage = NOTHING_USED
    """The most that may be consumed other than tokens."""
    usual_units: Usage | None = None
    """The probable consumption other than tokens; `None` if it equals `units`."""
    answer_form: str = ""
    """The form of the answer that the caller asks for, where the gateway may ask upstream for another one."""
    basis: Basis = TOKENS
    service_tier: str = ""
    """The tier that the caller names: `default` or another; empty if it leaves the choice to upstream."""
    previous_response_id: str = ""
    """The response that this one follows. Responses API only, as are the next three."""
    may_run_on: bool = False
    """Upstream may answer with the id of a response on which it still works."""
    is_stored: bool = False
    """Upstream stores the response."""
    is_background: bool = False
    """Upstream creates the response in the background."""


@value
class Replacement:
    """An answer in the form that the caller asked for, in place of upstream's."""

    body: bytes
    content_type: bytes


@fact
class Completion:
    """The parts of an answer that the gateway reads."""

    usage: Usage | None
    """The tokens that upstream stated; `None` if it stated none that can be booked."""
    at_least: LeastTokens = NOTHING_STATED
    """Without a `usage`, the tokens that upstream stated all the same."""
    findings: frozenset[str] = frozenset()
    texts: Sequence[str] = ()
    """The generated text, one string for each choice. Filled only if `usage` is `None` or states no output."""
    units: Usage = NOTHING_USED
    """The consumption other than tokens, as far as the answer shows it."""
    service_tier: str = ""
    response_id: str = ""
    """Empty if upstream states none, or none by which it could be asked later."""
    is_running: bool = False
    """Upstream still works on the response."""
    has_failed: bool = False
    """Upstream could not finish the response."""
    replacement: Replacement | None = None
    """Sent to the caller in place of upstream's answer; `None` if that is sent as it is."""
