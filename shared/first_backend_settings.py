"""Settings that define the first backend and deployment."""

from __future__ import annotations

from pydantic_settings import BaseSettings


class FirstBackendSettings(BaseSettings):
    """A part of `Settings`. `first_backend` judges the values, and only if there is no backend yet."""

    azure_openai_endpoint: str = ""
    azure_openai_deployment: str = ""
    """The deployment in the resource, and the name that tenants call."""
    azure_openai_model: str = ""
    azure_openai_region: str = ""
    azure_openai_sku: str = ""
    """The deployment type; `Standard` if it is not set."""
    azure_openai_api_version: str = ""
    azure_openai_max_tokens: int | None = None
    """Cap on output tokens where a caller sets none."""
    azure_openai_temperature: float | None = None
    """Temperature where a caller sets none."""
