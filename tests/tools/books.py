"""Compare ledger entries with the simulator's records of the requests that it served, by attempt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def disagreements(entries: Sequence[Mapping[str, Any]], records: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Describe each booked attempt that was not served, and each served attempt that is not booked.

    The backend may complete an answer after the gateway has given the attempt up for its silence. Azure bills it, and
    the ledger has an estimate for it. No other estimate stands for a served answer.
    """
    completed = [record for record in records if record["usage"] and record["outcome"] == "completed"]
    served = Counter((*_attempt_of_record(record), record["usage"]["total_tokens"]) for record in completed)
    exact = [entry for entry in entries if entry["tokens"] and not entry["estimated"]]
    booked = Counter((*_attempt(entry), entry["tokens"]) for entry in exact)
    given_up = Counter(_attempt(entry) for entry in entries if entry["error_code"] == "backend_timeout")
    for request_id, region, tokens in (booked - served).elements():
        yield f"{tokens} tokens are booked for {request_id} in {region}, which served no such request"
    for request_id, region, tokens in (served - booked).elements():
        if not given_up[request_id, region]:
            yield f"{tokens} tokens were served for {request_id} in {region} and are not booked"
        given_up[request_id, region] -= 1


def _attempt(entry: Mapping[str, Any]) -> tuple[str, str]:
    return entry["request_id"], entry["region"]


def _attempt_of_record(record: Mapping[str, Any]) -> tuple[str, str]:
    return record["headers"]["x-ms-client-request-id"], record["region"]
