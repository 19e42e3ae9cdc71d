"""Configure a new gateway for what the template has made: backends, their prices, deployments and a first tenant.

Only what is missing is created. What an administrator has changed meanwhile stays as it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote

from infra.hooks.failures import HookFailed, NotPermitted
from infra.hooks.management import Management, Unreachable, await_readiness, credential
from infra.hooks.price_rows import price_rows, source_of_rows
from infra.hooks.programs import AzureCli
from infra.hooks.variables import flag, required, seconds, variable

Backend = dict[str, Any]

_READY_SECONDS: Final = 600
_PRIVATE_READY_SECONDS: Final = 10
_QUOTA_TOKENS: Final = 1_000_000
_BUDGET_USD: Final = "25.00"
_MAX_OUTPUT_TOKENS: Final = 4096
_WITHOUT_OUTPUT: Final = ("embedding", "whisper", "tts", "dall-e", "image")
_TOKEN_SCOPES: Final = {
    ".azure.us": "https://cognitiveservices.azure.us/.default",
    ".azure.cn": "https://cognitiveservices.azure.cn/.default",
}
"""Scopes of the sovereign clouds, by what their endpoints hold."""


def seed(az: AzureCli) -> None:
    """Seed the gateway, and print what to call. Where it is private and out of reach, print how to go on."""
    url = required("GATEWAY_URL").rstrip("/")
    is_private = flag("GATEWAY_IS_PRIVATE", default=False)
    limit = seconds("READY_SECONDS", _PRIVATE_READY_SECONDS if is_private else _READY_SECONDS)
    try:
        await_readiness(url, limit)
        backends = _backends()
        management = Management(url, credential(az, url))
        for line in _seeded(management, backends):
            print(line)
    except Unreachable:
        if not is_private:
            raise
        print(_inside_the_network(url))
    except NotPermitted as refusal:
        # A pipeline deploys, and need not administer.
        if az.run("account", "show")["user"]["type"] == "user":
            raise
        print(f"Nothing was configured. {refusal}")
    else:
        if backends:
            print(_what_to_call(management, backends))


def _backends() -> list[Backend]:
    """Return the backends of the template. Raises `HookFailed` if azd passes on something else."""
    try:
        found = json.loads(variable("AZURE_OPENAI_BACKENDS", "[]"))
        return [{**each, "id": each["id"], "model": each["model"]} for each in found]
    except (ValueError, TypeError, KeyError):
        raise HookFailed("AZURE_OPENAI_BACKENDS must be the JSON array that the template returns.") from None


def _seeded(management: Management, backends: list[Backend]) -> Iterator[str]:
    """Create what is missing, in the order in which one needs the other. Yields a line for each finding."""
    yield from _create_backends(management, backends)
    yield from _insert_prices(management, backends)
    yield from _create_deployments(management, backends)
    yield from _create_tenant(management, sorted({each["deployment"] for each in backends}))


def _create_backends(management: Management, backends: list[Backend]) -> Iterator[str]:
    have = {each["backend_id"] for each in management.call("GET", "/manage/backends")["data"]}
    for each in backends:
        if each["id"] not in have:
            management.call("PUT", f"/manage/backends/{quote(each['id'], safe='')}", _definition(each))
            yield f"Created the backend {each['id']}."


def _definition(backend: Backend) -> dict[str, Any]:
    definition = {
        "endpoint": backend["endpoint"],
        "upstream_deployment": backend["deployment"],
        "model": backend["model"],
        "sku": backend["sku"],
        "region": backend["region"],
        "auth": "managed_identity",
    }
    if backend.get("version"):
        definition["model_version"] = backend["version"]
    if backend.get("spillover_deployment"):
        definition["spillover_deployment"] = backend["spillover_deployment"]
    for suffix, scope in _TOKEN_SCOPES.items():
        if suffix in backend["endpoint"]:
            definition["token_scope"] = scope
    return definition


def _insert_prices(management: Management, backends: list[Backend]) -> Iterator[str]:
    """Insert list prices, unless somebody has entered other prices of the model. Inserting again changes nothing."""
    sources: dict[str, set[str]] = {}
    for row in management.call("GET", "/manage/prices")["data"]:
        sources.setdefault(row["model"], set()).add(row["source"])
    spillovers = [each["spillover_deployment"] for each in backends if each.get("spillover_deployment")]
    served = {(each["model"], each["sku"]) for each in (*backends, *spillovers)}
    for model in sorted({model for model, _ in served}):
        rows = price_rows(model, [sku for each, sku in served if each == model])
        if sources.get(model, set()) - {source_of_rows()}:
            continue
        if not rows and model not in sources:
            yield f"The model {model} HAS NO PRICE, so it is refused. Insert its prices: POST /manage/prices."
            continue
        for row in rows:
            management.call("POST", "/manage/prices", row)
        if model not in sources:
            yield f"Inserted list prices of {model}. Compare them with your price sheet before you charge anybody."


def _create_deployments(management: Management, backends: list[Backend]) -> Iterator[str]:
    have = {each["name"]: each for each in management.call("GET", "/manage/deployments")["data"]}
    for name in sorted({each["deployment"] for each in backends}):
        pool = [each for each in backends if each["deployment"] == name]
        ids = [each["id"] for each in pool]
        if name in have:
            missing = [each for each in ids if each not in have[name]["backends"]]
            if missing:
                yield f"The pool of the deployment {name} lacks {', '.join(missing)}. Add them if they shall serve it."
            continue
        body: dict[str, Any] = {"backends": ids}
        if not any(part in pool[0]["model"] for part in _WITHOUT_OUTPUT):
            body["max_output_tokens"] = _MAX_OUTPUT_TOKENS
        management.call("PUT", f"/manage/deployments/{quote(name, safe='')}", body)
        yield f"Created the deployment {name}."


def _create_tenant(management: Management, deployments: list[str]) -> Iterator[str]:
    tenant = {
        "tenant_id": _first_tenant(),
        "name": "First tenant",
        "deployments": deployments,
        "monthly_quota_tokens": _QUOTA_TOKENS,
        "monthly_budget_usd": _BUDGET_USD,
    }
    if management.call("POST", "/manage/tenants", tenant, accept=(409,)) is not None:
        yield f"Created the tenant {_first_tenant()}: {_QUOTA_TOKENS} tokens and {_BUDGET_USD} dollars a month."


def _first_tenant() -> str:
    return variable("TALLYGATE_FIRST_TENANT", "first-team")


def _what_to_call(management: Management, backends: list[Backend]) -> str:
    """Return commands that work when pasted. Neither they nor this hook show a key: each is in a file of its user."""
    url, deployment = management.url, min(each["deployment"] for each in backends)
    question = json.dumps({"model": deployment, "messages": [{"role": "user", "content": "Hello!"}]})
    return f"""
The gateway is {url}. Make a key for the tenant {_first_tenant()}, and call it:

  ADMIN=$(mktemp) KEY=$(mktemp)
  echo "{management.credential.in_shell}" > "$ADMIN"
  curl -s -X POST '{url}/manage/tenants/{_first_tenant()}/keys' -H @"$ADMIN" |
    python3 -c 'import json, sys; print("api-key: " + json.load(sys.stdin)["key"])' > "$KEY"
  curl -si '{url}/openai/v1/chat/completions' -H @"$KEY" -H 'content-type: application/json' \\
    -d '{question}'
"""


def _inside_the_network(url: str) -> str:
    return f"""
The gateway {url} is private, and cannot be reached from here. It is deployed, but not configured.
On a machine inside its network, in a clone of this repository, with the Azure CLI and azd signed in, and with
a copy of this folder's .azure/{required("AZURE_ENV_NAME")}:

  azd hooks run postdeploy --environment {required("AZURE_ENV_NAME")}
"""
