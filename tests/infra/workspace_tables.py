"""Tables of Application Insights in a workspace, as Azure documents them.

https://learn.microsoft.com/azure/azure-monitor/reference/tables/appmetrics, and its neighbours
"""

from __future__ import annotations

from collections.abc import Mapping

_TEXTS = (
    "AppRoleInstance",
    "AppRoleName",
    "AppVersion",
    "ClientBrowser",
    "ClientCity",
    "ClientCountryOrRegion",
    "ClientIP",
    "ClientModel",
    "ClientOS",
    "ClientStateOrProvince",
    "ClientType",
    "IKey",
    "_IsBillable",
    "OperationId",
    "OperationName",
    "ParentId",
    "ResourceGUID",
    "_ResourceId",
    "SDKVersion",
    "SessionId",
    "SourceSystem",
    "_SubscriptionId",
    "SyntheticSource",
    "TenantId",
    "Type",
    "UserAccountId",
    "UserAuthenticatedId",
    "UserId",
)
_COMMON = {
    **dict.fromkeys(_TEXTS, "string"),
    "TimeGenerated": "datetime",
    "Properties": "dynamic",
    "ItemCount": "int",
    "_BilledSize": "real",
}
_REFERENCED = {"ReferencedItemId": "string", "ReferencedType": "string", "Measurements": "dynamic"}
TABLES: Mapping[str, Mapping[str, str]] = {
    "AppMetrics": {**_COMMON, "Name": "string", "Sum": "real", "Min": "real", "Max": "real"},
    "AppTraces": {**_COMMON, **_REFERENCED, "Message": "string", "SeverityLevel": "int"},
    "AppRequests": {
        **_COMMON,
        "Measurements": "dynamic",
        "DurationMs": "real",
        "Id": "string",
        "Name": "string",
        "PerformanceBucket": "string",
        "ResultCode": "string",
        "Source": "string",
        "Success": "bool",
        "Url": "string",
    },
    "AppDependencies": {
        **_COMMON,
        **_REFERENCED,
        "Data": "string",
        "DependencyType": "string",
        "DurationMs": "real",
        "Id": "string",
        "Name": "string",
        "PerformanceBucket": "string",
        "ResultCode": "string",
        "Success": "bool",
        "Target": "string",
    },
    "AppExceptions": {
        **_COMMON,
        "Measurements": "dynamic",
        "Assembly": "string",
        "Details": "dynamic",
        "ExceptionType": "string",
        "HandledAt": "string",
        "Message": "string",
        "Method": "string",
        "OuterMessage": "string",
        "OuterType": "string",
        "ProblemId": "string",
        "SeverityLevel": "int",
    },
}
