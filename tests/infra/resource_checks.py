"""Checks of resources in each profile: names, roles, networks, storage, keys, models."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Network
from typing import Any, Final

from shared.adapters.blobs import anchors, reports
from tests.infra.subject import (
    ENDPOINT,
    IDENTITY,
    OPENAI,
    ROLE,
    SITE,
    STORAGE,
    VAULT,
    Subject,
    infrastructure_page,
    profile_parameters,
)
from tests.tools.bicep_evaluation import CLOUDS, Deployed, EvaluationProblem, Template

REQUIRED_OUTPUTS: Final = frozenset(
    {
        "GATEWAY_URL", "GATEWAY_NAME", "GATEWAY_PROFILE", "GATEWAY_PLAN", "GATEWAY_IS_PRIVATE", "GATEWAY_CLIENT_ID",
        "GATEWAY_PRINCIPAL_ID", "AZURE_RESOURCE_GROUP", "BOOKS_RESOURCE_GROUP", "BOOKS_STORAGE_ACCOUNT",
        "BOOKS_TABLE_ENDPOINT", "BOOKS_BLOB_ENDPOINT", "HOST_STORAGE_ACCOUNT", "PACKAGES_URL", "AZURE_KEY_VAULT_ID",
        "AZURE_KEY_VAULT_NAME", "AZURE_KEY_VAULT_URL", "ENTRA_CLIENT_ID", "AZURE_OPENAI_BACKENDS",
        "APPLICATIONINSIGHTS_NAME", "LOG_ANALYTICS_WORKSPACE_ID", "BOOKS_IMMUTABILITY", "BACKUP_STORAGE_ACCOUNT",
    }
)  # fmt: skip
"""Outputs that hooks and scripts read."""
GATEWAY_ROLES: Final = frozenset(
    {
        ("storageAccounts/sthost", "storageBlobDataOwner"),
        ("storageAccounts/sthost", "storageQueueDataContributor"),
        ("storageAccounts/sthost", "storageTableDataContributor"),
        ("storageAccounts/stbooks", "storageTableDataContributor"),
        ("containers/anchors", "storageBlobDataContributor"),
        ("containers/chargeback", "storageBlobDataContributor"),
        ("vaults/kv-", "keyVaultSecretsUser"),
        ("vaults/kv-", "keyVaultCryptoUser"),
        ("components/appi-", "monitoringMetricsPublisher"),
    }
)
"""The roles of the gateway's identity beside those at models. A scope is stated by how its last two parts begin."""
_NAMES: Final[Mapping[str, str]] = {
    STORAGE: r"[a-z0-9]{3,24}",
    VAULT: r"(?=.{3,24}$)[A-Za-z][A-Za-z0-9]*(-[A-Za-z0-9]+)*",
    OPENAI: r"(?=.{2,64}$)[a-z0-9][a-z0-9-]*[a-z0-9]",
    SITE: r"(?=.{2,32}$)[a-z0-9][a-z0-9-]*[a-z0-9]",
    ENDPOINT: r"[a-zA-Z0-9][\w.-]{0,62}\w",
    IDENTITY: r"[A-Za-z0-9][\w-]{2,127}",
    "Microsoft.Network/virtualNetworks": r"[a-zA-Z0-9][\w.-]{0,62}\w",
    "Microsoft.Resources/resourceGroups": r"[\w.()-]{0,89}[\w()-]",
    "Microsoft.OperationalInsights/workspaces": r"[A-Za-z0-9][A-Za-z0-9-]{2,61}[A-Za-z0-9]",
    "Microsoft.Authorization/roleAssignments": r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
}
"""https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules"""
_UNTAGGED: Final = re.compile(
    r"Microsoft\.Authorization/.*|Microsoft\.Insights/diagnosticSettings|Microsoft\.Consumption/.*"
    r"|microsoft\.insights/.*|Microsoft\.Storage/storageAccounts/.*|Microsoft\.Web/sites/.*"
    r"|Microsoft\.Network/(virtualNetworks|privateEndpoints)/.*"
)
"""Types that have no tags."""
_DIAGNOSED: Final = frozenset(
    {
        STORAGE, f"{STORAGE}/blobServices", f"{STORAGE}/tableServices", VAULT, OPENAI, SITE,
        "Microsoft.Network/virtualNetworks", "Microsoft.Network/networkSecurityGroups",
        "Microsoft.Network/publicIPAddresses", "Microsoft.OperationalInsights/workspaces",
    }
)  # fmt: skip
"""Types that have logs or metrics of their own."""
ADDRESS_SPACES: Final = ("10.80.0.0/23", "192.168.10.0/23", "172.16.0.0/16", "10.0.0.0/22")


