"""The first backend and deployment, as the environment defines them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from shared.definitions import BackendDefinition, DeploymentDefinition
from shared.domain.errors import InvalidRequest
from shared.domain.routing.catalog import Backend, BackendAuth, Deployment
from shared.setting_problems import SettingsInvalid
from shared.settings import Settings

_BACKEND: Final = {
    "endpoint": "azure_openai_endpoint",
    "upstream_deployment": "azure_openai_deployment",
    "model": "azure_openai_model",
    "region": "azure_openai_region",
    "sku": "azure_openai_sku",
    "api_version": "azure_openai_api_version",
}
_DEPLOYMENT: Final = {"max_output_tokens": "azure_openai_max_tokens", "temperature": "azure_openai_temperature"}
"""The settings of the fields that the management API has."""
_ANY_NAME: Final = "-"
"""Stands for the name of the backend, which is judged as the name of the deployment in the resource."""
_REQUIRED: Final = ("endpoint", "upstream_deployment", "model", "region")


def is_first_backend_stated(settings: Settings) -> bool:
    """Tell whether the settings are meant to define a backend: one of those that are required is set."""
    return any(getattr(settings, _BACKEND[field]) for field in _REQUIRED)


def first_backend(settings: Settings) -> tuple[Backend, Deployment]:
    """Return what the settings define. Raises `SettingsInvalid` with all problems.

    The rules are those of the management API. Both have the name of the deployment in the resource.
    """
    backend = {field: getattr(settings, name) for field, name in _BACKEND.items() if getattr(settings, name)}
    backend["auth"] = _auth(settings)
    deployment: dict[str, Any] = {field: getattr(settings, name) for field, name in _DEPLOYMENT.items()}
    name = settings.azure_openai_deployment
    problems = [
        *_problems(BackendDefinition, backend, _BACKEND),
        *_problems(DeploymentDefinition, {**deployment, "backends": [_ANY_NAME]}, _DEPLOYMENT),
    ]
    if problems:
        raise SettingsInvalid(problems)
    stated = DeploymentDefinition(**deployment, backends=[name])
    return BackendDefinition(**backend).to_domain(name), stated.to_domain(name)


def as_settings_problem(error: InvalidRequest) -> SettingsInvalid:
    """Tell a refusal of the first backend as a problem of the setting that it is about."""
    setting = {**_BACKEND, **_DEPLOYMENT}.get(error.param or "", "azure_openai_deployment")
    return SettingsInvalid([f"{setting.upper()}: {error}"])


def _auth(settings: Settings) -> BackendAuth:
    """Return the way in which the gateway authenticates. What `USE_MANAGED_IDENTITY` states goes before a key."""
    has_key = bool(settings.azure_openai_api_key.get_secret_value())
    if "use_managed_identity" in settings.model_fields_set:
        has_key = not settings.use_managed_identity and (has_key or bool(settings.azure_key_vault_url))
    return BackendAuth.API_KEY if has_key else BackendAuth.MANAGED_IDENTITY


def _problems(model: type[BaseModel], fields: Mapping[str, Any], settings: Mapping[str, str]) -> Iterator[str]:
    """Yield the problems of the fields, each in words that begin with the name of its setting."""
    try:
        model(**fields)
    except ValidationError as error:
        for problem in error.errors(include_input=False):
            name = settings[str(problem["loc"][0])].upper()
            is_missing = problem["type"] == "missing"
            yield f"{name} is required for the first backend" if is_missing else f"{name}: {problem['msg']}"
