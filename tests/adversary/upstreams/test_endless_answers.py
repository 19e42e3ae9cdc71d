"""Upstreams whose answers have no end, or no bound."""

from __future__ import annotations

import pytest

from tests.tools.scripted_backend import endless, scripted_backend
from tests.tools.stack import Stack


@pytest.mark.parametrize("stack_settings", [{"BACKEND_TOTAL_TIMEOUT_SECONDS": "0.5"}], indirect=True)
async def test_a_stream_without_an_end_is_ended_by_the_total_timeout(stack: Stack) -> None:
    async with scripted_backend(stack, endless):
        status, _, body = await stack.chat(stream=True)
        assert (status, b"total timeout of 0.5 s" in body[-300:]) == (200, True)
        await stack.settled()
        (entry,) = await stack.entries()
        assert (entry["kind"], entry["estimated"], entry["error_code"]) == ("charge", True, "backend_timeout")
        assert entry["usage"]["output_tokens"] > 0
