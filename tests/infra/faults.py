"""Plausible mistakes in the template, each with the check that must find it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_MODULES: Final = "infra/modules"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A text of a file, and what somebody made of it."""

    check: str
    path: str
    old: str
    new: str


def _in(module: str, check: str, old: str, new: str) -> Fault:
    return Fault(check=check, path=f"{_MODULES}/{module}.bicep", old=old, new=new)


def _main(check: str, old: str, new: str) -> Fault:
    return Fault(check=check, path="infra/main.bicep", old=old, new=new)


FAULTS: Final[Mapping[str, Fault]] = {
    "a setting with a typing error": _in(
        "gateway-settings", "settings_known", "TRUSTED_PROXY_HOPS:", "TRUSTED_PROXY_HOP:"
    ),
    "a setting that was forgotten": _in(
        "gateway-settings", "settings_required", "  AUDIT_SIGNING_KEY_NAME: signingKeyName\n", ""
    ),
    "a chain key that is the privacy key": _in(
        "gateway-settings",
        "settings_accepted",
        "PRIVACY_KEY_SECRET_NAME: privacyKeyEntry",
        "PRIVACY_KEY_SECRET_NAME: chainKeyEntry",
    ),
    "a plain AzureWebJobsStorage": _in(
        "gateway-settings",
        "settings_forbidden",
        "  AzureWebJobsDisableHomepage: 'true'\n",
        "  AzureWebJobsDisableHomepage: 'true'\n  AzureWebJobsStorage: ''\n",
    ),
    "a runtime setting on Flex Consumption": _in(
        "gateway-settings",
        "settings_forbidden",
        "  PYTHON_ENABLE_OPENTELEMETRY: 'true'\n",
        "  PYTHON_ENABLE_OPENTELEMETRY: 'true'\n  FUNCTIONS_WORKER_RUNTIME: 'python'\n",
    ),
    "a reference to a secret": _in(
        "gateway-settings",
        "settings_forbidden",
        "ADMIN_API_KEY_SECRET_NAME: adminKeyEntry",
        "ADMIN_API_KEY: '@Microsoft.KeyVault(SecretUri=${keyVaultUrl}secrets/${adminKeyEntry})'",
    ),
    "the host's storage by resource id": _main(
        "settings_of_identity", "identityClientId: identity.outputs.clientId", "identityClientId: identity.outputs.id"
    ),
    "packages by client id": _main(
        "identity_of_app",
        "    identityId: identity.outputs.id\n    packagesUrl: host.outputs.packagesUrl\n    instance",
        "    identityId: identity.outputs.clientId\n    packagesUrl: host.outputs.packagesUrl\n    instance",
    ),
    "one request an instance": _in(
        "function-app",
        "flex_properties",
        "        triggers: { http: { perInstanceConcurrency: perInstanceConcurrency } }\n",
        "",
    ),
    "a property of another plan": _in(
        "function-app",
        "flex_properties",
        "      http20Enabled: true\n",
        "      http20Enabled: true\n      linuxFxVersion: 'Python|3.13'\n",
    ),
    "a timer that was renamed": _main(
        "always_ready", "'expire_reservations,level_lanes'", "'expire_reservations,level_rooms'"
    ),
    "one instance in one zone": _main("always_ready", "max(readyWanted, 2)", "max(readyWanted, 1)"),
    "a role of another service": Fault(
        check="roles_known",
        path="infra/roles.json",
        old="0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3",
        new="0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa4",
    ),
    "an owner of the books": _main(
        "roles_of_gateway",
        "role: roles.storageBlobDataContributor\n        }\n      ],\n      accessOf(empty(backupLocation) ? readers",
        "role: roles.storageBlobDataOwner\n        }\n      ],\n      accessOf(empty(backupLocation) ? readers",
    ),
    "a role at the account in place of the container": _in(
        "storage-books",
        "roles_of_gateway",
        "    scope: containers[0]\n    name: guid(containers[0].id,",
        "    scope: account\n    name: guid(account.id,",
    ),
    "auditors who can write": _main(
        "roles_of_people",
        "readers, pipelines), roles.storageTableDataReader",
        "readers, pipelines), roles.storageTableDataContributor",
    ),
    "a role that is given twice": _main("roles_once", "  union(\n    map(principals", "  concat(\n    map(principals"),
    "an output that was renamed": _in(
        "storage-books", "module_outputs", "output tableEndpoint string", "output tablesEndpoint string"
    ),
    "a parameter that nobody passes": _main(
        "module_parameters", "      isPrivate: isPrivate\n      isRestored", "      isRestored"
    ),
    "a type that does not fit": _main(
        "deployable", "retentionDays: booksRetentionDays", "retentionDays: string(booksRetentionDays)"
    ),
    "subnets that overlap": _in(
        "network", "subnets", "cidrSubnet(addressSpace, 28, 8)", "cidrSubnet(addressSpace, 28, 7)"
    ),
    "a subnet that is too small": _in(
        "network", "subnets", "cidrSubnet(addressSpace, 26, 0)", "cidrSubnet(addressSpace, 27, 0)"
    ),
    "a subnet of another service": _main(
        "subnets", "isFlex ? 'Microsoft.App/environments' : 'Microsoft.Web/serverFarms'", "'Microsoft.Web/serverFarms'"
    ),
    "no endpoint for tables": _main(
        "private_endpoints",
        "      { groupId: 'table', zones: [zoneNames.table] }\n      { groupId: 'blob'",
        "      { groupId: 'blob'",
    ),
    "a zone of the public cloud": Fault(
        check="private_endpoints",
        path="infra/clouds.json",
        old="privatelink.openai.azure.us",
        new="privatelink.openai.azure.com",
    ),
    "a zone that is linked to nothing": _in(
        "private-dns", "zones_linked", "for (zone, index) in newZoneNames", "for (zone, index) in take(newZoneNames, 2)"
    ),
    "books that the internet reaches": _in(
        "storage-books", "public_access", "isPrivate ? 'Disabled' : 'Enabled'", "'Enabled'"
    ),
    "keys of storage": _in("storage-host", "keys_off", "allowSharedKeyAccess: false", "allowSharedKeyAccess: true"),
    "keys of models": _in("openai-account", "keys_off", "    disableLocalAuth: true\n", ""),
    "a topic with keys": _in("alert-topic", "alert_topic", "    disableLocalAuth: true\n", ""),
    "no tags": _in("key-vault", "tags", "  location: location\n  tags: tags\n", "  location: location\n"),
    "no diagnostics": _in(
        "openai-account", "diagnostics", "  scope: account\n  name: 'workspace'", "  name: 'workspace'"
    ),
    "a vault without purge protection": _in("key-vault", "vault", "    enablePurgeProtection: true\n", ""),
    "a key of another curve": _in("key-vault-content", "vault", "curveName: 'P-256'", "curveName: 'P-256K'"),
    "a key of another name in Container Apps": Fault(
        check="keys_named_alike",
        path="infra/container-apps/main.bicep",
        old="'tallygate-anchors'",
        new="'audit-anchors'",
    ),
    "secrets at each provision": _in("key-vault-content", "first_secrets", " = if (!empty(chainKey)) {", " = {"),
    "a spillover that the backend does not state": _in(
        "openai-content",
        "spillover",
        "spillover_deployment: empty(each.?spilloverDeploymentName)",
        "spillover_deployment: true",
    ),
    "a spillover to what does not exist yet": _in(
        "openai-content", "serial_deployments", "// An account takes one change at a time.\n@batchSize(1)\n", ""
    ),
    "a container with another name": _in(
        "storage-books", "containers", "['anchors', 'chargeback']", "['anchors', 'statements']"
    ),
    "a policy that is written again": _in(
        "storage-books", "immutability", "if (immutability == 'unlocked')", "if (immutability != 'none')"
    ),
    "copies of locked books without a policy": _main(
        "immutability", "immutability: backupPolicy", "immutability: booksPolicies"
    ),
    "policies in a trial": _main("immutability", "booksImmutability: 'none'", "booksImmutability: 'unlocked'"),
    "books that a teardown deletes": _main(
        "outlives_teardown",
        "module books 'modules/storage-books.bicep' = {\n  scope: booksGroup",
        "module books 'modules/storage-books.bicep' = {\n  scope: gatewayGroup",
    ),
    "a name that Azure refuses": _main("names", "'kv-${token}')", "'kv_${token}')"),
    "an output that hooks read": _main("outputs", "output AZURE_KEY_VAULT_ID string", "output KEY_VAULT_ID string"),
    "a file that was moved": _main(
        "loaded_files", "loadJsonContent('clouds.json')", "loadJsonContent('data/clouds.json')"
    ),
    "modules in a circle": _in(
        "budget",
        "module_cycles",
        "resource budget ",
        "module again '../main.bicep' = {\n  params: { environmentName: 'a', location: 'b' }\n}\n\nresource budget ",
    ),
    "a host of one cloud": _main(
        "hosts_by_cloud", "'privatelink.blob.${storageSuffix}'", "'privatelink.blob.core.windows.net'"
    ),
    "a part of what may be absent": _main(
        "maybe_absent", "network!.outputs.endpointsSubnetId", "network.outputs.endpointsSubnetId"
    ),
    "a secret that is shown": _in(
        "key-vault-content",
        "secrets_stay_secret",
        "output url string = vault.properties.vaultUri",
        "output url string = chainKey",
    ),
    "a variable that azd does not give": Fault(
        check="azd_parameters", path="infra/main.parameters.json", old='    "people": { "value": [] },\n', new=""
    ),
    "an old version of TLS": _in(
        "function-app", "transport", "      minTlsVersion: '1.2'\n", "      minTlsVersion: '1.0'\n"
    ),
    "a model that changes its version": _in(
        "openai-content",
        "models",
        "'NoAutoUpgrade'\n      spilloverDeploymentName",
        "'OnceNewDefaultVersionAvailable'\n      spilloverDeploymentName",
    ),
    "books in one place": _main(
        "books_are_kept",
        "param booksRedundancy string = 'Standard_ZRS'",
        "param booksRedundancy string = 'Standard_LRS'",
    ),
    "an app before its endpoints": _main(
        "order",
        "  dependsOn: [hostEndpoints, booksEndpoints, vaultEndpoints]\n}\n\nmodule premiumApp",
        "  dependsOn: [hostEndpoints, vaultEndpoints]\n}\n\nmodule premiumApp",
    ),
    "an account that Azure's own policy refuses": _in(
        "openai-account", "denial", "  identity: { type: 'SystemAssigned' }\n", ""
    ),
    "a tag that is required of everything": _main(
        "denial", "costCenterTag: contains(tags, 'cost-center') ? 'cost-center' : ''", "costCenterTag: 'cost-center'"
    ),
    "all accounts are restored": _main(
        "restored",
        "contains(map(split(deletedAccounts, ','), name => trim(name)), last(split(accountIds[index], '/')))",
        "!empty(deletedAccounts)",
    ),
    "an account elsewhere": _in(
        "openai-content", "backend_regions", "toLower(replace(account.location, ' ', ''))", "'swedencentral'"
    ),
    "a lifecycle that deletes the books": _in(
        "storage-books",
        "deletion",
        "actions: { baseBlob: { tierToCool:",
        "actions: { baseBlob: { delete:",
    ),
    "books that cannot be written": _in("storage-books", "deletion", "level: 'CanNotDelete'", "level: 'ReadOnly'"),
    "telemetry with a key": _in("gateway-settings", "host_telemetry", ";Authorization=AAD'", "'"),
    "tokens of another cloud": Fault(
        check="hosts_of_cloud",
        path="infra/clouds.json",
        old="https://login.microsoftonline.us",
        new="https://login.microsoftonline.com",
    ),
    "a package that nobody writes": _in("function-app-premium", "plans", "/gateway.zip'", "/package.zip'"),
    "a name that Azure cuts": _in(
        "monitoring", "people_are_told", "groupShortName: 'tallygate'", "groupShortName: 'tallygate-alerts'"
    ),
    "a profile that is lost": _main("outputs", "output GATEWAY_PROFILE string", "output PROFILE string"),
}
