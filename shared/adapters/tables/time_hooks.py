"""Let the clock learn the time of storage also from answers to the SDK, which the first request of a process gets."""

from __future__ import annotations

import time
from typing import Any, Final

from shared.adapters.clock import StorageClock

_SENT_AT: Final = "tallygate_sent_at"


def time_hooks(clock: StorageClock) -> dict[str, Any]:
    """Return the arguments of an SDK client by which it shows each request and answer to `clock`.

    https://learn.microsoft.com/python/api/azure-core/azure.core.pipeline.policies.customhookpolicy
    """

    def note_sending(request: Any) -> None:
        request.context[_SENT_AT] = time.monotonic()

    def note_answer(response: Any) -> None:
        date = response.http_response.headers.get("Date", "")
        clock.observe(date.encode("latin-1"), time.monotonic() - response.context[_SENT_AT])

    return {"raw_request_hook": note_sending, "raw_response_hook": note_answer}
