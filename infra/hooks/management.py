"""Call the gateway's management API, by the administrator's key or by the token of the signed-in person."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infra.hooks.failures import HookFailed, NotPermitted
from infra.hooks.programs import AzureCli
from infra.hooks.secrets_of_vault import ADMIN_KEY
from infra.hooks.variables import required, variable

_TIMEOUT_SECONDS = 30
_PAUSE_SECONDS = 2


class Unreachable(HookFailed):
    """No answer of the gateway arrives here."""


@dataclass(frozen=True, slots=True)
class Credential:
    """A header of requests, and the text with which a shell makes it anew. Neither is ever printed with its value."""

    name: str
    header: Mapping[str, str]
    in_shell: str


@dataclass(frozen=True, slots=True)
class Management:
    """The management API. Every method raises `HookFailed`."""

    url: str
    credential: Credential

    def call(self, method: str, path: str, body: Any = None, accept: tuple[int, ...] = ()) -> Any:
        """Send one request. Returns its JSON; `None` for a status in `accept`."""
        status, answer = exchange(self.url + path, method, body, self.credential.header)
        if status in accept:
            return None
        if status >= 300:
            raise HookFailed(f"{method} {path} was answered {status}: {_message_of(answer)}")
        if not isinstance(answer, dict):
            raise HookFailed(f"{method} {path} was answered by something else than the gateway: {str(answer)[:200]}")
        return answer


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: the credential would go to another host."""

    def redirect_request(self, *_: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirect)


def await_readiness(url: str, limit_seconds: float) -> None:
    """Wait until the gateway could serve, but for backends: they are about to be made.

    Raises `Unreachable` if it never answered, and `HookFailed` with its own words if it is not ready in time.
    """
    deadline = time.monotonic() + limit_seconds
    while True:
        try:
            status, answer = exchange(f"{url}/readyz", "GET", None, {})
            if status == 200 or _lacks_backends_only(answer):
                return
            problem = HookFailed(f"{url}/readyz was answered {status}: {_message_of(answer)}")
        except Unreachable as failure:
            problem = failure
        if time.monotonic() >= deadline:
            raise problem
        time.sleep(_PAUSE_SECONDS)


def credential(az: AzureCli, url: str) -> Credential:
    """Return the first credential that the gateway accepts: the person's access token, else the administrator's key.

    The token goes first, because the audit log then names the person. Raises `NotPermitted` if neither is accepted.
    """
    problems = []
    for offered in (_access_token, _administrators_key):
        try:
            found = offered(az)
        except HookFailed as failure:
            problems.append(str(failure))
            continue
        if found is not None:
            status, answer = exchange(f"{url}/manage/backends", "GET", None, found.header)
            if status == 200:
                return found
            problems.append(f"{found.name} was answered {status}: {_message_of(answer)}")
    vault = required("AZURE_KEY_VAULT_ID")
    raise NotPermitted(
        "The gateway cannot be configured by this identity.\n  " + "\n  ".join(problems) + "\nIt needs the app role "
        "Gateway.Admin of the gateway's application, or the role Key Vault Secrets User: `az role assignment create "
        f"--role 'Key Vault Secrets User' --assignee WHO --scope {vault}`. Then run `azd hooks run postdeploy`."
    )


def _access_token(az: AzureCli) -> Credential | None:
    client_id = variable("ENTRA_CLIENT_ID")
    if not client_id:
        return None
    command = ("account", "get-access-token", "--scope", f"api://{client_id}/.default", "--query", "accessToken")
    header = {"authorization": f"Bearer {az.run(*command)}"}
    return Credential("the access token", header, f"authorization: Bearer $(az {' '.join(command)} --output tsv)")


def _administrators_key(az: AzureCli) -> Credential:
    vault = required("AZURE_KEY_VAULT_NAME")
    command = ("keyvault", "secret", "show", "--vault-name", vault, "--name", ADMIN_KEY, "--query", "value")
    header = {"api-key": str(az.run(*command))}
    return Credential("the administrator's key", header, f"api-key: $(az {' '.join(command)} --output tsv)")


def exchange(url: str, method: str, body: Any, headers: Mapping[str, str]) -> tuple[int, Any]:
    """Send one request. Returns the status, and the JSON or text of the answer. Raises `Unreachable`."""
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, content, {"content-type": "application/json", **headers}, method=method)
    try:
        with _OPENER.open(request, timeout=_TIMEOUT_SECONDS) as response:
            return response.status, _read(response.read())
    except urllib.error.HTTPError as error:
        return error.code, _read(error.read())
    except OSError as error:
        raise Unreachable(f"{url} cannot be reached from here: {error}") from None


def _read(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return content.decode(errors="replace")


def _lacks_backends_only(answer: Any) -> bool:
    checks = answer.get("checks") if isinstance(answer, dict) else None
    if not isinstance(checks, dict) or not checks:
        return False
    return all(passed is True for name, passed in checks.items() if not name.startswith("backend"))


def _message_of(answer: Any) -> str:
    if isinstance(answer, dict) and isinstance(answer.get("error"), dict):
        return str(answer["error"].get("message"))
    return str(answer)[:500] or "no reason"