def outputs(subject: Subject) -> Iterator[str]:
    for profile, template in subject.templates.items():
        yield from (f"{profile}: no {name}" for name in REQUIRED_OUTPUTS - template.outputs.keys())


def names(subject: Subject) -> Iterator[str]:
    """Names keep to Azure's rules, also those of the longest environment and account. No two resources are one."""
    longest = {
        **profile_parameters(subject.sources, "private"),
        "environmentName": "e" * 32,
        "openAiAccounts": [{"name": "a" * 20, "location": "swedencentral", "deployments": []}],
    }
    for template in (*subject.templates.values(), subject.template(longest)):
        for resource in template.resources:
            pattern = _NAMES.get(resource.type)
            if pattern and not re.fullmatch(pattern, resource.name):
                yield f"{resource.type} cannot be named {resource.name}"
        counts = Counter(resource.id.lower() for resource in template.resources)
        yield from (f"{resource} is made {count} times" for resource, count in counts.items() if count > 1)


def tags(subject: Subject) -> Iterator[str]:
    for profile, template in subject.templates.items():
        for resource in template.resources:
            has_none = "azd-env-name" not in resource.body.get("tags", {})
            if has_none and not _UNTAGGED.fullmatch(resource.type):
                yield f"{profile}: {resource.path} leaves {resource.symbol} without tags"
        yield from (
            f"{profile}: azd does not find the app"
            for site in template.of(SITE)
            if site.body["tags"].get("azd-service-name") != "gateway"
        )


def diagnostics(subject: Subject) -> Iterator[str]:
    for profile, template in subject.templates.items():
        settings = template.of("Microsoft.Insights/diagnosticSettings")
        diagnosed = {each.scope_id for each in settings if each.properties["workspaceId"]}
        for resource in template.resources:
            if resource.type in _DIAGNOSED and resource.id not in diagnosed:
                yield f"{profile}: {resource.symbol} of {resource.path} sends no diagnostics"


def keys_off(subject: Subject) -> Iterator[str]:
    """Nothing can be reached with a key, or without TLS."""
    for profile, template in subject.templates.items():
        for account in template.of(STORAGE):
            wanted = {
                "allowSharedKeyAccess": False, "allowBlobPublicAccess": False, "supportsHttpsTrafficOnly": True,
                "minimumTlsVersion": "TLS1_2", "allowCrossTenantReplication": False,
            }  # fmt: skip
            yield from _differences(f"{profile}: {account.symbol} of {account.path}", account.properties, wanted)
        for account in template.of(OPENAI):
            yield from _differences(f"{profile}: models", account.properties, {"disableLocalAuth": True})
        for component in template.of("Microsoft.Insights/components"):
            yield from _differences(f"{profile}: insights", component.properties, {"DisableLocalAuth": True})
        for workspace in template.of("Microsoft.OperationalInsights/workspaces"):
            yield from _differences(
                f"{profile}: the workspace", workspace.properties["features"], {"disableLocalAuth": True}
            )


def vault(subject: Subject) -> Iterator[str]:
    """Roles decide at the vault, nothing is lost there, and it has a key that ES256 can use."""
    for profile, template in subject.templates.items():
        for each in template.of(VAULT):
            wanted = {"enableRbacAuthorization": True, "enablePurgeProtection": True, "enableSoftDelete": True}
            yield from _differences(f"{profile}: the vault", each.properties, wanted)
        key = template.of(f"{VAULT}/keys")[0]
        yield from _differences(f"{profile}: the key", key.properties, {"kty": "EC", "curveName": "P-256"})
        setting = next(each for each in template.of(f"{SITE}/config") if each.name == "appsettings")
        if setting.properties.get("AUDIT_SIGNING_KEY_NAME") != key.name:
            yield f"{profile}: the gateway does not know the key {key.name}"
    recovered = subject.template({**profile_parameters(subject.sources, "private"), "recoversKeyVault": True})
    yield from _differences("a deleted vault", recovered.of(VAULT)[0].properties, {"createMode": "recover"})


