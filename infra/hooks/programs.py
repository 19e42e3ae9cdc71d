"""Call the Azure CLI and azd. What is secret goes over standard input, never into arguments, files or messages."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from infra.hooks.failures import Conflict, HookFailed, NotFound, NotPermitted

_NOT_FOUND = ("ResourceNotFound", "Not Found(", "SecretNotFound", "does not exist")
_NOT_PERMITTED = ("Authorization_RequestDenied", "AuthorizationFailed", "Forbidden", "Insufficient privileges")
_CONFLICT = ("Conflict(", "ObjectIsDeletedButRecoverable")
_SIGNED_OUT = ("az login", "AADSTS")
_SHOWN_CHARACTERS = 500


@dataclass(slots=True)
class AzureCli:
    """The Azure CLI, signed in. Every method raises `HookFailed`, or one of its kinds."""

    _endpoints: dict[str, str] = field(default_factory=dict)

    def run(self, *arguments: str, sent: str | None = None) -> Any:
        """Run a command. Returns its JSON, `None` if it prints nothing. `sent` goes over standard input."""
        printed = _run("az", [*arguments, "--output", "json", "--only-show-errors"], sent)
        return json.loads(printed) if printed.strip() else None

    def endpoint(self, name: str) -> str:
        """Return an endpoint of the cloud in which the CLI is signed in, without a slash at its end."""
        if not self._endpoints:
            self._endpoints.update(self.run("cloud", "show", "--query", "endpoints"))
        return self._endpoints[name].rstrip("/")

    def graph(self, method: str, path: str, body: Any = None, *headers: str) -> Any:
        """Call Microsoft Graph."""
        return self._rest(method, f"{self.endpoint('microsoftGraphResourceId')}/v1.0/{path}", body, *headers)

    def resource_manager(self, method: str, path: str, body: Any = None) -> Any:
        """Call Azure Resource Manager. `path` begins with `/subscriptions/`."""
        return self._rest(method, self.endpoint("resourceManager") + path, body)

    def _rest(self, method: str, url: str, body: Any = None, *headers: str) -> Any:
        arguments = ["rest", "--method", method, "--url", quote(url, safe="/:?&=$()',-._~%")]
        if body is None:
            return self.run(*arguments)
        all_headers = ("Content-Type=application/json", *headers)
        return self.run(*arguments, "--headers", *all_headers, "--body", "@-", sent=json.dumps(body))


def set_variable(name: str, value: str) -> None:
    """Set a variable of azd's environment. It is stored as plain text, so never pass a secret."""
    _run("azd", ["env", "set", name, value], None)


def _run(program: str, arguments: list[str], sent: str | None) -> str:
    path = shutil.which(program)
    if path is None:
        raise HookFailed(f"The program `{program}` is not on the PATH. Install it, and run this again.")
    ended = subprocess.run([path, *arguments], input=sent or "", capture_output=True, text=True, check=False)
    if ended.returncode:
        raise _failure(program, arguments, ended.stderr.strip())
    return ended.stdout


def _failure(program: str, arguments: list[str], said: str) -> HookFailed:
    what = f"`{program} {' '.join(arguments[:2])}` failed: {said[-_SHOWN_CHARACTERS:] or 'it gave no reason'}"
    if any(each in said for each in _SIGNED_OUT):
        return HookFailed(f"{what}\nSign in with `az login` (in a pipeline, by its federated credential).")
    for kind, signs in ((NotFound, _NOT_FOUND), (NotPermitted, _NOT_PERMITTED), (Conflict, _CONFLICT)):
        if any(sign in said for sign in signs):
            return kind(what)
    return HookFailed(what)
