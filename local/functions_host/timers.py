"""Timer triggers with the host's semantics: status kept over restarts, past-due once, no overlap, one owner."""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from azure.functions.timer import TimerRequest
from croniter import croniter

from local.functions_host.indexing import TimerFunction

OWNERSHIP_RETRY_SECONDS = 5
_LONGEST_SLEEP_SECONDS = 3600.0
logger = logging.getLogger("functions_host")


class Timers:
    """Runs the timers of an app, as long as no other process over the same folder does.

    A timer whose setting `AzureWebJobs.{name}.Disabled` is `true` or `1` has no schedule. It can be started by hand.
    """

    def __init__(self, functions: list[TimerFunction], folder: Path) -> None:
        self._functions = {function.name.lower(): function for function in functions}
        self._folder = folder
        self._running: dict[str, asyncio.Lock] = {name: asyncio.Lock() for name in self._functions}
        self._by_hand: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Own the timers once nobody else does, then run each on its schedule until cancelled."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with _lock_file(self._folder / "owner.lock") as lock:
            while not _try_lock(lock):
                await asyncio.sleep(OWNERSHIP_RETRY_SECONDS)
            scheduled = [function for function in self._functions.values() if not _is_disabled(function)]
            await asyncio.gather(*map(self._follow, scheduled))

    def start_by_hand(self, name: str) -> bool:
        """Run a timer function now, as `POST /admin/functions/{name}` does; whether there is one of that name."""
        function = self._functions.get(name.lower())
        if function is None:
            return False
        task = asyncio.create_task(self._invoke(function, past_due=False))
        self._by_hand.add(task)
        task.add_done_callback(self._by_hand.discard)
        return True

    async def finish(self) -> None:
        """Return when no function that was started by hand is running."""
        if self._by_hand:
            await asyncio.wait(self._by_hand)

    async def _follow(self, function: TimerFunction) -> None:
        status = self._read_status(function)
        now = datetime.now(UTC)
        if status is not None and datetime.fromisoformat(status["Next"]) < now:
            await self._run_and_note(function, past_due=True)
        elif function.run_on_startup:
            await self._run_and_note(function, past_due=False)
        elif status is None:
            self._write_status(function, last=None)
        while True:
            due = next_occurrence(function.schedule, datetime.now(UTC))
            while (remaining := (due - datetime.now(UTC)).total_seconds()) > 0:
                await asyncio.sleep(min(remaining, _LONGEST_SLEEP_SECONDS))
            await self._run_and_note(function, past_due=False)

    async def _run_and_note(self, function: TimerFunction, *, past_due: bool) -> None:
        await self._invoke(function, past_due=past_due)
        self._write_status(function, last=datetime.now(UTC))

    async def _invoke(self, function: TimerFunction, *, past_due: bool) -> None:
        async with self._running[function.name.lower()]:
            request = TimerRequest(past_due=past_due, schedule_status=self._read_status(function) or {})
            try:
                result = function.handler(**{function.parameter: request})
                if asyncio.iscoroutine(result):
                    await result
            except Exception:
                logger.exception("timer %s failed", function.name)

    def _status_file(self, function: TimerFunction) -> Path:
        return self._folder / f"{function.name}.json"

    def _read_status(self, function: TimerFunction) -> dict[str, Any] | None:
        try:
            status: dict[str, Any] = json.loads(self._status_file(function).read_text())
        except (OSError, ValueError):
            return None
        return status

    def _write_status(self, function: TimerFunction, last: datetime | None) -> None:
        now = datetime.now(UTC)
        status = {
            "Last": (last or datetime.min.replace(tzinfo=UTC)).isoformat(),
            "Next": next_occurrence(function.schedule, now).isoformat(),
            "LastUpdated": now.isoformat(),
        }
        temporary = self._status_file(function).with_suffix(".tmp")
        temporary.write_text(json.dumps(status))
        temporary.replace(self._status_file(function))


def _is_disabled(function: TimerFunction) -> bool:
    return os.environ.get(f"AzureWebJobs.{function.name}.Disabled", "").lower() in {"true", "1"}


def next_occurrence(schedule: str, after: datetime) -> datetime:
    """The next time of a 6-field NCRONTAB expression: seconds first, day of month AND day of week, Sunday is 0."""
    found: datetime = croniter(schedule, after, second_at_beginning=True, day_or=False).get_next(datetime)
    return found


@contextmanager
def _lock_file(path: Path) -> Iterator[int]:
    with path.open("w") as file:
        yield file.fileno()


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
