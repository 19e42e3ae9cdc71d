"""The built-in policies that the initiative uses, as Azure publishes them. https://github.com/Azure/azure-policy"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

AUDIT_DENY = frozenset({"Audit", "Deny", "Disabled"})
AUDIT = frozenset({"Audit", "Disabled"})
AUDIT_IF_NOT_EXISTS = frozenset({"AuditIfNotExists", "Disabled"})
MODIFY = frozenset({"Modify", "Disabled"})
DEPLOY = frozenset({"DeployIfNotExists", "Disabled"})
CONTRIBUTOR = "b24988ac-6180-42a0-ab88-20f7382dd24c"
LOG_ANALYTICS_CONTRIBUTOR = "92aaf0da-9dab-42b6-94a3-d43ce8d16293"
NETWORK_CONTRIBUTOR = "4d97b98b-1d4f-4787-a291-c67834d212e7"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltIn:
    """One policy: its version, its effects, and its parameters beside `effect`; `True` marks those without default."""

    title: str
    version: str
    effects: frozenset[str]
    parameters: Mapping[str, bool] = field(default_factory=dict)
    remediation_role: str | None = None


BUILT_INS: Mapping[str, BuiltIn] = {
    "71ef260a-8f18-47b7-abcb-62d0673d94dc": BuiltIn(
        title="Azure AI Services resources should have key access disabled (disable local authentication)",
        version="1.1.0",
        effects=AUDIT_DENY,
    ),
    "8c6a50c6-9ffd-4ae7-986f-5fa6111f9a54": BuiltIn(
        title="Storage accounts should prevent shared key access", version="2.0.0", effects=AUDIT_DENY
    ),
    "199d5677-e4d9-4264-9465-efe1839c06bd": BuiltIn(
        title="Application Insights components should block non-Azure Active Directory based ingestion.",
        version="1.0.0",
        effects=AUDIT_DENY,
    ),
    "14de9e63-1b31-492e-a5a3-c3f7fd57f555": BuiltIn(
        title="Configure Cognitive Services accounts to disable local authentication methods",
        version="1.0.0",
        effects=MODIFY,
        remediation_role=CONTRIBUTOR,
    ),
    "d6759c02-b87f-42b7-892e-71b3f471d782": BuiltIn(
        title="Azure AI Services resources should use Azure Private Link", version="1.0.0", effects=AUDIT
    ),
    "037eea7a-bd0a-46c5-9a66-03aea78705d3": BuiltIn(
        title="Azure AI Services resources should restrict network access", version="3.3.0", effects=AUDIT_DENY
    ),
    "34c877ad-507e-4c82-993e-3452a6e0ad3c": BuiltIn(
        title="Storage accounts should restrict network access", version="1.1.1", effects=AUDIT_DENY
    ),
    "c4bc6f10-cb41-49eb-b000-d5ab82e2a091": BuiltIn(
        title="Configure Cognitive Services accounts to use private DNS zones",
        version="1.0.0",
        effects=DEPLOY,
        parameters={"privateDnsZoneId": True},
        remediation_role=NETWORK_CONTRIBUTOR,
    ),
    "1b4d1c4e-934c-4703-944c-27c82c06bebb": BuiltIn(
        title="Diagnostic logs in Azure AI services resources should be enabled",
        version="1.0.0",
        effects=AUDIT_IF_NOT_EXISTS,
    ),
    "55d1f543-d1b0-4811-9663-d6d0dbc6326d": BuiltIn(
        title="Enable logging by category group for Cognitive Services (microsoft.cognitiveservices/accounts) "
        "to Log Analytics",
        version="1.1.0",
        effects=DEPLOY | AUDIT_IF_NOT_EXISTS,
        parameters={
            "diagnosticSettingName": False,
            "categoryGroup": False,
            "resourceLocationList": False,
            "logAnalytics": True,
        },
        remediation_role=LOG_ANALYTICS_CONTRIBUTOR,
    ),
    "e56962a6-4747-49cd-b67b-bf8b01975c4c": BuiltIn(
        title="Allowed locations", version="1.1.0", effects=AUDIT_DENY, parameters={"listOfAllowedLocations": True}
    ),
    "aafe3651-cb78-4f68-9f81-e7e41509110f": BuiltIn(
        title="Cognitive Services Deployments should only use approved Registry Models",
        version="1.0.1",
        effects=AUDIT_DENY,
        parameters={"allowedPublishers": False, "allowedAssetIds": False},
    ),
    "f3a9c2e0-7b4d-4d8f-9c3a-2e1f6b9a8d4e": BuiltIn(
        title="[Preview]: Cognitive Services Deployments should only use allowed prompt content filtering",
        version="1.0.0-preview",
        effects=AUDIT,
        parameters={"filterName": True, "allowedEnabledForPrompt": False, "allowedBlockingForPrompt": False},
    ),
    "af253d37-136a-42f8-a1fc-30010c083d41": BuiltIn(
        title="[Preview]: Cognitive Services Deployments should only use allowed completion content filtering",
        version="1.0.0-preview",
        effects=AUDIT,
        parameters={"filterName": True, "allowedEnabledForCompletion": False, "allowedBlockingForCompletion": False},
    ),
    "fe3fd216-4f83-4fc1-8984-2bbec80a3418": BuiltIn(
        title="Cognitive Services accounts should use a managed identity", version="1.0.0", effects=AUDIT_DENY
    ),
    "0da106f2-4ca3-48e8-bc85-c638fe6aea8f": BuiltIn(
        title="Function apps should use managed identity", version="3.1.0", effects=AUDIT_IF_NOT_EXISTS
    ),
}

_ACCOUNTS = "Microsoft.CognitiveServices/accounts"
_STORAGE = "Microsoft.Storage/storageAccounts"


def _on(resource_type: str, *conditions: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"allOf": [{"field": "type", "equals": resource_type}, *conditions]}


DENIED: Mapping[str, Mapping[str, Any]] = {
    "71ef260a-8f18-47b7-abcb-62d0673d94dc": _on(
        _ACCOUNTS, {"field": f"{_ACCOUNTS}/disableLocalAuth", "notEquals": True}
    ),
    "8c6a50c6-9ffd-4ae7-986f-5fa6111f9a54": _on(
        _STORAGE,
        {
            "anyOf": [
                {"field": f"{_STORAGE}/allowSharedKeyAccess", "exists": "false"},
                {"field": f"{_STORAGE}/allowSharedKeyAccess", "equals": "true"},
            ]
        },
    ),
    "199d5677-e4d9-4264-9465-efe1839c06bd": _on(
        "Microsoft.Insights/components",
        {"field": "Microsoft.Insights/components/DisableLocalAuth", "notEquals": "true"},
    ),
    "037eea7a-bd0a-46c5-9a66-03aea78705d3": _on(
        _ACCOUNTS,
        {"field": f"{_ACCOUNTS}/publicNetworkAccess", "notEquals": "Disabled"},
        {"field": f"{_ACCOUNTS}/networkAcls.defaultAction", "notEquals": "Deny"},
    ),
    "34c877ad-507e-4c82-993e-3452a6e0ad3c": _on(
        _STORAGE, {"field": f"{_STORAGE}/networkAcls.defaultAction", "notEquals": "Deny"}
    ),
    "fe3fd216-4f83-4fc1-8984-2bbec80a3418": _on(
        _ACCOUNTS,
        {"anyOf": [{"field": "identity.type", "exists": "false"}, {"field": "identity.type", "equals": "None"}]},
    ),
}
"""Conditions of those that can deny what the template of this repository makes."""
