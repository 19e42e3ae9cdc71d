"""The principals of Entra ID that a tenant names."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictStr

from shared.domain.identity.role import Role
from shared.domain.tenancy.entra_principals import EntraPrincipal, PrincipalKind

_MAX_PRINCIPALS: Final = 200
_GUID: Final = r"^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"
Guid = Annotated[StrictStr, Field(pattern=_GUID), AfterValidator(str.lower)]


class EntraPrincipalSettings(BaseModel):
    """An application (by its client id), a person or a group (by its object id) that acts for the tenant."""

    model_config = ConfigDict(extra="forbid")

    directory_id: Guid
    kind: PrincipalKind
    id: Guid
    role: Literal[Role.TENANT_USE, Role.TENANT_ADMIN]

    def to_domain(self) -> EntraPrincipal:
        return EntraPrincipal(**self.model_dump())


def _each_once(principals: list[EntraPrincipalSettings]) -> list[EntraPrincipalSettings]:
    if len({each.to_domain() for each in principals}) < len(principals):
        raise ValueError("must name each principal once for a role")
    return principals


EntraPrincipals = Annotated[list[EntraPrincipalSettings], Field(max_length=_MAX_PRINCIPALS), AfterValidator(_each_once)]
