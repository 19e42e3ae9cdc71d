"""What can go wrong, as facts. HTTP statuses for these stand in `shared/http/errors.py`, nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from shared.domain.rate_limit import LimitStatus


class GatewayError(Exception):
    """Root of everything the gateway refuses or fails at; the message is safe to show to a caller."""

    limit_status: Sequence[LimitStatus] = ()
    """What the tenant's limits a minute have left, where that is known."""
    attempts: int | None = None
    """How many attempts were made of the request, where it came to that."""


class InvalidRequest(GatewayError):
    """The caller's input is malformed. `param` names the offending field, if one can be named."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class ContentFiltered(GatewayError):
    """The tenant does not want what the content filter found, whatever the deployment does about it."""

    def __init__(self, categories: Sequence[str]) -> None:
        super().__init__(
            f"The response was filtered by the tenant's content filter policy ({', '.join(categories)}). "
            "Modify the prompt and retry."
        )
        self.categories = categories


class RequestTooLarge(GatewayError):
    """The body exceeds the configured limit."""


class InvalidApiKey(GatewayError):
    """No credential, or one that is unknown, revoked or expired: deliberately indistinguishable."""

    def __init__(self) -> None:
        super().__init__(
            "Access denied due to a missing, unknown or revoked key. Send a valid gateway key in the 'api-key' header "
            "or as a bearer token."
        )


class InsufficientRole(GatewayError):
    """The credential is valid but does not permit this operation."""

    def __init__(self) -> None:
        super().__init__("This credential does not permit the operation. Use one with the required role.")


class TenantSuspended(GatewayError):
    """The tenant exists but may not be served."""

    def __init__(self) -> None:
        super().__init__("The tenant is suspended or closed. Ask the platform team to resume it.")


class ResidencyViolation(GatewayError):
    """No backend of the deployment lies where the tenant's data may be processed."""


class DeploymentNotFound(GatewayError):
    """Unknown, or not this tenant's: indistinguishable."""

    def __init__(self) -> None:
        super().__init__("The API deployment for this resource does not exist or is not assigned to this tenant.")


class ResponseNotFound(GatewayError):
    """A response that does not exist, or is another tenant's: indistinguishable."""

    def __init__(self) -> None:
        super().__init__("No such response is known. It was deleted, was not stored, or is older than 30 days.")


class NotFound(GatewayError):
    """A managed object does not exist."""


class AlreadyExists(GatewayError):
    """A managed object of that name exists."""


class VersionConflict(GatewayError):
    """`If-Match` names a version that is no longer current."""

    def __init__(self) -> None:
        super().__init__("The object was changed since it was read. Read it again and repeat the change.")


class UnpricedModel(GatewayError):
    """No price applies: the request is refused, never served free of charge."""


class PeriodExhausted(GatewayError):
    """The month's quota or budget would be exceeded. `retry_at` is when the next period begins."""

    def __init__(self, message: str, retry_at: datetime) -> None:
        super().__init__(message)
        self.retry_at = retry_at


class QuotaExceeded(PeriodExhausted):
    """The month's tokens would be exceeded."""


class BudgetExceeded(PeriodExhausted):
    """The month's dollars would be exceeded."""


class RateLimitExceeded(GatewayError):
    """The tenant's requests or tokens of this minute are used up."""

    def __init__(self, message: str, retry_after_seconds: float) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class PeriodNotOpen(GatewayError):
    """The billing period is closing or closed and admits no reservation or change."""


class StorageUnavailable(GatewayError):
    """Storage refused, timed out, or its answer was lost."""

    def __init__(self, message: str = "The ledger cannot be reached, so the request was not served.") -> None:
        super().__init__(message)


class LedgerUnavailable(StorageUnavailable):
    """The ledger cannot be reached: requests are refused, never served unmetered."""


class BackendFailed(GatewayError):
    """No backend served the request. `retry_after_seconds` is when the first may be ready, where that is known."""

    def __init__(self, message: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class BackendUnavailable(BackendFailed):
    """No backend could take the request. Nothing was billed."""


class ClientDisconnected(BackendUnavailable):
    """The caller hung up before a backend was ready for it."""

    def __init__(self) -> None:
        super().__init__("The caller went away.")


class BackendBroken(BackendFailed):
    """The backend's answer could not be used."""


class OperationNotFound(BackendFailed):
    """No backend knows the path that was asked for, perhaps because of the caller's api-version."""


class BackendTimeout(BackendFailed):
    """The backend did not answer within the named timeout."""
