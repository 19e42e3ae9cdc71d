"""Work that fails in the background is reported without the message of its error, which may quote content."""

from __future__ import annotations

import asyncio
import gc

import pytest

from shared.application.background import Background
from shared.domain.errors import StorageUnavailable


async def fail(error: Exception) -> None:
    raise error


async def test_a_failure_is_one_line_that_names_its_place(caplog: pytest.LogCaptureFixture) -> None:
    background = Background()
    background.start(fail(ValueError("a prompt")))
    background.start(fail(StorageUnavailable("The ledger could not be reached.")))
    background.start(asyncio.sleep(0))
    await background.drain()
    gc.collect()
    assert [record.message.split()[0] for record in caplog.records] == ["gateway.background.failed"] * 2
    assert "ValueError" in caplog.text
    assert "test_background.py" in caplog.text
    assert "The ledger could not be reached." in caplog.text
    assert "a prompt" not in caplog.text


async def test_work_that_was_cancelled_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    background = Background()
    background.start(asyncio.sleep(60))
    (task,) = background._tasks
    task.cancel()
    await background.drain()
    assert caplog.records == []
