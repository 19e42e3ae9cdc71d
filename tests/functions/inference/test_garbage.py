"""The objects of a request are freed when it ends.

Reference cycles would wait for the garbage collector, which delays every stream.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.tools.stack import Stack


@pytest.fixture
def collector() -> Iterator[None]:
    """Let the garbage collector run only when the test runs it."""
    gc.collect()
    gc.disable()
    yield
    gc.set_debug(0)
    gc.garbage.clear()
    gc.enable()


@pytest.mark.usefixtures("collector")
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("text", ["Hello!", "[filter-prompt]"], ids=["served", "refused"])
async def test_requests_leave_no_cycles_of_our_objects(stack: Stack, stream: bool, text: str) -> None:
    await stack.chat(text, stream=stream)  # the first request also makes objects that stay
    gc.collect()
    gc.set_debug(gc.DEBUG_SAVEALL)
    for _ in range(5):
        await stack.chat(text, stream=stream)
    await stack.settled()
    gc.collect()
    ours = Counter(type(each).__qualname__ for each in gc.garbage if type(each).__module__.startswith("shared."))
    assert not ours
