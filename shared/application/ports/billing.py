"""Ports to the files of a closed period: where they are kept, and the formats they are written in."""

from __future__ import annotations

from typing import Protocol

from shared.domain.billing.manifest import Manifest
from shared.domain.billing.statements import PeriodStatements


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


class StatementRenderer(Protocol):
    """One format of statements. Renders the same statements as the same bytes at any time."""

    @property
    def file_name(self) -> str:
        """The name of the file within its period."""
        ...

    def render(self, statements: PeriodStatements) -> bytes:
        """Render the content of the file."""
        ...


class StatementFormat(StatementRenderer, Protocol):
    """A format that is read back, so that files can be checked against the books."""

    def read(self, content: bytes) -> PeriodStatements:
        """Read a file that `render` wrote. Raises `ValueError` if it is damaged."""
        ...


class ManifestFormat(Protocol):
    """The format of manifests."""

    @property
    def file_name(self) -> str:
        """The name of the file within its period."""
        ...

    def render(self, manifest: Manifest) -> bytes:
        """Render the content of the file."""
        ...

    def read(self, content: bytes) -> Manifest:
        """Read a file that `render` wrote. Raises `ValueError` if it is damaged."""
        ...