def keys_named_alike(subject: Subject) -> Iterator[str]:
    """The gateway finds the vault's keys by the same names in a cluster, in Container Apps and by hand."""
    template = subject.templates["private"]
    setting = next(each for each in template.of(f"{SITE}/config") if each.name == "appsettings").properties
    name = setting["AUDIT_SIGNING_KEY_NAME"]
    for path, pattern in (
        ("infra/kubernetes/settings.yaml", rf"AUDIT_SIGNING_KEY_NAME: {name}\n"),
        ("infra/container-apps/main.bicep", rf"param signingKeyName string = '{name}'"),
        ("docs/guide/operators.md", rf"az keyvault key create .*--name {name} "),
    ):
        if not re.search(pattern, subject.sources.text(path)):
            yield f"{path} does not name the key {name}"


def first_secrets(subject: Subject) -> Iterator[str]:
    """A first provision writes the secrets under the names of the settings. A second one passes and writes none."""
    given = dict.fromkeys(("adminKey", "chainKey", "privacyKey"), "0123456789abcdefghijklmnopqrstuvwxyz")
    for profile, template in subject.templates.items():
        yield from (f"{profile}: {each.symbol} is written again" for each in template.of(f"{VAULT}/secrets"))
        first = subject.template({**profile_parameters(subject.sources, profile), **given}, template.cloud)
        settings = next(each.properties for each in first.of(f"{SITE}/config") if each.name == "appsettings")
        wanted = {value for name, value in settings.items() if name.endswith("_SECRET_NAME")}
        if (written := {each.name for each in first.of(f"{VAULT}/secrets")}) != wanted:
            yield f"{profile}: {written} are written, {wanted} are read"


def public_access(subject: Subject) -> Iterator[str]:
    """Where there is a private network, only the app may be public. Elsewhere nothing is closed."""
    for profile, template in subject.templates.items():
        is_private = bool(template.of(ENDPOINT))
        wanted = "Disabled" if is_private else "Enabled"
        for kind in (STORAGE, VAULT, OPENAI, SITE):
            for resource in template.of(kind):
                if (access := resource.properties["publicNetworkAccess"]) != wanted:
                    yield f"{profile}: {resource.symbol} of {resource.path} is {access}"
                default = resource.properties.get("networkAcls", {}).get("defaultAction")
                if default not in (None, "Deny" if is_private else "Allow"):
                    yield f"{profile}: {resource.symbol} of {resource.path} lets others in by default"
    opened = subject.template({**profile_parameters(subject.sources, "private"), "isGatewayPublic": True})
    if opened.of(SITE)[0].properties["publicNetworkAccess"] != "Enabled" or opened.outputs["GATEWAY_IS_PRIVATE"]:
        yield "a private network's app cannot be public"


def private_endpoints(subject: Subject) -> Iterator[str]:
    """A closed resource has an endpoint for each service that the gateway uses, in the zone of that cloud."""
    for profile, template in subject.templates.items():
        if not template.of(ENDPOINT):
            continue
        found = {_connection(each) for each in template.of(ENDPOINT)}
        for target, group in _wanted_endpoints(template):
            if (target, group) not in found:
                yield f"{profile}: no endpoint for {group} of {target}"
        zone_groups = {each.scope_id: each for each in template.of(f"{ENDPOINT}/privateDnsZoneGroups")}
        for each in template.of(ENDPOINT):
            listed = zone_groups[each.id].properties["privateDnsZoneConfigs"] if each.id in zone_groups else []
            zones = {config["properties"]["privateDnsZoneId"].rsplit("/", 1)[-1] for config in listed}
            if zones != _zones_of(_connection(each)[1], template.cloud):
                yield f"{profile}: {each.name} is in the zones {sorted(zones)}"


def zones_linked(subject: Subject) -> Iterator[str]:
    """Each zone that the template makes is linked to the network, and no zone of a hub is made again."""
    for profile, template in subject.templates.items():
        zones = template.of("Microsoft.Network/privateDnsZones")
        linked = {each.scope_id for each in template.of("Microsoft.Network/privateDnsZones/virtualNetworkLinks")}
        yield from (f"{profile}: {zone.name} is not linked" for zone in zones if zone.id not in linked)
        if zones and "dnsZoneGroupId" in profile_parameters(subject.sources, profile):
            yield f"{profile}: the hub's zones are made again"


