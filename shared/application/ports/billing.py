"""The port to report files."""

from __future__ import annotations

from typing import Protocol


class ReportStore(Protocol):
    """Files of a closed period. Raises `StorageUnavailable`."""

    async def write_once(self, path: str, content: bytes) -> None:
        """Write a file that does not exist; an existing one with the same content is left as it is.

        Raises `AlreadyExists` if a file with other content is there.
        """
        ...

    async def read(self, path: str) -> bytes | None:
        """The file's content, or `None`."""
        ...
