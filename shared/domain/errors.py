"""Errors of the gateway, named as facts. Only `shared/http/errors.py` maps them to HTTP statuses."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from shared.domain.damaged_row import DamagedRow
from shared.domain.rate_limit import LimitStatus


class GatewayError(Exception):
    """Root of all errors of the gateway. Its message is safe to show to a caller."""

    limit_status: Sequence[LimitStatus] = ()
    """The tenant's remaining rate limits; empty if they are not known."""
    attempts: int | None = None
    """Number of attempts at the request; `None` if it was refused before any could be made."""


class InvalidRequest(GatewayError):
    """The caller's input is malformed. `param` names the wrong field; `None` if no single field is wrong."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class ContentFiltered(GatewayError):
    """The tenant's policy refuses these findings of the content filter."""

    def __init__(self, categories: Sequence[str]) -> None:
        super().__init__(
            f"The response was filtered by the tenant's content filter policy ({', '.join(categories)}). "
            "Modify the prompt and retry."
        )
        self.categories = categories


class RequestTooLarge(GatewayError):
    """The body exceeds the configured limit."""


class BodyTooSlow(GatewayError):
    """The body did not arrive in time, or too slowly."""

    def __init__(self) -> None:
        super().__init__("The request body did not arrive in time.")


class BodiesTooLarge(GatewayError):
    """The bodies in this process need more memory than it has for them, or than one tenant may take."""

    retry_after_seconds = 1.0

    def __init__(self) -> None:
        super().__init__("Too many large requests are under way. Retry after the stated time.")


class InvalidApiKey(GatewayError):
    """The credential is missing, unknown, revoked or expired. Callers cannot tell these cases apart."""

    reason = "key_ended"
    """The reason in logs and in the audit log, in place of the code, for a key that is known and right."""

    def __init__(self, tenant_id: str = "", key_id: str = "") -> None:
        """The ids are those of a key whose secret was right; empty for any other credential."""
        self.tenant_id = tenant_id
        self.key_id = key_id
        super().__init__(
            "Access denied due to a missing, unknown or revoked key. Send a valid gateway key in the 'api-key' header "
            "or as a bearer token."
        )


class KeyUsedElsewhere(InvalidApiKey):
    """A valid key was sent from an address where it must not be used. Callers cannot tell this from a wrong key."""

    reason = "address_not_allowed"


class AddressNotAllowed(GatewayError):
    """An access token was sent from an address from which its tenant may not be used."""

    def __init__(self) -> None:
        super().__init__("The tenant may not be used from this network address. Ask its administrator.")


class InvalidToken(GatewayError):
    """The access token is malformed, expired, not yet valid, not signed by a trusted key, or meant for someone else."""

    def __init__(self, problem: str) -> None:
        """`problem` tells the fact in a sentence. It shows no part of the token."""
        super().__init__(f"The access token is not valid. {problem}")


class IdentityProviderUnavailable(GatewayError):
    """The signing keys of the identity provider are not known, and it cannot be reached."""

    retry_after_seconds = 10.0

    def __init__(self) -> None:
        super().__init__("The access token cannot be verified now. Retry after the stated time.")


class SecretUnavailable(GatewayError):
    """A secret is not known and cannot be read now. The message names the secret and shows no value.

    `is_gone` says that it does not exist or was disabled, so that a value held of it must not be used any more.
    """

    retry_after_seconds = 10.0

    def __init__(self, message: str, *, is_gone: bool = False) -> None:
        super().__init__(message)
        self.is_gone = is_gone


class InsufficientRole(GatewayError):
    """The credential is valid but does not permit this operation."""

    def __init__(self, advice: str = "Use one with the required role.") -> None:
        """`advice` tells in sentences what is missing. It never tells whether another tenant exists."""
        super().__init__(f"This credential does not permit the operation. {advice}")


class TenantSuspended(GatewayError):
    """The tenant is suspended or closed, so its requests are refused."""

    def __init__(self) -> None:
        super().__init__("The tenant is suspended or closed. Ask the platform team to resume it.")


class ResidencyViolation(GatewayError):
    """No backend of the deployment is in a place where the tenant's data may be processed."""


class DeploymentNotFound(GatewayError):
    """The deployment does not exist, or is not assigned to this tenant. Callers cannot tell these cases apart."""

    def __init__(self) -> None:
        super().__init__("The API deployment for this resource does not exist or is not assigned to this tenant.")


