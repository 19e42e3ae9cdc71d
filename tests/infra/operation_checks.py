"""Checks of what happens over time: order, recovery, denial by policies, deletion, and other machines and clouds."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from tests.infra.subject import MAIN, OPENAI, SITE, STORAGE, Subject, profile_parameters
from tests.tools.bicep import ROOT, used_names
from tests.tools.bicep_evaluation import Template

BEFORE_THE_APP: Final = frozenset(
    {"identity", "host", "books", "keys", "hostEndpoints", "booksEndpoints", "vaultEndpoints"}
)
"""Roles, private endpoints and their names: the platform fetches the package with the app's identity."""
_AUTHORITIES: Final[Mapping[str, str]] = {
    "AzureCloud": "https://login.microsoftonline.com",
    "AzureUSGovernment": "https://login.microsoftonline.us",
    "AzureChinaCloud": "https://login.partner.microsoftonline.cn",
}
_EXISTING: Final = "/subscriptions/s/resourceGroups/rg-ai/providers/Microsoft.CognitiveServices/accounts/theirs"


def order(subject: Subject) -> Iterator[str]:
    """An app comes after all that its first start needs."""
    file = subject.sources.file(MAIN)
    declared = {**file.variables, **file.resources, **file.modules}
    uses = {name: {each for each in used_names(item.node) if each in declared} for name, item in declared.items()}
    for app in ("flexApp", "premiumApp"):
        before: set[str] = set()
        waiting = {app}
        while waiting:
            found = uses[waiting.pop()] - before
            before |= found
            waiting |= found
        yield from (f"{app} does not wait for {name}" for name in sorted(BEFORE_THE_APP - before))


def denial(subject: Subject) -> Iterator[str]:
    """Policies that deny refuse nothing of the template itself."""
    for profile in ("public", "private"):
        values = {**profile_parameters(subject.sources, profile), "tags": {}, "policyEnforcement": "deny"}
        for tags in ({}, {"cost-center": "ai"}):
            template = subject.template({**values, "tags": tags})
            given = template.of("Microsoft.Authorization/policyAssignments")[0].properties["parameters"]
            denied = {name: each["value"] for name, each in given.items()}
            yield from (f"{profile}: {each}" for each in _denied(template, denied))


def _denied(template: Template, denied: Mapping[str, Any]) -> Iterator[str]:
    if denied["effect"] != "Deny":
        yield "nothing is denied"
    accounts, storage = template.of(OPENAI), template.of(STORAGE)
    kept = [each for each in accounts if each.body.get("identity", {}).get("type", "None") != "None"]
    yield from (f"{each.name} has no identity" for each in accounts if each not in kept)
    if denied["networkEffect"] == "Deny":
        yield from (
            f"{each.name} is public" for each in accounts if each.properties["publicNetworkAccess"] != "Disabled"
        )
        open_to_all = [each for each in storage if each.properties["networkAcls"]["defaultAction"] != "Deny"]
        yield from (f"{each.name} is public" for each in open_to_all)
    if denied["costCenterEffect"] == "Deny":
        tagged = [each for each in template.resources if "tags" in each.body]
        tag = denied["costCenterTag"]
        yield from (f"{each.symbol} has no {tag}" for each in tagged if tag not in each.body["tags"])
    skus = {each.body["sku"]["name"] for each in template.of(f"{OPENAI}/deployments")}
    yield from (f"the SKU {each} is denied" for each in skus - set(denied["allowedSkus"]))


def restored(subject: Subject) -> Iterator[str]:
    """Accounts that were deleted are restored, and no other: Azure refuses that."""
    values = profile_parameters(subject.sources, "private")
    names = [each.name for each in subject.template(values).of(OPENAI)]
    for deleted in ("", names[0], ", ".join(names)):
        for account in subject.template({**values, "deletedAccounts": deleted}).of(OPENAI):
            if account.properties["restore"] != (account.name in deleted):
                yield f"{account.name}, when {deleted or 'nothing'} was deleted: {account.properties['restore']}"


def backend_regions(subject: Subject) -> Iterator[str]:
    """An account that exists is used with or without a region, and its backend is where the account is."""
    values = profile_parameters(subject.sources, "public")
    for location in ("swedencentral", ""):
        deployment = {"name": "a-model", "model": "a-model", "version": "1", "sku": "Standard", "capacity": 1}
        existing = {
            "name": "theirs",
            "existingResourceId": _EXISTING,
            "location": location,
            "deployments": [deployment],
        }
        template = subject.template({**values, "openAiAccounts": [existing]})
        regions = [each["region"] for each in template.outputs["AZURE_OPENAI_BACKENDS"]]
        if regions != [f"{_EXISTING}:location".lower()]:
            yield f"with the region {location!r}: {regions}"


