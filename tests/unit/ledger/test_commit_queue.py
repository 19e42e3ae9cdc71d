"""The batch of the next commit: its order, its limits, and operations that nobody waits for."""

from __future__ import annotations

import asyncio

import pytest

from shared.adapters.tables.commit_queue import CommitQueue, Pending
from shared.adapters.tables.store import MAX_BATCH_ROWS
from shared.domain.ledger.operations import BeginClosing, Operation, Reserve, Settle
from tests.tools.ledgers import charge, reservation


def waiting(*operations: Operation, are_cancelled: bool = False) -> CommitQueue:
    queue = CommitQueue()
    for operation in operations:
        pending = Pending(operation, asyncio.get_running_loop().create_future())
        if are_cancelled:
            pending.answer.cancel()
        queue.add(pending)
    return queue


def taken(queue: CommitQueue) -> list[Operation]:
    return [pending.operation for pending in queue.take_batch()]


async def test_reservations_are_taken_last_and_others_in_their_order() -> None:
    settle, reserve = Settle(reservation(), charge()), Reserve(reservation())
    assert taken(waiting(reserve, BeginClosing(), settle)) == [BeginClosing(), settle, reserve]


async def test_operations_on_one_reservation_are_taken_one_by_one() -> None:
    settle = Settle(reservation(), charge())
    queue = waiting(settle, settle, BeginClosing(), BeginClosing())
    assert taken(queue) == [settle, BeginClosing(), BeginClosing()]
    assert taken(queue) == [settle]
    assert not queue


async def test_a_batch_leaves_one_row_for_the_balance() -> None:
    operations = [Settle(reservation(), charge()) for _ in range(MAX_BATCH_ROWS)]
    queue = waiting(*operations)
    assert taken(queue) == operations[: (MAX_BATCH_ROWS - 1) // 2]
    assert taken(queue) == operations[(MAX_BATCH_ROWS - 1) // 2 : 2 * ((MAX_BATCH_ROWS - 1) // 2)]


@pytest.mark.parametrize("count", [1, 2])
async def test_a_reservation_that_nobody_waits_for_is_not_taken(count: int) -> None:
    queue = waiting(*(Reserve(reservation()) for _ in range(count)), are_cancelled=True)
    assert taken(queue) == []
    assert not queue


@pytest.mark.parametrize("count", [1, 2])
async def test_a_settlement_that_nobody_waits_for_is_taken_until_it_is_in_the_books(count: int) -> None:
    operations = [Settle(reservation(), charge()) for _ in range(count)]
    assert taken(waiting(*operations, are_cancelled=True)) == operations
    queue = waiting(*operations, are_cancelled=True)
    for pending in queue:
        pending.is_resolved = True
    assert taken(queue) == []
