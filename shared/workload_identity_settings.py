"""Settings of the gateway's identity in Kubernetes. The webhook of workload identity sets them, except the client id.

https://learn.microsoft.com/azure/aks/workload-identity-overview
"""

from __future__ import annotations

from pydantic import ValidationInfo, field_validator
from pydantic_settings import BaseSettings

from shared.domain.identity.authority import authority_of
from shared.setting_rules import refuse


class WorkloadIdentitySettings(BaseSettings):
    """A part of `Settings`. `azure_federated_token_file` decides whether the others are needed."""

    azure_federated_token_file: str = ""
    """The file with the token of the service account, which Entra exchanges for its own. Kubernetes renews it."""
    azure_client_id: str = ""
    """The client id of the user-assigned identity, or of the application that trusts the service account."""
    azure_tenant_id: str = ""
    """The directory of that identity."""
    azure_authority_host: str = ""
    """The identity provider that exchanges the token; empty for that of the public cloud."""

    @field_validator("azure_client_id", "azure_tenant_id")
    @classmethod
    def _is_known_for_the_exchange(cls, text: str, info: ValidationInfo) -> str:
        if info.data.get("azure_federated_token_file") and not text:
            refuse("is required with AZURE_FEDERATED_TOKEN_FILE")
        return text

    @field_validator("azure_authority_host")
    @classmethod
    def _is_authority(cls, url: str, info: ValidationInfo) -> str:
        """Refuse an address to which a token must not be sent. Nothing is sent to it without a token's file."""
        if info.data.get("azure_federated_token_file") and url and authority_of(url) is None:
            refuse("must be an https URL without a path, such as https://login.microsoftonline.com/")
        return url
