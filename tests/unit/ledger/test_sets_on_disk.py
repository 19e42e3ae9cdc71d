"""Temporary files that end with the object that uses them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from shared.adapters.on_disk.anchored_heads import DiskHeads
from shared.adapters.on_disk.dated_heads import DiskDatedHeads
from shared.adapters.on_disk.table_store import DiskSet


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("make", [DiskSet, DiskDatedHeads, DiskHeads])
def test_the_garbage_collector_may_end_it_in_any_thread(make: Callable[[], object]) -> None:
    held = [make()]
    with ThreadPoolExecutor(1) as thread:
        thread.submit(held.clear).result()
    assert held == []
