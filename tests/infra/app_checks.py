"""Checks of parameters, of the app, and of its settings, in each profile."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from unittest.mock import patch

from shared.setting_problems import SettingsInvalid
from shared.settings import Settings, read_settings
from tests.infra.subject import IDENTITY, SITE, Subject, azd_values, profile_parameters
from tests.tools.bicep_evaluation import CLOUDS, Deployed, EvaluationProblem, RuntimeText, Template
from tests.tools.stack import indexed_functions

HOST_SETTINGS: Final = frozenset(
    {
        "AzureWebJobsStorage__credential", "AzureWebJobsStorage__clientId", "AzureWebJobsStorage__blobServiceUri",
        "AzureWebJobsStorage__queueServiceUri", "AzureWebJobsStorage__tableServiceUri", "AzureWebJobsDisableHomepage",
        "APPLICATIONINSIGHTS_CONNECTION_STRING", "APPLICATIONINSIGHTS_AUTHENTICATION_STRING",
        "PYTHON_ENABLE_OPENTELEMETRY",
    }
)  # fmt: skip
"""Settings that the Functions host and its worker read."""
PREMIUM_SETTINGS: Final = frozenset(
    {
        "FUNCTIONS_EXTENSION_VERSION", "FUNCTIONS_WORKER_RUNTIME", "WEBSITE_RUN_FROM_PACKAGE",
        "WEBSITE_RUN_FROM_PACKAGE_BLOB_MI_RESOURCE_ID",
    }
)  # fmt: skip
"""Settings that Elastic Premium needs and Flex Consumption refuses."""
_FORBIDDEN: Final = re.compile(
    r"AzureWebJobsStorage|AzureWebJobsDashboard|WEBSITE_CONTENT\w*|WEBSITE_TIME_ZONE|WEBSITE_INSTANCE_ID|POD_NAMESPACE"
    r"|ENABLE_ORYX_BUILD|SCM_DO_BUILD_DURING_DEPLOYMENT|PYTHON_APPLICATIONINSIGHTS_ENABLE_TELEMETRY"
    r"|FUNCTIONS_WORKER_PROCESS_COUNT|APPINSIGHTS_INSTRUMENTATIONKEY"
)
_FORBIDDEN_ON_FLEX: Final = frozenset(
    {
        "linuxFxVersion", "use32BitWorkerProcess", "preWarmedInstanceCount", "minimumElasticInstanceCount",
        "functionAppScaleLimit", "ftpsState", "healthCheckPath", "alwaysOn", "appSettings", "pythonVersion",
    }
)  # fmt: skip
REQUIRED_SETTINGS: Final = frozenset(
    {
        *HOST_SETTINGS, "AZURE_CLIENT_ID", "TALLYGATE_TABLE_ENDPOINT", "TALLYGATE_BLOB_ENDPOINT", "AZURE_KEY_VAULT_URL",
        "ADMIN_API_KEY_SECRET_NAME", "AUDIT_CHAIN_KEY_SECRET_NAME", "PRIVACY_KEY_SECRET_NAME",
        "AUDIT_SIGNING_KEY_NAME", "BACKEND_HOST_SUFFIXES", "TRUSTED_PROXY_HOPS",
    }
)  # fmt: skip


def deployable(subject: Subject) -> Iterator[str]:
    """Each profile gives each module what it needs, in the right types and scopes."""
    try:
        assert subject.templates
    except EvaluationProblem as problem:
        yield str(problem)


def azd_parameters(subject: Subject) -> Iterator[str]:
    """azd can give every parameter but secrets, and a variable that is not set leaves what the template says."""
    main = subject.sources.file("infra/main.bicep")
    given = json.loads(subject.sources.text("infra/main.parameters.json"))["parameters"]
    secure = {name for name, each in main.parameters.items() if "secure" in each.decorators}
    yield from (f"azd gives no {name}" for name in main.parameters.keys() - given.keys() - secure)
    yield from (f"azd gives the secret {name}" for name in given.keys() & secure)
    yield from (f"there is no parameter {name}" for name in given.keys() - main.parameters.keys())
    values = azd_values(subject, {"AZURE_ENV_NAME": "trial", "AZURE_LOCATION": "westeurope"})
    try:
        template = subject.template(values)
    except EvaluationProblem as problem:
        yield f"with azd's defaults: {problem}"
        return
    plain = subject.template({name: values[name] for name in ("environmentName", "location", "openAiAccounts")})
    if [each.id for each in template.resources] != [each.id for each in plain.resources]:
        yield "azd's defaults are not those of the template"


def settings_known(subject: Subject) -> Iterator[str]:
    known = {name.upper() for name in Settings.model_fields} | HOST_SETTINGS
    for profile, template in subject.templates.items():
        extra = PREMIUM_SETTINGS if _plan(template) == "premium" else frozenset()
        yield from (f"{profile}: nobody reads {name}" for name in _settings(template).keys() - known - extra)


def settings_required(subject: Subject) -> Iterator[str]:
    for profile, template in subject.templates.items():
        extra = PREMIUM_SETTINGS if _plan(template) == "premium" else frozenset()
        yield from (
            f"{profile}: {name} is missing" for name in (REQUIRED_SETTINGS | extra) - _settings(template).keys()
        )


def settings_accepted(subject: Subject) -> Iterator[str]:
    """The gateway starts with the settings of each profile, with and without an application of Entra ID."""
    client = {"entraClientId": "11111111-1111-1111-1111-111111111111"}
    directory = {"entraTenantIds": "22222222-2222-2222-2222-222222222222"}
    for profile, template in subject.templates.items():
        signed_in = subject.template(
            {**profile_parameters(subject.sources, profile), **client, **directory}, template.cloud
        )
        for each in (template, signed_in):
            values = {name: _plausible(value, each.cloud) for name, value in _settings(each).items()}
            with patch.dict(os.environ, values, clear=True):
                try:
                    read_settings()
                except SettingsInvalid as problem:
                    yield f"{profile}: {problem}"


def settings_forbidden(subject: Subject) -> Iterator[str]:
    for profile, template in subject.templates.items():
        names = _settings(template)
        forbidden = PREMIUM_SETTINGS if _plan(template) == "flex" else frozenset()
        for name, value in names.items():
            if _FORBIDDEN.fullmatch(name) or name in forbidden:
                yield f"{profile}: {name} must not be set"
            if value == "" or "@Microsoft.KeyVault" in value:
                yield f"{profile}: {name} is empty or a reference"


def settings_of_identity(subject: Subject) -> Iterator[str]:
    """The host's storage is named by the identity's client id."""
    for profile, template in subject.templates.items():
        client_id = f"{template.of(IDENTITY)[0].id}:properties.clientId"
        for name in ("AzureWebJobsStorage__clientId", "AZURE_CLIENT_ID"):
            if _settings(template).get(name) != client_id:
                yield f"{profile}: {name} is not the client id"
        if _settings(template).get("AzureWebJobsStorage__credential") != "managedidentity":
            yield f"{profile}: the host's storage has no credential"


def identity_of_app(subject: Subject) -> Iterator[str]:
    """The app has the identity of the gateway, and reads packages with it by its resource id."""
    for profile, template in subject.templates.items():
        identity_id = template.of(IDENTITY)[0].id
        wanted = {"type": "UserAssignedIdentity", "userAssignedIdentityResourceId": identity_id}
        for site in template.of(SITE):
            if list(site.body["identity"]["userAssignedIdentities"]) != [identity_id]:
                yield f"{profile}: the app has another identity"
            if any(storage["authentication"] != wanted for storage in _deployment_storage(site)):
                yield f"{profile}: packages are not read by the identity's resource id"


def flex_properties(subject: Subject) -> Iterator[str]:
    for profile, template in subject.templates.items():
        for site in template.of(SITE) if _plan(template) == "flex" else []:
            config = site.properties["functionAppConfig"]
            if config["runtime"] != {"name": "python", "version": "3.13"}:
                yield f"{profile}: the runtime is {config['runtime']}"
            concurrency = (
                config["scaleAndConcurrency"].get("triggers", {}).get("http", {}).get("perInstanceConcurrency")
            )
            if not concurrency or concurrency < 2:
                yield f"{profile}: perInstanceConcurrency is {concurrency}"
            yield from (
                f"{profile}: siteConfig.{name}" for name in site.properties["siteConfig"].keys() & _FORBIDDEN_ON_FLEX
            )
            if not _deployment_storage(site):
                yield f"{profile}: there is no storage of packages"


def transport(subject: Subject) -> Iterator[str]:
    """The app speaks TLS 1.2 and HTTP/2, and takes no passwords."""
    for profile, template in subject.templates.items():
        for site in template.of(SITE):
            config = site.properties["siteConfig"]
            if not (
                site.properties.get("httpsOnly")
                and config.get("minTlsVersion") == "1.2"
                and config.get("http20Enabled")
            ):
                yield f"{profile}: {site.name} accepts plain or old connections"
        publishing = template.of("Microsoft.Web/sites/basicPublishingCredentialsPolicies")
        if {each.name for each in publishing if each.properties["allow"] is False} != {"ftp", "scm"}:
            yield f"{profile}: somebody can publish with a password"


def always_ready(subject: Subject) -> Iterator[str]:
    """Groups are `http` and timers that exist. Where the app is zone redundant, each has two instances."""
    _, timers = indexed_functions()
    known = {"http"} | {f"function:{timer.name}" for timer in timers}
    spread = {**profile_parameters(subject.sources, "private"), "alwaysReadyInstances": 1}
    for profile, template in (*subject.templates.items(), ("one instance", subject.template(spread))):
        for site in template.of(SITE) if _plan(template) == "flex" else []:
            groups = site.properties["functionAppConfig"]["scaleAndConcurrency"]["alwaysReady"]
            yield from (f"{profile}: there is no {each['name']}" for each in groups if each["name"] not in known)
            is_redundant = template.of("Microsoft.Web/serverfarms")[0].properties["zoneRedundant"]
            least = 2 if is_redundant else 1
            yield from (f"{profile}: {each['name']} has one" for each in groups if each["instanceCount"] < least)
            if profile != "public" and not any(each["name"] == "http" for each in groups):
                yield f"{profile}: no instance is ready for HTTP"


def _settings(template: Template) -> Mapping[str, str]:
    return next(each.properties for each in template.of("Microsoft.Web/sites/config") if each.name == "appsettings")


def _plan(template: Template) -> str:
    return str(template.outputs["GATEWAY_PLAN"])


def _deployment_storage(site: Deployed) -> list[Mapping[str, Any]]:
    config = site.properties.get("functionAppConfig", {})
    return [config["deployment"]["storage"]] if "deployment" in config else []


def _plausible(value: str, cloud: str) -> str:
    """Return a value such as Azure would have filled in."""
    if not isinstance(value, RuntimeText):
        return value
    storage, vault = CLOUDS[cloud]["storage"], CLOUDS[cloud]["keyvaultDns"]
    known = {
        "primaryEndpoints.table": f"https://account.table.{storage}/",
        "primaryEndpoints.blob": f"https://account.blob.{storage}/",
        "primaryEndpoints.queue": f"https://account.queue.{storage}/",
        "properties.vaultUri": f"https://vault{vault}/",
        "properties.clientId": "33333333-3333-3333-3333-333333333333",
        "properties.ConnectionString": "InstrumentationKey=44444444-4444-4444-4444-444444444444;"
        "IngestionEndpoint=https://westeurope.in.applicationinsights.azure.com/",
    }
    return next((text for end, text in known.items() if value.endswith(end)), value)
