"""Programs `az` and `azd` for tests: they record their calls, and keep what they make in a file.

A test puts their folder first on the PATH of the program under test. They know what the hooks and scripts of `infra/`
call, refuse everything else, and fail as the real programs do.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

SUBSCRIPTION: Final = "11111111-2222-3333-4444-555555555555"
DIRECTORY: Final = "99999999-8888-7777-6666-555555555555"
GRAPH: Final = "https://graph.microsoft.com"
MANAGER: Final = "https://management.azure.com"
VAULT: Final = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg/providers/Microsoft.KeyVault/vaults/kv-tg"
_EMPTY: Final[dict[str, Any]] = {
    "applications": {},
    "principals": {},
    "assignments": [],
    "secrets": {},
    "values": {},
    "deleted_vaults": [],
    "deleted_accounts": [],
    "deleted_secrets": [],
    "user_type": "user",
    "denied": [],
    "unavailable": {},
    "kill_after": None,
    "answers": {},
    "blobs": {},
}


class Refused(Exception):
    """The message that the program prints before it fails."""


@dataclass(frozen=True, slots=True)
class FakeAzure:
    """A directory and a subscription, as `az` and `azd` in `bin` see them."""

    folder: Path

    @classmethod
    def make(cls, folder: Path, programs: tuple[str, ...] = ("az", "azd")) -> FakeAzure:
        made = cls(folder)
        made.bin.mkdir(parents=True)
        root = Path(__file__).resolve().parents[2]
        for name in programs:
            program = made.bin / name
            program.write_text(
                f"#!{sys.executable} -B\nimport sys\nsys.path.insert(0, {str(root)!r})\n"
                f"from tests.tools.fake_azure import main\nmain({name!r}, {str(folder)!r})\n"
            )
            program.chmod(0o755)
        made.change()
        return made

    @property
    def bin(self) -> Path:
        return self.folder / "bin"

    @property
    def state(self) -> dict[str, Any]:
        with _state(self.folder) as state:
            return state

    def change(self, **changed: Any) -> None:
        with _state(self.folder) as state:
            state.update(changed)

    @property
    def calls(self) -> list[dict[str, Any]]:
        """Return all calls: program, arguments and what came over standard input."""
        file = self.folder / "calls.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def forget_calls(self) -> None:
        (self.folder / "calls.jsonl").unlink(missing_ok=True)

    @property
    def commands(self) -> list[str]:
        """Return all calls as command lines."""
        return [" ".join([each["program"], *each["arguments"]]) for each in self.calls]

    @property
    def writes(self) -> list[str]:
        """Return the command lines that change something in Azure."""
        return [each for each in self.commands if re.search(r"--method (PUT|POST|PATCH|DELETE)", each)]

    @property
    def variables(self) -> dict[str, str]:
        """Return azd's environment."""
        values: dict[str, str] = self.state["values"]
        return values

    def environment(self, **variables: str) -> dict[str, str]:
        """Return the environment of a program that azd runs."""
        inherited = {name: value for name, value in os.environ.items() if name in ("HOME", "LANG", "TMPDIR")}
        return {
            **inherited,
            "PATH": f"{self.bin}:/usr/bin:/bin",
            "AZURE_ENV_NAME": "trial",
            "AZURE_SUBSCRIPTION_ID": SUBSCRIPTION,
            "AZURE_KEY_VAULT_ID": VAULT,
            "AZURE_KEY_VAULT_NAME": "kv-tg",
            "HOOK_RETRY_SECONDS": "0",
            **self.variables,
            **variables,
        }


@contextmanager
def _state(folder: Path) -> Iterator[dict[str, Any]]:
    with (folder / "state.json").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        state = json.loads(file.read() or json.dumps(_EMPTY))
        yield state
        file.seek(0)
        file.truncate()
        file.write(json.dumps(state))


def main(program: str, folder: str) -> None:
    """Run one call of `az` or `azd`."""
    arguments = sys.argv[1:]
    sent = "" if sys.stdin.isatty() else sys.stdin.read()
    home = Path(folder)
    with (home / "calls.jsonl").open("a") as calls:
        calls.write(json.dumps({"program": program, "arguments": arguments, "sent": sent}) + "\n")
    line = " ".join([program, *arguments])
    with _state(home) as state:
        try:
            answer = _answer(state, program, arguments, line, sent)
            status = 0
        except Refused as refusal:
            answer, status = refusal, 1
        if state["kill_after"] is not None:
            state["kill_after"] -= 1
        is_killed = state["kill_after"] == 0
    if is_killed:
        os.kill(os.getppid(), signal.SIGKILL)
    elif status:
        sys.stderr.write(f"ERROR: {answer}\n")
    elif answer is not None:
        sys.stdout.write(f"{answer if 'tsv' in arguments or program == 'azd' else json.dumps(answer)}\n")
    sys.exit(status)