def subnets(subject: Subject) -> Iterator[str]:
    """Subnets have their sizes and services, and do not overlap, in whichever address space."""
    for space in ADDRESS_SPACES:
        values = {**profile_parameters(subject.sources, "private"), "addressSpace": space, "hasDnsResolver": True}
        try:
            template = subject.template(values)
        except EvaluationProblem as problem:
            yield f"{space}: {problem}"
            continue
        found = template.of("Microsoft.Network/virtualNetworks")[0].properties["subnets"]
        prefixes = {each["name"]: IPv4Network(each["properties"]["addressPrefix"]) for each in found}
        for name, prefix in prefixes.items():
            if "_" in name or prefix.prefixlen > {"functions": 26, "endpoints": 26, "resolver": 28}[name]:
                yield f"{space}: the subnet {name} is {prefix}"
            if not IPv4Network(space).supernet_of(prefix):
                yield f"{space}: {name} is outside"
            yield from (
                f"{space}: {name} overlaps {other}"
                for other, taken in prefixes.items()
                if other < name and prefix.overlaps(taken)
            )
    yield from _delegations(subject)


def roles_known(subject: Subject) -> Iterator[str]:
    known = json.loads(subject.sources.text("infra/roles.json"))
    documented = dict(re.findall(r"^\| `(\w+)` \| `([0-9a-f-]{36})` \|", infrastructure_page(), re.MULTILINE))
    yield from (f"{name} differs from the documented GUID" for name in known if known[name] != documented.get(name))
    for profile, template in subject.templates.items():
        for role in template.of(ROLE):
            if _role_id(role) not in known.values():
                yield f"{profile}: {role.path} gives the role {_role_id(role)}"


def roles_of_gateway(subject: Subject) -> Iterator[str]:
    """The identity of the gateway has exactly the roles that it needs, each at the narrowest scope."""
    titles = {guid: name for name, guid in json.loads(subject.sources.text("infra/roles.json")).items()}
    for profile, template in subject.templates.items():
        principal = f"{template.of(IDENTITY)[0].id}:properties.principalId"
        given = {
            ("/".join(role.scope_id.rsplit("/", 2)[-2:]), titles.get(_role_id(role), _role_id(role)))
            for role in template.of(ROLE)
            if role.properties["principalId"] == principal
        }
        models = {each for each in given if each[0].startswith("accounts/")}
        for scope, title in given - models:
            if not any(title == role and scope.startswith(begin) for begin, role in GATEWAY_ROLES):
                yield f"{profile}: {title} at {scope}"
        for begin, role in GATEWAY_ROLES:
            if not any(title == role and scope.startswith(begin) for scope, title in given):
                yield f"{profile}: no {role} at {begin}"
        called = {each["endpoint"].partition(":")[0].rsplit("/", 1)[-1] for each in _backends(template)}
        reachable = {scope.partition("/")[2] for scope, title in models if title == "cognitiveServicesOpenAiUser"}
        yield from (f"{profile}: {account} cannot be called" for account in called - reachable)


def roles_of_people(subject: Subject) -> Iterator[str]:
    """Each duty gets its roles and no other. Nobody but the gateway writes books."""
    wanted = {
        "operator": {"monitoringReader", "logAnalyticsReader", "keyVaultSecretsOfficer", "storageTableDataReader",
                     "storageBlobDataReader"},
        "auditor": {"storageTableDataReader", "storageBlobDataReader"},
        "accountant": {"storageBlobDataReader", "costManagementReader"},
        "pipeline": {"websiteContributor", "storageBlobDataContributor"},
    }  # fmt: skip
    titles = {guid: name for name, guid in json.loads(subject.sources.text("infra/roles.json")).items()}
    people = [{"principalId": duty, "principalType": "Group", "duty": duty} for duty in wanted]
    template = subject.template({**profile_parameters(subject.sources, "private"), "people": people})
    for duty, expected in wanted.items():
        given = [role for role in template.of(ROLE) if role.properties["principalId"] == duty]
        if {titles.get(_role_id(role)) for role in given} != expected:
            yield f"{duty}: {sorted(str(titles.get(_role_id(role))) for role in given)}"
        for role in given:
            if titles.get(_role_id(role), "").endswith("Contributor") and "stbooks" in role.scope_id:
                yield f"{duty} writes the books"
            is_broad = "/providers/" not in role.scope_id
            if is_broad and titles.get(_role_id(role)) not in ("monitoringReader", "costManagementReader"):
                yield f"{duty}: {titles.get(_role_id(role))} at {role.scope_id}"


