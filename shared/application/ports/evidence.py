"""Ports of evidence packages: the archive of a period, and the package that takes all files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from shared.domain.values import record


@record
class PackageFacts:
    """The facts that a package states about itself."""

    origin: str
    """The name of the log of heads; empty if there is none."""
    tenant: str | None
    """The only tenant; `None` if the package has all."""
    periods: Sequence[str]


class BooksArchive(Protocol):
    """The rows of periods."""

    async def export(self, period: str, path: Path, *, only: str | None = None) -> int:
        """Write the rows of a period, or of one of its tenants, to a new file. Returns their number."""
        ...


class EvidenceFiles(Protocol):
    """A package that is written, file by file."""

    def add(self, name: str, content: bytes) -> None:
        """Add a file."""
        ...

    def add_file(self, name: str, source: Path) -> None:
        """Add a file that may not fit into memory."""
        ...
