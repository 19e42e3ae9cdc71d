"""Create the application of Entra ID that stands for the gateway, or complete it.

The application is found by its `uniqueName`, which belongs to one subscription and one environment of azd, never by a
name for people. One that somebody else made is not changed.
"""

from __future__ import annotations

import time
from typing import Any, Final

from infra.hooks.failures import HookFailed, NotFound, NotPermitted
from infra.hooks.programs import AzureCli, set_variable
from infra.hooks.variables import flag, required, seconds, variable

TAG: Final = "tallygate"
_VISIBLE: Final = "WindowsAzureActiveDirectoryIntegratedApp"
"""The tag by which the portal lists an application among the enterprise applications."""
AZURE_CLI: Final = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"
"""The application of the Azure CLI, which may ask for the scope without a consent of its own."""
ADMIN_ROLE: Final = "133ccf4b-1603-4134-a991-2f088acf264d"
_ROLES: Final = (
    (ADMIN_ROLE, "Gateway.Admin", "Administer the gateway", "Manages everything"),
    ("dec3149a-4f65-4bce-a46c-080cb7d779dd", "Gateway.Billing.Read", "Read billing", "Reads usage and statements"),
    ("3f43058e-e3fb-4241-b083-abd4d611406c", "Gateway.Audit.Read", "Read the audit", "Reads entries and the audit log"),
    ("36c6e91b-0af1-431c-8c9e-b1d9086722ca", "Gateway.Use", "Use models", "Sends requests for its tenant"),
)
ROLES: Final[tuple[dict[str, Any], ...]] = tuple(
    {
        "id": identifier,
        "value": value,
        "displayName": name,
        "description": description,
        "allowedMemberTypes": ["User", "Application"],
        "isEnabled": True,
    }
    for identifier, value, name, description in _ROLES
)
"""The ids are stable: assignments name them."""
SCOPE: Final[dict[str, Any]] = {
    "id": "c36645c9-7c51-4398-b09f-b88b3398e916",
    "value": "user_impersonation",
    "type": "User",
    "isEnabled": True,
    "adminConsentDisplayName": "Call the gateway",
    "adminConsentDescription": "Calls the gateway as the signed-in person",
    "userConsentDisplayName": "Call the gateway",
    "userConsentDescription": "Calls the gateway as you",
}
_TRIES: Final = 6


def ensure_application(az: AzureCli) -> None:
    """Create or complete the application, and tell azd its client id. Raises `HookFailed`."""
    if not flag("ENTRA_SIGN_IN", default=True):
        print("Entra ID: left out, because ENTRA_SIGN_IN is false. Only keys will be accepted.")
        set_variable("ENTRA_CLIENT_ID", "")
        return
    unique_name = f"{TAG}-{required('AZURE_SUBSCRIPTION_ID')}-{required('AZURE_ENV_NAME')}"
    stated = variable("ENTRA_CLIENT_ID")
    try:
        found = _stated(az, stated) if stated else _named(az, unique_name)
        if found is not None and found.get("uniqueName") != unique_name:
            _accept_foreign(found)
            return
        client_id = _complete(az, found, unique_name)
    except NotPermitted as refusal:
        _give_up(stated, refusal)
        return
    set_variable("ENTRA_CLIENT_ID", client_id)
    _name_directory(az)


def _stated(az: AzureCli, client_id: str) -> dict[str, Any]:
    try:
        return _read(az, f"applications(appId='{client_id}')")
    except NotFound:
        raise HookFailed(
            f"ENTRA_CLIENT_ID names the application {client_id}, which this directory does not have. Correct it, or "
            'empty it with `azd env set ENTRA_CLIENT_ID ""`, and a new one is created.'
        ) from None


def _named(az: AzureCli, unique_name: str) -> dict[str, Any] | None:
    try:
        found = _read(az, f"applications(uniqueName='{unique_name}')")
    except NotFound:
        return None
    if TAG not in found.get("tags", []):
        raise HookFailed(
            f"The application {found['appId']} has the unique name {unique_name}, but not the tag {TAG}: somebody else "
            "made it. It is left alone. Set ENTRA_CLIENT_ID to the application to use."
        )
    return found


def _read(az: AzureCli, path: str) -> dict[str, Any]:
    """Read an application. The origin of its roles is left out, because no request may state it."""
    found: dict[str, Any] = az.graph("GET", path)
    roles = [{name: value for name, value in role.items() if name != "origin"} for role in found.get("appRoles", [])]
    return {**found, "appRoles": roles}


def _accept_foreign(found: dict[str, Any]) -> None:
    have = {each["value"] for each in found.get("appRoles", [])}
    missing = [each["value"] for each in ROLES if each["value"] not in have]
    print(f"Entra ID: the application {found['appId']} is yours, and is not changed.")
    if missing:
        print(f"  It lacks the app roles {', '.join(missing)}: nobody can have them until you add them.")