def _answer(state: dict[str, Any], program: str, arguments: list[str], line: str, sent: str) -> Any:
    _refuse_if_told(state, line)
    for part, answer in state["answers"].items():
        if part in line:
            return answer
    if program == "azd":
        return _azd(state, arguments)
    for start, answer_to in _AZ.items():
        if line.startswith(start):
            return answer_to(state, arguments, sent)
    raise Refused(f"unknown command: {line}")


def _refuse_if_told(state: dict[str, Any], line: str) -> None:
    if any(part in line for part in state["denied"]):
        raise Refused('Forbidden({"error":{"code":"Authorization_RequestDenied"}})')
    for part, times in state["unavailable"].items():
        if part in line and times:
            state["unavailable"][part] -= 1
            raise Refused('Bad Request({"error":{"code":"NoBackingApplicationObject"}})')


def _azd(state: dict[str, Any], arguments: list[str]) -> Any:
    if arguments[:2] == ["env", "set"]:
        state["values"][arguments[2]] = arguments[3]
    elif arguments[:2] == ["env", "get-value"]:
        if arguments[2] not in state["values"]:
            raise Refused(f"key '{arguments[2]}' not found in the environment values")
        return state["values"][arguments[2]]
    elif arguments[0] not in ("deploy", "down", "provision", "env"):
        raise Refused(f"unknown command: azd {' '.join(arguments)}")
    return None


def _option(arguments: list[str], name: str) -> str:
    return arguments[arguments.index(name) + 1]


def _account(state: dict[str, Any], _arguments: list[str], _sent: str) -> Any:
    return {"tenantId": DIRECTORY, "id": SUBSCRIPTION, "user": {"type": state["user_type"], "name": "ann"}}


def _secret(state: dict[str, Any], arguments: list[str], _sent: str) -> Any:
    name = _option(arguments, "--name")
    if name not in state["secrets"]:
        raise Refused(f"(SecretNotFound) A secret with (name/id) {name} was not found in this key vault.")
    return state["secrets"][name]


def _upload(state: dict[str, Any], arguments: list[str], _sent: str) -> None:
    url = _option(arguments, "--blob-url")
    if url in state["blobs"] and _option(arguments, "--overwrite") == "false":
        raise Refused("The specified blob already exists.")
    state["blobs"][url] = Path(_option(arguments, "--file")).read_bytes().hex()


def _download(state: dict[str, Any], arguments: list[str], _sent: str) -> None:
    content = state["blobs"][_option(arguments, "--blob-url")]
    Path(_option(arguments, "--file")).write_bytes(bytes.fromhex(content))


def _newest(state: dict[str, Any], arguments: list[str], _sent: str) -> str:
    account, container = _option(arguments, "--account-name"), _option(arguments, "--container-name")
    start = f"https://{account}.blob.core.windows.net/{container}/"
    names = [url.removeprefix(start) for url in state["blobs"] if url.startswith(start) and url.endswith(".gz")]
    return max([name for name in names if name.startswith(_option(arguments, "--prefix"))], default="")


def _done(_state: dict[str, Any], _arguments: list[str], _sent: str) -> None:
    """Do nothing: a test looks at the recorded call."""


def _rest(state: dict[str, Any], arguments: list[str], sent: str) -> Any:
    url, method = _option(arguments, "--url"), _option(arguments, "--method")
    body = json.loads(sent) if sent else None
    if url.startswith(MANAGER):
        return _manager(state, method, url.removeprefix(MANAGER), body)
    path = url.removeprefix(f"{GRAPH}/v1.0/")
    for pattern, answer_to in _GRAPH.items():
        if found := re.fullmatch(pattern, f"{method} {path}"):
            return answer_to(state, body, *found.groups())
    raise Refused(f"unknown request: {method} {path}")