class ResponseNotFound(GatewayError):
    """The response does not exist, or belongs to another tenant. Callers cannot tell these cases apart."""

    def __init__(self) -> None:
        super().__init__("No such response is known. It was deleted, was not stored, or is older than 30 days.")


class ResponseRunning(GatewayError):
    """The response has not ended, so its tokens cannot be booked yet, and it cannot be deleted."""

    def __init__(self) -> None:
        super().__init__("The response has not ended yet. Cancel it or wait for its end, and delete it then.")


class NotFound(GatewayError):
    """A managed object does not exist, or no route has the path."""


class MethodNotAllowed(GatewayError):
    """The path exists, but not with this method."""

    def __init__(self, allowed: Sequence[str]) -> None:
        super().__init__(f"This path accepts {', '.join(allowed)} only.")
        self.allowed = allowed


class AlreadyExists(GatewayError):
    """A managed object with that name already exists."""


class KeyEnded(GatewayError):
    """The gateway key is revoked or has expired, so that it cannot be changed in this way."""


class KeyReplaced(GatewayError):
    """The gateway key was rotated before."""

    def __init__(self, key_id: str, replaced_by: str) -> None:
        super().__init__(
            f"The key '{key_id}' was rotated into '{replaced_by}'. If the new key was not received, rotate that one "
            "with 'overlap_hours': 0."
        )


class PriceContradicted(GatewayError):
    """A stored price row has another price for the same key and time, or a context band that overlaps."""

    def __init__(self, price_id: str, usd_per_million: str) -> None:
        super().__init__(
            f"The price '{price_id}' states {usd_per_million} USD for the same key, time and input tokens. Prices "
            "never change: insert one with a later 'effective_from', or with a context band of its own."
        )


class VersionConflict(GatewayError):
    """`If-Match` names a version that is no longer current."""

    def __init__(self) -> None:
        super().__init__("The object was changed since it was read. Read it again and repeat the change.")


class UnpricedModel(GatewayError):
    """No price applies. The gateway refuses the request; it never serves free of charge."""


class PeriodExhausted(GatewayError):
    """The month's quota or budget would be exceeded. `retry_at` is the beginning of the next period."""

    def __init__(self, message: str, retry_at: datetime) -> None:
        super().__init__(message)
        self.retry_at = retry_at


class QuotaExceeded(PeriodExhausted):
    """The month's token quota would be exceeded."""


class BudgetExceeded(PeriodExhausted):
    """The month's budget would be exceeded."""


class RateLimitExceeded(GatewayError):
    """The tenant's requests or tokens per minute, or its concurrent requests, are used up."""

    def __init__(self, message: str, retry_after_seconds: float) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class PeriodNotOpen(GatewayError):
    """The billing period is closing or closed. It admits no reservation and no change."""


class StorageUnavailable(GatewayError):
    """Storage refused a request, timed out, or its answer was lost."""

    def __init__(self, message: str = "The ledger cannot be reached, so the request was not served.") -> None:
        super().__init__(message)


class LedgerUnavailable(StorageUnavailable):
    """The ledger cannot be reached. The gateway refuses requests; it never serves them unmetered."""


class RowsDamaged(LedgerUnavailable):
    """Rows of the ledger cannot be read, because something else wrote them. The message names them."""

    rows: Sequence[DamagedRow] = ()
    """Those of a list, of which all others were read."""


class TenantsDamaged(RowsDamaged):
    """Documents of tenants cannot be read, because something else wrote them. `names` are their tenant ids."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(f"Documents of tenants cannot be read: {', '.join(names)}.")
        self.names = names


class BackendFailed(GatewayError):
    """No backend served the request. `retry_after_seconds` is the time until one may be ready, where known."""

    def __init__(self, message: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class BackendUnavailable(BackendFailed):
    """No backend could accept the request. Nothing was billed."""


class ClientDisconnected(BackendUnavailable):
    """The client disconnected while its request waited for a backend."""

    def __init__(self) -> None:
        super().__init__("The client disconnected while its request waited for a backend.")


class BackendBroken(BackendFailed):
    """The backend's answer could not be used."""


class AnswerTooLarge(BackendBroken):
    """The backend's answer exceeds the configured limit. It was generated, so another attempt would cost it again."""


class OperationNotFound(BackendFailed):
    """No backend knows the requested path. The caller's api-version may be the reason."""


class BackendTimeout(BackendFailed):
    """The backend did not answer within the timeout that the message names."""


class AnswerTooLong(BackendTimeout):
    """The answer did not end within the total timeout. A caller who reads slowly may be the reason."""