def _give_up(stated: str, refusal: NotPermitted) -> None:
    if stated:
        print(f"Entra ID: the application {stated} could not be checked, because this identity may not read it.")
        return
    raise HookFailed(
        f"{refusal}\nThis identity may not create the application of Entra ID. Somebody with the role Application "
        "Developer can run `azd hooks run preprovision`, and tell you the id for `azd env set ENTRA_CLIENT_ID`. Or go "
        "on without it: `azd env set ENTRA_SIGN_IN false`."
    ) from None


def _complete(az: AzureCli, found: dict[str, Any] | None, unique_name: str) -> str:
    """Make every part that is missing. Returns the client id."""
    if found is None:
        # An upsert by the unique name: two runs at the same time make one application.
        body = {"displayName": f"Tallygate {variable('AZURE_ENV_NAME')}", **_definition({})}
        path = f"applications(uniqueName='{unique_name}')"
        az.graph("PATCH", path, body, "Prefer=create-if-missing")
        found = _read(az, path)
        print(f"Entra ID: created the application {found['appId']}.")
    elif changes := _changes(_definition(found), found):
        az.graph("PATCH", f"applications/{found['id']}", changes)
        print(f"Entra ID: completed the application {found['appId']}.")
    client_id = str(found["appId"])
    # In a second step: both name what the first one makes.
    if changes := _changes(_exposure(found), found):
        az.graph("PATCH", f"applications/{found['id']}", changes)
    principal = _service_principal(az, client_id)
    _make_administrator(az, principal)
    return client_id


def _definition(found: dict[str, Any]) -> dict[str, Any]:
    """Return roles, scope and token version as they should be. What others added stays."""
    api, tags = found.get("api") or {}, found.get("tags", [])
    return {
        "signInAudience": "AzureADMyOrg",
        "tags": tags if TAG in tags else [*tags, TAG],
        "appRoles": _merged(found.get("appRoles", []), ROLES),
        "api": {
            **api,
            "requestedAccessTokenVersion": 2,
            "oauth2PermissionScopes": _merged(api.get("oauth2PermissionScopes", []), (SCOPE,)),
        },
    }


def _exposure(found: dict[str, Any]) -> dict[str, Any]:
    """Return the audience, and that the Azure CLI may ask for the scope."""
    definition = _definition(found)
    uris = found.get("identifierUris", [])
    audience = f"api://{found['appId']}"
    clients = definition["api"].get("preAuthorizedApplications", [])
    if not any(each["appId"] == AZURE_CLI for each in clients):
        clients = [*clients, {"appId": AZURE_CLI, "delegatedPermissionIds": [SCOPE["id"]]}]
    return {
        "identifierUris": uris if audience in uris else [*uris, audience],
        "api": {**definition["api"], "preAuthorizedApplications": clients},
    }


def _merged(have: list[dict[str, Any]], wanted: tuple[dict[str, Any], ...]) -> list[dict[str, Any]]:
    ours = {each["id"]: each for each in wanted}
    kept = [{**each, **ours.pop(each["id"], {})} for each in have]
    return [*kept, *ours.values()]


def _changes(wanted: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """Return the parts that differ, so that a second run writes nothing."""
    return {name: value for name, value in wanted.items() if found.get(name) != value}


def _service_principal(az: AzureCli, client_id: str) -> str:
    """Return the id of the service principal. A new application is not known to every server of Entra at once."""
    path = f"servicePrincipals(appId='{client_id}')"
    tries = 0
    while True:
        try:
            return str(az.graph("GET", path)["id"])
        except NotFound:
            tries += 1
        try:
            return str(az.graph("POST", "servicePrincipals", {"appId": client_id, "tags": [TAG, _VISIBLE]})["id"])
        except HookFailed as failure:
            if isinstance(failure, NotPermitted) or tries == _TRIES:
                raise
            time.sleep(seconds("HOOK_RETRY_SECONDS", 5))


def _make_administrator(az: AzureCli, principal: str) -> None:
    """Give the signed-in person the role Gateway.Admin. A pipeline gets none."""
    if az.run("account", "show")["user"]["type"] != "user":
        return
    try:
        person = az.graph("GET", "me?$select=id")["id"]
        assigned = az.graph("GET", f"me/appRoleAssignments?$filter=resourceId eq {principal}")["value"]
        if any(each["appRoleId"] == ADMIN_ROLE for each in assigned):
            return
        assignment = {"principalId": person, "resourceId": principal, "appRoleId": ADMIN_ROLE}
        az.graph("POST", f"servicePrincipals/{principal}/appRoleAssignedTo", assignment)
        print("Entra ID: you have the role Gateway.Admin.")
    except NotPermitted:
        print("Entra ID: you may not assign app roles. Ask an administrator to give people the role Gateway.Admin.")


def _name_directory(az: AzureCli) -> None:
    """Accept tokens of the signed-in directory, unless a list is stated."""
    if not variable("ENTRA_TENANT_IDS"):
        set_variable("ENTRA_TENANT_IDS", str(az.run("account", "show")["tenantId"]))
