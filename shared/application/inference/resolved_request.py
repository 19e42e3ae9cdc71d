"""A request whose body is parsed, whose deployment is known, and whose backends are found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from shared.application.inference.incoming_call import IncomingCall
from shared.application.ports.formats import InferenceFormat
from shared.application.routing.backend_slot import BackendSlot
from shared.application.tenancy.principals import TenantPrincipal
from shared.domain.inference.parsed_body import ParsedBody
from shared.domain.inference.stored_response import StoredResponse
from shared.domain.rate_limit import LimitStatus
from shared.domain.routing.catalog import Catalog, Deployment
from shared.domain.routing.selection import Pool
from shared.domain.tenancy.tenant import Tenant
from shared.domain.values import fact


@fact
class ResolvedRequest:
    """Everything about a request that stays as it is while it is served."""

    caller: TenantPrincipal
    user: str
    """The user of the entries: a person's id or alias, else the id of the key or of the application."""
    prompt_hmac: str = ""
    """The keyed hash of the prompt; empty unless the tenant asks for it."""
    call: IncomingCall
    format: InferenceFormat
    body: ParsedBody
    deployment: Deployment
    previous: StoredResponse | None
    """The stored response that this request follows."""
    catalog: Catalog
    pool: Pool
    """The backends that may serve it."""
    model: str
    """The model of the pool's first backend, by whose vocabulary `input_tokens` is counted."""
    input_tokens: int
    output_tokens: int
    """The most tokens that may be generated."""
    affinity_point: float | None
    """A point of `[0, 1)` for the beginning of the prompt; `None` where no backend can have cached it."""

    @property
    def tenant(self) -> Tenant:
        return self.caller.tenant

    @property
    def tokens(self) -> int:
        """Tokens of input and output together, for the rate limits of backends."""
        return self.input_tokens + self.output_tokens


@dataclass(slots=True, kw_only=True)
class ServingState:
    """Everything about a request that changes while it is served."""

    input_tokens: dict[str, int]
    """By model: another backend's model may count the same input differently."""
    release_turn: Callable[[], None] | None = None
    """Ends the tenant's turn. A stream takes it over and calls it at its own end."""
    deadline: float = 0.0
    """Monotonic seconds: no attempt begins later."""
    attempts: int = 0
    under_way: int = 0
    limit_status: Sequence[LimitStatus] = ()
    tried: set[str] = field(default_factory=set)
    """Ids of backends that failed and are not asked again."""
    path_unknown_at: list[BackendSlot] = field(default_factory=list)
    """Attempts whose backend did not know the path with the caller's api-version in it."""
    has_winner: bool = False
    """A hedged attempt has answered: the others are cancelled."""
