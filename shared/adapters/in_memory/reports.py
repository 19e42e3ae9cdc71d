"""Chargeback files in a dictionary."""

from __future__ import annotations

from shared.domain.errors import AlreadyExists


class InMemoryReports:
    """Implements `ReportStore` for one process."""

    def __init__(self) -> None:
        self._files: dict[str, bytes] = {}

    async def write_once(self, path: str, content: bytes) -> None:
        if self._files.setdefault(path, content) != content:
            raise AlreadyExists(f"'{path}' already exists with other content.")

    async def read(self, path: str) -> bytes | None:
        return self._files.get(path)