def _manager(state: dict[str, Any], method: str, path: str, body: Any) -> Any:
    if method == "GET" and path == f"{VAULT}/secrets?api-version=2023-07-01":
        return {"value": [{"name": f"kv-tg/{name}"} for name in state["secrets"]]}
    found = re.fullmatch(re.escape(VAULT) + r"/secrets/([\w-]+)\?api-version=2023-07-01", path)
    if method != "PUT" or found is None:
        raise Refused(f"unknown request: {method} {path}")
    if found[1] in state["deleted_secrets"]:
        raise Refused('Conflict({"error":{"code":"ObjectIsDeletedButRecoverable"}})')
    state["secrets"][found[1]] = body["properties"]["value"]
    return {"name": found[1]}


def _missing(what: str) -> Refused:
    return Refused(f'Not Found({{"error":{{"code":"Request_ResourceNotFound","message":"{what}"}}}})')


def _application(state: dict[str, Any], _body: Any, key: str, value: str) -> Any:
    for each in state["applications"].values():
        if each[key] == value:
            return each
    raise _missing(value)


def _upsert(state: dict[str, Any], body: Any, unique_name: str) -> Any:
    for each in state["applications"].values():
        if each["uniqueName"] == unique_name:
            each.update(body)
            return None
    identifier = str(uuid.uuid4())
    made = {"id": identifier, "appId": str(uuid.uuid4()), "uniqueName": unique_name, "identifierUris": [], **body}
    state["applications"][identifier] = made
    return made


def _update(state: dict[str, Any], body: Any, identifier: str) -> None:
    if any("origin" in role for role in body.get("appRoles", [])):
        raise Refused("Bad Request(origin is read-only)")
    known = {each["id"] for each in state["applications"][identifier].get("api", {}).get("oauth2PermissionScopes", [])}
    for client in body.get("api", {}).get("preAuthorizedApplications", []):
        if not set(client["delegatedPermissionIds"]) <= known:
            raise Refused("Bad Request(Property PreAuthorizedApplication references permission that cannot be found)")
    state["applications"][identifier].update(body)


def _principal(state: dict[str, Any], _body: Any, client_id: str) -> Any:
    if client_id not in state["principals"]:
        raise _missing(client_id)
    return state["principals"][client_id]


def _make_principal(state: dict[str, Any], body: Any) -> Any:
    made = {"id": str(uuid.uuid4()), **body}
    state["principals"][body["appId"]] = made
    return made


def _assign(state: dict[str, Any], body: Any, _principal: str) -> Any:
    state["assignments"].append(body)
    return body


_GRAPH: Final[dict[str, Callable[..., Any]]] = {
    r"GET applications\((appId|uniqueName)='([\w.-]+)'\)": _application,
    r"PATCH applications\(uniqueName='([\w.-]+)'\)": _upsert,
    r"PATCH applications/([\w-]+)": _update,
    r"GET servicePrincipals\(appId='([\w-]+)'\)": _principal,
    r"POST servicePrincipals": _make_principal,
    r"GET me\?\$select=id": lambda _state, _body: {"id": "person-1"},
    r"GET me/appRoleAssignments\?\$filter=resourceId%20eq%20([\w-]+)": lambda state, _body, resource: {
        "value": [each for each in state["assignments"] if each["resourceId"] == resource]
    },
    r"POST servicePrincipals/([\w-]+)/appRoleAssignedTo": _assign,
}
_AZ: Final[dict[str, Callable[[dict[str, Any], list[str], str], Any]]] = {
    "az cloud show": lambda _state, _arguments, _sent: {
        "microsoftGraphResourceId": f"{GRAPH}/",
        "resourceManager": f"{MANAGER}/",
    },
    "az account show": _account,
    "az account get-access-token": lambda state, _arguments, _sent: state.get("token", "no-token"),
    "az keyvault list-deleted": lambda state, _arguments, _sent: state["deleted_vaults"],
    "az cognitiveservices account list-deleted": lambda state, _arguments, _sent: state["deleted_accounts"],
    "az keyvault secret show": _secret,
    "az rest": _rest,
    "az storage blob upload": _upload,
    "az storage blob download": _download,
    "az storage blob list": _newest,
    "az ad signed-in-user show": lambda _state, _arguments, _sent: "person-1",
    **dict.fromkeys(
        (
            "az deployment sub delete",
            "az functionapp restart",
            "az group create",
            "az group delete",
            "az group exists",
            "az role assignment create",
            "az storage account create",
            "az storage account blob-service-properties update",
            "az storage container-rm create",
            "az storage container immutability-policy",
        ),
        _done,
    ),
}
