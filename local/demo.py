"""The demo of `make run`: backends in three regions behind each deployment, prices, and a tenant with a key."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

TENANT = "demo"
_QUOTA_TOKENS = 1_000_000
_BUDGET_USD = "25.00"
REGIONS = {"swedencentral": "eu", "germanywestcentral": "eu", "eastus": "us"}
"""Data zones by region. The first region serves; the others take over in this order."""
_PRICES_USD_PER_MILLION = {
    "gpt-4o": {"input": "2.50", "cached_input": "1.25", "output": "10.00"},
    "gpt-4o-mini": {"input": "0.15", "cached_input": "0.075", "output": "0.60"},
    "o4-mini": {"input": "1.10", "cached_input": "0.275", "output": "4.40"},
    "gpt-35-turbo-instruct": {"input": "1.50", "output": "2.00"},
    "text-embedding-3-small": {"input": "0.02"},
    "dall-e-3": {"images": "80000", "images standard 1024x1024": "40000", "images hd 1024x1024": "80000",
                 "images hd 1024x1792": "120000", "images hd 1792x1024": "120000"},
    "gpt-image-1": {"input": "5.00", "output": "40.00"},
    "whisper": {"audio_seconds": "100"},
    "gpt-4o-transcribe": {"input": "2.50", "audio_input": "6.00", "output": "10.00"},
    "tts-hd": {"speech_characters": "30"},
    "gpt-4o-mini-tts": {"input": "0.60", "output": "12.00"},
}  # fmt: skip
"""By model and meter; of images also by variant."""
_PRIORITY_USD_PER_MILLION = {"gpt-4o": {"input": "4.25", "cached_input": "2.125", "output": "17.00"}}
"""Prices of the service tier `priority`."""
_PRICES_FROM = "2024-10-01T00:00:00Z"


class DemoFailed(Exception):
    """Tells which call of the management API failed, in one line."""


@dataclass(frozen=True, slots=True)
class Demo:
    """Sets up a gateway through its management API. Every method raises `DemoFailed`."""

    gateway_url: str
    admin_key: str

    def configure(self, simulator_url: str) -> list[str]:
        """Write backends, deployments and prices, and return the deployments. Repeating it changes nothing."""
        for model in _PRICES_USD_PER_MILLION:
            for backend, definition in _backends(model, simulator_url).items():
                self._manage("PUT", f"/manage/backends/{backend}", definition)
            pool = list(_backends(model, simulator_url))
            self._manage("PUT", f"/manage/deployments/{model}", {"backends": pool})
            self._insert_prices(model)
        return [*_PRICES_USD_PER_MILLION]

    def adopt(self, endpoint: str) -> str:
        """Insert demo prices for the backend that the settings have created, and return the name of its deployment."""
        backends = self._manage("GET", "/manage/backends", None)["data"]
        found = [each for each in backends if each["endpoint"] == endpoint]
        if not found:
            raise DemoFailed("AZURE_OPENAI_ENDPOINT defines the first backend only, and this data folder has others; "
                             "choose another one with TALLYGATE_DATA")  # fmt: skip
        self._insert_prices(found[0]["model"])
        return str(found[0]["backend_id"])

    def _insert_prices(self, model: str) -> None:
        for row in _price_rows(model, _PRICES_USD_PER_MILLION.get(model, {})):
            self._manage("POST", "/manage/prices", row)

    def create_tenant(self, deployments: list[str]) -> str:
        """Create the tenant if it does not exist, and a key for it, which is returned."""
        tenant = {
            "tenant_id": TENANT,
            "name": "Demo",
            "cost_center": "CC-1000",
            "deployments": deployments,
            "monthly_quota_tokens": _QUOTA_TOKENS,
            "monthly_budget_usd": _BUDGET_USD,
        }
        self._manage("POST", "/manage/tenants", tenant, accept=(201, 409))
        return str(self._manage("POST", f"/manage/tenants/{TENANT}/keys", {})["key"])

    def _manage(
        self, method: str, path: str, body: dict[str, Any] | None, accept: tuple[int, ...] = ()
    ) -> dict[str, Any]:
        headers = {"api-key": self.admin_key, "content-type": "application/json"}
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.gateway_url + path, content, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                answer: dict[str, Any] = json.load(response)
                return answer
        except urllib.error.HTTPError as error:
            if error.code in accept:
                return {}
            raise DemoFailed(f"{method} {path} was answered {error.code}: {_message_of(error)}") from None
        except OSError as error:
            raise DemoFailed(f"the gateway did not answer {method} {path}: {error}") from None


def _message_of(error: urllib.error.HTTPError) -> str:
    """Return the gateway's own words."""
    try:
        return str(json.load(error)["error"]["message"])
    except (ValueError, LookupError, TypeError):
        return "no reason"


def _backends(model: str, simulator_url: str) -> dict[str, dict[str, Any]]:
    return {
        f"sim-{region}-{model}": {
            "endpoint": f"{simulator_url}/{region}",
            "upstream_deployment": model,
            "model": model,
            "region": region,
            "zone": zone,
            "auth": "api_key",
            "priority": priority,
        }
        for priority, (region, zone) in enumerate(REGIONS.items(), start=1)
    }


def _price_rows(model: str, prices: dict[str, str]) -> Iterator[dict[str, str]]:
    for meter_and_variant, price in prices.items():
        meter, _, variant = meter_and_variant.partition(" ")
        row = {"model": model, "meter": meter, "usd_per_million": price, "effective_from": _PRICES_FROM}
        yield row | {"source": "demo price"} | ({"variant": variant} if variant else {})
    for meter, price in _PRIORITY_USD_PER_MILLION.get(model, {}).items():
        row = {"model": model, "meter": meter, "usd_per_million": price, "effective_from": _PRICES_FROM}
        yield row | {"source": "demo price", "service_tier": "priority"}