def roles_once(subject: Subject) -> Iterator[str]:
    """Whoever has several duties, and deploys too, gets each role once: Azure refuses two resources of one name."""
    duties = ("operator", "auditor", "accountant", "pipeline")
    values = {
        **profile_parameters(subject.sources, "private"),
        "people": [{"principalId": "ann", "principalType": "User", "duty": duty} for duty in (*duties, "auditor")],
        "principalId": "ann",
        "backupLocation": "northeurope",
    }
    counts = Counter(role.id for role in subject.template(values).of(ROLE))
    yield from (f"{role} is given {count} times" for role, count in counts.items() if count > 1)


def monitor_links(subject: Subject) -> Iterator[str]:
    """A new workspace is linked to a private link scope. Azure refuses a second link of one that existed before."""
    scope = "/subscriptions/s/resourceGroups/g/providers/microsoft.insights/privateLinkScopes/scope"
    for profile, template in subject.templates.items():
        values = {**profile_parameters(subject.sources, profile), "monitorLinkScopeId": scope}
        linked = subject.template(values, template.cloud).of("microsoft.insights/privateLinkScopes/scopedResources")
        made = 1 + len(template.of("Microsoft.OperationalInsights/workspaces"))
        if len(linked) != made:
            yield f"{profile}: {len(linked)} links, {made} resources"


def containers(subject: Subject) -> Iterator[str]:
    """Each container that the gateway writes is made in the books' account, whose group outlives the gateway."""
    for profile, template in subject.templates.items():
        books = template.outputs["BOOKS_RESOURCE_GROUP"]
        made = {each.name for each in template.of(f"{STORAGE}/blobServices/containers") if f"/{books}/" in each.id}
        if made != {anchors.CONTAINER, reports.CONTAINER}:
            yield f"{profile}: {sorted(made)}"


def outlives_teardown(subject: Subject) -> Iterator[str]:
    """The group of the books holds accounts of books and the vault, and what hangs on them. Nothing else is there."""
    for profile, template in subject.templates.items():
        books = template.outputs["BOOKS_RESOURCE_GROUP"]
        if books == template.outputs["AZURE_RESOURCE_GROUP"]:
            yield f"{profile}: the books are in the gateway's group"
        kinds = {
            each.id.split("/providers/")[1].split("/")[1] for each in template.resources if f"/{books}/" in each.id
        }
        yield from (f"{profile}: {kind} outlive a teardown" for kind in kinds - {"storageAccounts", "vaults"})
        if f"/{books}/" not in template.of(f"{STORAGE}/tableServices")[0].id:
            yield f"{profile}: the books do not outlive a teardown"
        locked = {each.scope_id for each in template.of("Microsoft.Authorization/locks")}
        for each in (*template.of(STORAGE), *template.of(VAULT)):
            if profile != "public" and f"/{books}/" in each.id and each.id not in locked:
                yield f"{profile}: {each.name} can be deleted"


def immutability(subject: Subject) -> Iterator[str]:
    """Policies stand on both containers, never in a trial, and none is written again once it is locked."""
    kind = f"{STORAGE}/blobServices/containers/immutabilityPolicies"
    for profile, template in subject.templates.items():
        policies = template.of(kind)
        if len(policies) != (0 if profile == "public" else 2):
            yield f"{profile}: {len(policies)} policies"
        for each in policies:
            if each.properties["immutabilityPeriodSinceCreationInDays"] < 365:
                yield f"{profile}: {each.scope_id} can soon be changed"
    locked = subject.template({**profile_parameters(subject.sources, "private"), "booksImmutability": "locked"})
    yield from ("a locked policy is written again" for _ in locked.of(kind))
    yield from _immutability_of_backups(subject, kind)


