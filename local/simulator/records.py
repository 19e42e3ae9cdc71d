"""The records of requests that the simulator keeps: the newest ones, because a simulator may run for weeks."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

MOST_RECORDS = 50_000
MOST_BODY_BYTES = 256 * 1024 * 1024


@dataclass(slots=True)
class Record:
    """One request as the simulator saw it. `usage` is what Azure would bill; `None` means nothing."""

    number: int
    region: str
    deployment: str
    path: str
    api_version: str
    stream: bool
    status: int = 0
    outcome: str = "received"
    usage: dict[str, Any] | None = None
    bytes_sent: int = 0
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    spilled_to: str | None = None
    """The deployment that served instead, which may be without a name; `None` if none did."""


class Records(Sequence[Record]):
    """The newest records, in the order of requests. The oldest make way for new ones, and for their bodies."""

    def __init__(self, most: int = MOST_RECORDS, most_body_bytes: int = MOST_BODY_BYTES) -> None:
        self._most = most
        self._most_body_bytes = most_body_bytes
        self._kept: deque[Record] = deque()
        self._sizes: dict[int, int] = {}
        """The sizes of the kept records' bodies, by the number of the record."""
        self._body_bytes = 0

    def add(self, record: Record) -> None:
        """Keep a record."""
        self._kept.append(record)
        while len(self._kept) > self._most:
            self._drop_oldest()

    def add_body(self, record: Record, body: Any, size: int) -> None:
        """Give a record its body of `size` bytes. The record itself is kept, however large that is."""
        record.body = body
        if not self._kept or record.number < self._kept[0].number:
            return  # it has made way while its body arrived
        self._sizes[record.number] = size
        self._body_bytes += size
        while self._body_bytes > self._most_body_bytes and self._kept[0] is not record:
            self._drop_oldest()

    def clear(self) -> None:
        """Forget all records."""
        self._kept.clear()
        self._sizes.clear()
        self._body_bytes = 0

    def _drop_oldest(self) -> None:
        self._body_bytes -= self._sizes.pop(self._kept.popleft().number, 0)

    @overload
    def __getitem__(self, at: int) -> Record: ...

    @overload
    def __getitem__(self, at: slice) -> list[Record]: ...

    def __getitem__(self, at: int | slice) -> Record | list[Record]:
        return [*self._kept][at] if isinstance(at, slice) else self._kept[at]

    def __iter__(self) -> Iterator[Record]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)
