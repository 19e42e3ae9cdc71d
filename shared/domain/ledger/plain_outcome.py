"""The plain form of a settlement that storage refuses, so that no settlement is lost for its form."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, Final

from shared.domain.ledger.entries import OUTCOME
from shared.domain.ledger.operations import Adjust, Expire, LateSettle, Operation, Settle

RECORD_REFUSED: Final = "record_refused"
"""The error code of an entry in plain form."""
_MOST_CHARACTERS: Final = 1_024
_UNFIT: Final = re.compile(r"[^ -~]")
_TEXTS: Final = tuple(field.path for field in OUTCOME.fields if field.kind is str)


def in_plain_form(operation: Operation) -> Operation | None:
    """Return a settlement with the same charge, whose texts any storage accepts: short, and printable ASCII.

    Returns `None` for other operations, and for a settlement that is in plain form already.
    """
    if not isinstance(operation, Settle | Expire | LateSettle | Adjust):
        return None
    outcome = operation.outcome
    if outcome.error_code == RECORD_REFUSED:
        return None
    plain: dict[str, Any] = {name: _UNFIT.sub("?", getattr(outcome, name)[:_MOST_CHARACTERS]) for name in _TEXTS}
    plain |= {"error_code": RECORD_REFUSED, "estimated": True}
    return replace(operation, outcome=replace(outcome, **plain))