def _immutability_of_backups(subject: Subject, kind: str) -> Iterator[str]:
    """Copies of books have a policy of their own, also where they come after the books were locked."""
    for profile, own, books, wanted in (
        ("private", None, "unlocked", 1),
        ("private", None, "locked", 1),
        ("private", "locked", "locked", 0),
        ("public", None, None, 0),
    ):
        values = {**profile_parameters(subject.sources, profile), "backupLocation": "northeurope"}
        given = {"booksImmutability": books, "backupImmutability": own}
        template = subject.template({**values, **{name: value for name, value in given.items() if value}})
        policies = [each for each in template.of(kind) if each.scope_id.endswith("/backups")]
        if len(policies) != wanted:
            yield f"{profile}: backups have {len(policies)} policies where books are {books} and they {own}"


def books_are_kept(subject: Subject) -> Iterator[str]:
    """Copies of the books are in several zones, and what is overwritten or deleted stays for a time."""
    for profile, template in subject.templates.items():
        books = next(each for each in template.of(STORAGE) if each.name.startswith("stbooks"))
        if "ZRS" not in books.body["sku"]["name"]:
            yield f"{profile}: the books are {books.body['sku']['name']}"
        blobs = next(each for each in template.of(f"{STORAGE}/blobServices") if each.scope_id == books.id)
        if not blobs.properties.get("isVersioningEnabled"):
            yield f"{profile}: no versions are kept"
        for name in ("deleteRetentionPolicy", "containerDeleteRetentionPolicy"):
            if not blobs.properties.get(name, {}).get("enabled"):
                yield f"{profile}: no {name}"
        if not template.of(f"{STORAGE}/managementPolicies"):
            yield f"{profile}: no lifecycle"


def spillover(subject: Subject) -> Iterator[str]:
    """Azure spills only where the backend says so, to a deployment that exists before."""
    for profile, template in subject.templates.items():
        made = template.of(f"{OPENAI}/deployments")
        order = [each.id for each in made]
        stated = {
            (each["endpoint"].partition(":")[0], each["deployment"]): (each["spillover_deployment"] or {}).get(
                "deployment"
            )
            for each in _backends(template)
        }
        for each in made:
            target = each.properties.get("spilloverDeploymentName")
            if stated.get((each.scope_id, each.name)) != target:
                yield f"{profile}: {each.name} spills to {target}, its backend says otherwise"
            before = f"{each.scope_id}/deployments/{target}"
            if target and (before not in order or order.index(before) > order.index(each.id)):
                yield f"{profile}: {target} does not exist before {each.name}"
        if profile == "private" and not any(stated.values()):
            yield f"{profile}: nothing spills"


def models(subject: Subject) -> Iterator[str]:
    """Versions stay as they are priced, filters exist, ids of backends are unique."""
    for profile, template in subject.templates.items():
        filters = {(each.scope_id, each.name) for each in template.of(f"{OPENAI}/raiPolicies")}
        for each in template.of(f"{OPENAI}/deployments"):
            if each.properties["versionUpgradeOption"] != "NoAutoUpgrade":
                yield f"{profile}: {each.name} changes its version by itself"
            named = each.properties["raiPolicyName"]
            if not named.startswith("Microsoft.") and (each.scope_id, named) not in filters:
                yield f"{profile}: there is no filter {named}"
        ids = [each["id"] for each in _backends(template)]
        if len(ids) != len(set(ids)) or not all(re.fullmatch(r"[a-z0-9][a-z0-9-]*", each) for each in ids):
            yield f"{profile}: the backends {ids}"
        for account in template.of(OPENAI):
            if account.properties.get("customSubDomainName") != account.name:
                yield f"{profile}: {account.name} accepts no tokens"


