"""The port to report files."""

from __future__ import annotations

from typing import Protocol


class ReportStore(Protocol):
    """The report files of closed periods. All methods raise `StorageUnavailable`."""

    async def write_once(self, path: str, content: bytes) -> None:
        """Create a file. Atomic, and idempotent: does nothing if the file exists with the same content.

        Raises `AlreadyExists` if it exists with other content.
        """
        ...

    async def read(self, path: str) -> bytes | None:
        """Return the content of a file; `None` if it does not exist."""
        ...
