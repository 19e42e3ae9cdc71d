"""Sweeps: many items, in slices of time, none of which stops another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from shared.adapters.documents.jobs import DocumentCursors
from shared.adapters.in_memory.documents import InMemoryDocuments
from shared.application.sweep import Sweep, SweepFailed, Swept
from shared.domain.errors import StorageUnavailable
from tests.tools.ledgers import ManualClock

SLICE = 10.0


async def listed(*names: str) -> AsyncIterator[str]:
    for name in names:
        yield name


class Runs:
    """Sweeps that share their cursors, as processes do, and the names of items in the order of their work."""

    def __init__(self, slice_seconds: float = SLICE, at_once: int = 1) -> None:
        self.clock = ManualClock()
        self.cursors = DocumentCursors(InMemoryDocuments())
        self._sweep = Sweep(self.cursors, self.clock, slice_seconds, at_once)
        self.worked: list[str] = []

    async def sweep(self, names: str, work: Callable[[str], Awaitable[int]] | None = None) -> Swept:
        self.worked.clear()
        return await self._sweep("job", listed(*names), work or self.take(3), str)

    def take(self, seconds: float) -> Callable[[str], Awaitable[int]]:
        async def work(name: str) -> int:
            self.worked.append(name)
            await self.clock.sleep(seconds)
            return 1

        return work


async def test_a_run_works_on_every_item_in_order_and_adds_up_what_they_return() -> None:
    runs = Runs()
    assert await runs.sweep("cab") == Swept(3, is_complete=True)
    assert runs.worked == ["a", "b", "c"]
    assert await runs.sweep("") == Swept(0, is_complete=True)


async def test_the_next_run_begins_where_a_slice_ended(caplog: pytest.LogCaptureFixture) -> None:
    runs = Runs()
    assert await runs.sweep("abcdefg") == Swept(4, is_complete=False)
    assert runs.worked == ["a", "b", "c", "d"]
    assert "job: 3 items wait for the next run, which begins after d" in caplog.text
    assert await runs.sweep("abcdefg") == Swept(4, is_complete=False)
    assert runs.worked == ["e", "f", "g", "a"]
    assert await runs.sweep("abc") == Swept(3, is_complete=True)
    assert runs.worked == ["b", "c", "a"]
    assert await runs.cursors.get("job") == ""


async def test_a_slice_begins_one_item_however_long_listing_took() -> None:
    runs = Runs()

    async def slowly() -> AsyncIterator[str]:
        await runs.clock.sleep(SLICE)
        yield "a"

    assert await runs._sweep("job", slowly(), runs.take(1), str) == Swept(1, is_complete=True)


async def test_items_that_fail_stop_no_other_and_all_are_named() -> None:
    runs = Runs()

    async def work(name: str) -> int:
        runs.worked.append(name)
        if name in "ac":
            raise ValueError(f"{name} is bad")
        return 1

    with pytest.raises(SweepFailed, match=r"2 failed. a: ValueError: a is bad; c: ValueError: c is bad") as failed:
        await runs.sweep("abcd", work)
    assert runs.worked == ["a", "b", "c", "d"]
    assert [name for name, _ in failed.value.failures] == ["a", "c"]
    assert isinstance(failed.value.__cause__, ValueError)


async def test_a_slice_that_ends_with_failures_is_continued_too() -> None:
    runs = Runs()

    async def work(name: str) -> int:
        await runs.take(6)(name)
        raise ValueError

    for expected in (["a", "b"], ["c", "d"], ["e", "a"]):
        with pytest.raises(SweepFailed, match="2 failed"):
            await runs.sweep("abcde", work)
        assert runs.worked == expected


class LostCursors(DocumentCursors):
    """A place for cursors that cannot be reached."""

    async def get(self, job: str) -> str:
        raise StorageUnavailable(f"the cursor of {job} cannot be read")

    async def put(self, job: str, cursor: str) -> None:
        raise StorageUnavailable(f"the cursor of {job} cannot be stored")


async def test_a_cursor_that_is_lost_stops_no_work_and_hides_no_failure() -> None:
    runs = Runs()
    runs._sweep = Sweep(LostCursors(InMemoryDocuments()), runs.clock, SLICE, 1)
    with pytest.raises(SweepFailed, match=r"2 failed. .*job cannot be read; .*job cannot be stored"):
        await runs.sweep("abcdefg")
    assert runs.worked == ["a", "b", "c", "d"]


async def test_a_list_that_breaks_off_is_worked_on_as_far_as_it_goes() -> None:
    runs = Runs()

    async def broken() -> AsyncIterator[str]:
        yield "a"
        raise OSError("the page was lost")

    with pytest.raises(SweepFailed, match=r"1 failed. the list: OSError: the page was lost"):
        await runs._sweep("job", broken(), runs.take(1), str)
    assert runs.worked == ["a"]


async def test_an_item_that_hangs_is_cut_off_and_the_next_run_begins_behind_it() -> None:
    runs = Runs(slice_seconds=0.01, at_once=2)

    async def work(name: str) -> int:
        runs.worked.append(name)
        if name in "ab":
            await asyncio.sleep(0)  # lets the other worker begin its item
            runs.clock.seconds += 1
            await asyncio.Event().wait()
        return 1

    with pytest.raises(SweepFailed, match=r"2 failed. a: TimeoutError; b: TimeoutError"):
        await runs.sweep("abcd", work)
    assert runs.worked == ["a", "b"]
    assert await runs.sweep("cd", work) == Swept(2, is_complete=True)


async def test_a_report_names_fifty_items_and_counts_the_rest() -> None:
    async def work(name: str) -> int:
        raise ValueError

    names = [f"{number:03}" for number in range(53)]
    with pytest.raises(SweepFailed, match=r"^53 failed\. 000: ValueError; .*; 049: ValueError; and 3 more$"):
        await Runs()._sweep("job", listed(*names), work, str)


async def test_an_end_of_the_process_is_no_failure_of_an_item() -> None:
    async def work(name: str) -> int:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await Runs().sweep("ab", work)
