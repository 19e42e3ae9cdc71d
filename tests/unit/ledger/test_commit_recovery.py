"""Recovery while other processes, and requests that were lost on their way, change the same lane."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from shared.adapters.tables.store import AnswerLost
from shared.domain.ledger.entries import EntryKind
from tests.tools.ledgers import account, charge, reservation
from tests.unit.ledger.test_committer import Books


@pytest.fixture
async def books() -> Books:
    made = Books()
    await made.ledger.open(account())
    return made


async def test_a_lost_transaction_that_arrives_just_before_its_repetition_is_booked_once(books: Books) -> None:
    """A change of the limit has no row of its own to show that it was made: only its commit id does."""
    submit = books.rows.submit
    lost: list[Sequence[Any]] = []

    async def overtaken(*transaction: Any) -> str:
        if not lost:
            lost.append(transaction)
            raise AnswerLost
        books.rows.submit = submit  # type: ignore[method-assign]
        await submit(*lost[0])
        return await submit(*transaction)

    books.rows.submit = overtaken  # type: ignore[assignment, method-assign]
    await books.ledger.change_limit(account(tokens=900), "boss", "less")
    assert await books.kinds() == ["limit"]
    await books.check()


@pytest.mark.parametrize("reads", [2, 3])
async def test_a_reservation_that_expires_while_recovery_reads_it_is_acknowledged(books: Books, reads: int) -> None:
    """Recovery reads the balance twice, then the reservation, and its marker if there is no reservation."""
    held = reservation()
    await books.other.reserve(account(), held)
    left = reads

    async def expire_later() -> None:
        nonlocal left
        if left == 0:
            await books.other.expire(held, charge(10, 0, EntryKind.EXPIRE))
        else:
            left -= 1
            books.faulty.before_next_get = expire_later

    books.faulty.before_next_get = expire_later
    await books.ledger.reserve(account(), held)
    await books.check()
