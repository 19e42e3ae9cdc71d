"""A late entry names the charge that it replaces, where its price version is another."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shared.domain.errors import UnpricedModel
from shared.domain.ledger.entries import EntryKind, Outcome
from shared.domain.ledger.entry_cost import charges, corrected_charge
from shared.domain.pricing.usage import Usage
from tests.tools.ledgers import VERSION, attempt, reservation

CHARGED, USED = Usage(input=5, audio_seconds=2), Usage(input=4, output=7)


def test_the_corrected_charge_is_taken_back_at_its_own_price() -> None:
    corrected = corrected_charge(reservation(), "other", CHARGED)
    late = Outcome(kind=EntryKind.LATE, usage=USED - CHARGED, corrected=corrected)
    taken_back = Usage() - CHARGED
    assert charges(attempt(price_version="other"), late) == (("other", USED), (VERSION, taken_back))


def test_nothing_is_corrected_at_the_same_price_or_where_nothing_was_charged() -> None:
    assert corrected_charge(reservation(), VERSION, CHARGED) == ""
    assert corrected_charge(reservation(), "other", Usage()) == ""
    late = Outcome(kind=EntryKind.LATE, usage=USED)
    assert charges(attempt(), late) == ((VERSION, USED),)


@pytest.mark.parametrize("changed", ["v input=x", "v smiles=5", "v input", " "])
def test_a_corrected_charge_that_was_changed_is_named(changed: str) -> None:
    late = replace(Outcome(kind=EntryKind.LATE, usage=USED), corrected=changed)
    with pytest.raises(UnpricedModel, match="cannot be read"):
        charges(attempt(), late)
