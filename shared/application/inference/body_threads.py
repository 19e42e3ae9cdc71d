"""Threads for the work on large bodies.

They are apart from those of the event loop, which look up names and proxies for every new connection to storage. So
bodies cannot keep storage waiting. They are few, because most of the work holds the interpreter.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar, TypeVarTuple

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")

_THREADS: Final = ThreadPoolExecutor(max_workers=2, thread_name_prefix="large-bodies")


def on_body_thread(work: Callable[[*Arguments], T], *arguments: *Arguments) -> Awaitable[T]:
    """Do some work on one of the threads. Raises what it raises."""
    return asyncio.get_running_loop().run_in_executor(_THREADS, work, *arguments)