def alert_topic(subject: Subject) -> Iterator[str]:
    """A topic of alerts takes CloudEvents from the identity alone, by a private endpoint where needed."""
    kind = "Microsoft.EventGrid/topics"
    for profile, template in subject.templates.items():
        yield from (f"{profile}: {each.name} was not asked for" for each in template.of(kind))
        values = {**profile_parameters(subject.sources, profile), "hasAlertTopic": True}
        asked = subject.template(values, template.cloud)
        topic = asked.of(kind)[0]
        wanted = {"disableLocalAuth": True, "inputSchema": "CloudEventSchemaV1_0"}
        yield from _differences(f"{profile}: the topic", topic.properties, wanted)
        senders = [each.properties["principalId"] for each in asked.of(ROLE) if each.scope_id == topic.id]
        if senders != [f"{asked.of(IDENTITY)[0].id}:properties.principalId"]:
            yield f"{profile}: {senders} may send"
        endpoints = [each for each in asked.of(ENDPOINT) if _connection(each) == (topic.id, "topic")]
        if len(endpoints) != bool(asked.of(ENDPOINT)):
            yield f"{profile}: {len(endpoints)} endpoints"
        settings = next(each.properties for each in asked.of(f"{SITE}/config") if each.name == "appsettings")
        if settings.get("ALERT_EVENT_GRID_ENDPOINT") != f"{topic.id}:properties.endpoint":
            yield f"{profile}: the gateway does not know the topic"


def _differences(what: str, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"{what}: {name} is {found.get(name)}" for name in wanted if found.get(name) != wanted[name])


def _role_id(role: Deployed) -> str:
    return str(role.properties["roleDefinitionId"]).rsplit("/", 1)[-1]


def _backends(template: Template) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = template.outputs["AZURE_OPENAI_BACKENDS"]
    return found


def _connection(endpoint: Deployed) -> tuple[str, str]:
    """Return the target of an endpoint and its group."""
    properties = endpoint.properties["privateLinkServiceConnections"][0]["properties"]
    return properties["privateLinkServiceId"], properties["groupIds"][0]


def _wanted_endpoints(template: Template) -> Iterator[tuple[str, str]]:
    for account in template.of(STORAGE):
        yield from ((account.id, group) for group in ("blob", "table"))
        if account.name.startswith("sthost"):
            yield account.id, "queue"
    yield template.outputs["AZURE_KEY_VAULT_ID"], "vault"
    yield from ((site.id, "sites") for site in template.of(SITE))
    yield from {(each["endpoint"].partition(":")[0], "account") for each in _backends(template)}


def _zones_of(group: str, cloud: str) -> set[str]:
    """https://learn.microsoft.com/azure/private-link/private-endpoint-dns"""
    end = {"AzureCloud": "com", "AzureUSGovernment": "us", "AzureChinaCloud": "cn"}[cloud]
    storage, vaults = CLOUDS[cloud]["storage"], CLOUDS[cloud]["keyvaultDns"].removeprefix(".vault.")
    known = {
        "vault": {f"privatelink.vaultcore.{vaults}"},
        "account": {f"privatelink.openai.azure.{end}", f"privatelink.cognitiveservices.azure.{end}"},
        "topic": {f"privatelink.eventgrid.azure.{'net' if cloud == 'AzureCloud' else end}"},
        "sites": {
            "privatelink.chinacloudsites.cn"
            if cloud == "AzureChinaCloud"
            else f"privatelink.azurewebsites.{'net' if cloud == 'AzureCloud' else 'us'}"
        },
    }
    if group == "account" and cloud == "AzureCloud":
        known["account"].add("privatelink.services.ai.azure.com")
    return known.get(group, {f"privatelink.{group}.{storage}"})


def _delegations(subject: Subject) -> Iterator[str]:
    """The app's subnet belongs to the plan's service, and has no endpoints in it."""
    for profile, template in subject.templates.items():
        for network in template.of("Microsoft.Network/virtualNetworks"):
            by_name = {each["name"]: each["properties"] for each in network.properties["subnets"]}
            service = by_name["functions"]["delegations"][0]["properties"]["serviceName"]
            is_flex = template.outputs["GATEWAY_PLAN"] == "flex"
            if service != ("Microsoft.App/environments" if is_flex else "Microsoft.Web/serverFarms"):
                yield f"{profile}: the app's subnet belongs to {service}"
            used = {each.properties["subnet"]["id"].rsplit("/", 1)[-1] for each in template.of(ENDPOINT)}
            site = template.of(SITE)[0].properties["virtualNetworkSubnetId"] or ""
            if used != {"endpoints"} or not site.endswith("/functions"):
                yield f"{profile}: the app is in {site}, endpoints are in {sorted(used)}"