def deletion(subject: Subject) -> Iterator[str]:
    """No rule deletes files of the books, or what somebody overwrote, before its time. Locks forbid deletion only."""
    for profile, template in subject.templates.items():
        for lifecycle in template.of(f"{STORAGE}/managementPolicies"):
            for rule in lifecycle.properties["policy"]["rules"]:
                actions = rule["definition"]["actions"]
                if "delete" in actions.get("baseBlob", {}):
                    yield f"{profile}: {rule['name']} deletes files"
                days = actions.get("version", {}).get("delete", {}).get("daysAfterCreationGreaterThan", 365)
                if days < 365:
                    yield f"{profile}: {rule['name']} deletes after {days} days"
        for lock in template.of("Microsoft.Authorization/locks"):
            if lock.properties["level"] != "CanNotDelete":
                yield f"{profile}: {lock.symbol} is {lock.properties['level']}"


def hosts_of_cloud(subject: Subject) -> Iterator[str]:
    """The gateway calls the models and the Entra ID of its own cloud."""
    client = {"entraClientId": "11111111-1111-1111-1111-111111111111"}
    for profile, plain in subject.templates.items():
        values = {**profile_parameters(subject.sources, profile), **client, "furtherSettings": {}}
        template = subject.template(values, plain.cloud)
        settings = _settings(template)
        end = {"AzureCloud": "com", "AzureUSGovernment": "us", "AzureChinaCloud": "cn"}[template.cloud]
        for suffix in settings["BACKEND_HOST_SUFFIXES"].split(","):
            if not re.fullmatch(rf"\.(openai|cognitiveservices|services\.ai)\.azure\.{end}", suffix):
                yield f"{profile}: backends end with {suffix}"
        if settings.get("ENTRA_AUTHORITY") != _AUTHORITIES[template.cloud]:
            yield f"{profile}: tokens come from {settings.get('ENTRA_AUTHORITY')}"


def host_telemetry(subject: Subject) -> Iterator[str]:
    """The host sends its telemetry with the identity, because Application Insights accepts no key."""
    for profile, template in subject.templates.items():
        settings = _settings(template)
        wanted = f"ClientId={settings['AZURE_CLIENT_ID']};Authorization=AAD"
        if settings["APPLICATIONINSIGHTS_AUTHENTICATION_STRING"] != wanted:
            yield f"{profile}: the host's telemetry is lost"


def plans(subject: Subject) -> Iterator[str]:
    """The app is one of Functions on Linux. A premium app reads the blob that the script of deployment writes."""
    script = (ROOT / "infra/scripts/deploy-package.sh").read_text()
    for profile, template in subject.templates.items():
        for site in template.of(SITE):
            if site.body["kind"] != "functionapp,linux":
                yield f"{profile}: the app is a {site.body['kind']}"
        package = _settings(template).get("WEBSITE_RUN_FROM_PACKAGE", "packages/gateway.zip")
        if f'"$packages/{package.rpartition("/")[2]}"' not in script:
            yield f"{profile}: nobody writes {package}"


def people_are_told(subject: Subject) -> Iterator[str]:
    """The action group has a name that Azure takes, and a budget tells actual costs and forecasts."""
    budget = {"budgetAmount": 100, "budgetStartDate": "2026-12-01", "alertEmails": "a@example.com"}
    for profile in ("public", "private"):
        template = subject.template({**profile_parameters(subject.sources, profile), **budget})
        for group in template.of("Microsoft.Insights/actionGroups"):
            if len(group.properties["groupShortName"]) > 12 or not group.properties["emailReceivers"]:
                yield f"{profile}: the action group {group.properties['groupShortName']}"
        told = template.of("Microsoft.Consumption/budgets")[0].properties["notifications"].values()
        if {each["thresholdType"] for each in told} != {"Actual", "Forecasted"}:
            yield f"{profile}: the budget tells no forecast"


def _settings(template: Template) -> Mapping[str, str]:
    return next(each.properties for each in template.of("Microsoft.Web/sites/config") if each.name == "appsettings")
