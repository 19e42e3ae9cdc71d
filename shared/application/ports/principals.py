"""The port to the index of principals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from shared.domain.tenancy.entra_principals import PrincipalName


class PrincipalIndex(Protocol):
    """Finds the tenants that may name a principal of Entra ID. Each method is atomic and raises `StorageUnavailable`.

    The rows are derived from the tenants' documents, which decide: a row alone gives nobody anything.
    """

    async def tenants_of(self, name: PrincipalName) -> frozenset[str]:
        """Return the ids of the tenants with a row for an application or a person."""
        ...

    async def tenants_by_group(self, directory_id: str) -> Mapping[str, frozenset[str]]:
        """Return the ids of the tenants with a row for each group of a directory."""
        ...

    async def put(self, name: PrincipalName, tenant_id: str) -> None:
        """Add a row. Idempotent."""
        ...

    async def remove(self, name: PrincipalName, tenant_id: str) -> None:
        """Remove a row. Harmless if there is none."""
        ...

    async def rows(self) -> Mapping[str, frozenset[PrincipalName]]:
        """Return the names of all rows, by tenant. A row of another form is left out, and hides no other."""
        ...
