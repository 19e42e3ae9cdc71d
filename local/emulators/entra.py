"""An emulated Entra ID, over TLS: discovery, signing keys, tokens of both versions, managed identities and faults.

It issues tokens as Entra does to applications with a secret or the token of a Kubernetes service account, to people by
password and by device code, and to managed identities of App Service. azure-identity gets them from it unmodified.
Source: https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference
"""

from __future__ import annotations

import asyncio
import secrets
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from local.emulators.entra_objects import Application, Person, SigningKey, encoded

LIFETIME_SECONDS = 4500
MOST_GROUPS = 200
"""A token names no groups if there are more."""
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"


@dataclass
class Fault:
    """Tells how the documents of discovery are answered, until it is taken away."""

    status: int = 200
    body: bytes | None = None
    location: str = ""
    hangs: bool = False


@dataclass
class EmulatedEntra:
    """One cloud. `gateway_id` is the application that tokens are issued for, in the directory or that of a partner."""

    url: str
    """The https address, without a slash at the end."""
    directory_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    partner_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    """Another directory, which has its own administrators."""
    gateway_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    version: str = "2.0"
    """The version of tokens for the gateway (`accessTokenAcceptedVersion` of its registration)."""
    keys: list[SigningKey] = field(default_factory=lambda: [SigningKey.new(), SigningKey.new()])
    """All are published. The first signs."""
    applications: list[Application] = field(default_factory=list)
    people: list[Person] = field(default_factory=list)
    resource_issuer: str = ""
    """The beginning of the issuer of tokens for other services, in place of this address. The public cloud's is
    `https://sts.windows.net/`, and Azurite takes no other."""
    identity_header: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    """The header that App Service hands to the app, and without which its endpoint gives no token."""
    fault: Fault = field(default_factory=Fault)
    asked: list[str] = field(default_factory=list)
    """The paths of all requests."""
    _device_scopes: dict[str, str] = field(default_factory=dict)

    @property
    def scope(self) -> str:
        return f"api://{self.gateway_id}/.default"

    def issuer(self, version: str, directory_id: str = "") -> str:
        return f"{self.url}/{directory_id or self.directory_id}/" + ("v2.0" if version == "2.0" else "")

    def secret_of(self, place: int) -> tuple[str, str, str]:
        """Return directory, client id and secret, with which an application signs in."""
        application = self.applications[place]
        return self.directory_id, application.client_id, application.secret

    def rotate(self) -> None:
        """Sign with a new key. The old ones stay published."""
        self.keys.insert(0, SigningKey.new())

    def token_of(self, caller: Application | Person, client: Application | None = None, **claims: Any) -> str:
        """Issue a token for the gateway. `client` is the application through which a person signs in."""
        return self.signed({**self.claims_of(caller, client), **claims})

    def partner_token_of(self, caller: Application | Person) -> str:
        """Issue a token for the gateway in the partner's directory."""
        return self.token_of(caller, tid=self.partner_id, iss=self.issuer(self.version, self.partner_id))

    def claims_of(
        self, caller: Application | Person, client: Application | None = None, audience: str = ""
    ) -> dict[str, Any]:
        """Return the claims of a token for the gateway, or of version 1 for another `audience`."""
        version = "1.0" if audience else self.version
        now = int(time.time())
        claims = {
            "aud": audience or (self.gateway_id if version == "2.0" else f"api://{self.gateway_id}"),
            "iss": self._issuer_of(version, audience), "iat": now - 300, "nbf": now - 300,
            "exp": now + LIFETIME_SECONDS, "oid": caller.object_id, "tid": self.directory_id,
            "uti": secrets.token_urlsafe(16), "ver": version,
        }  # fmt: skip
        of_caller = _application(caller) if isinstance(caller, Application) else self._person(caller)
        application = caller if isinstance(caller, Application) else (client or self.applications[0])
        names_client = {"azp" if version == "2.0" else "appid": application.client_id}
        if audience:  # the roles of the gateway's registration mean nothing to another service
            of_caller.pop("roles", None)
        return {**claims, **names_client, **of_caller}

    def _issuer_of(self, version: str, audience: str) -> str:
        own = f"{self.resource_issuer}{self.directory_id}/"
        return own if self.resource_issuer and audience else self.issuer(version)

    def signed(
        self, claims: dict[str, Any] | bytes, header: dict[str, Any] | None = None, key: SigningKey | None = None
    ) -> str:
        """Sign any claims, also forged ones, with the first key or another one."""
        key = key or self.keys[0]
        sent = {"typ": "JWT", "alg": "RS256", "kid": key.key_id, **(header or {})}
        signed = f"{encoded(sent)}.{encoded(claims)}"
        return f"{signed}.{encoded(key.sign(signed.encode()))}"

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._noted])
        base = f"/{{directory:{self.directory_id}|{self.partner_id}}}"
        app.router.add_get(base + "/v2.0/.well-known/openid-configuration", self._configuration)
        app.router.add_get(base + "/discovery/v2.0/keys", self._key_set)
        app.router.add_post(base + "/oauth2/v2.0/token", self._token)
        app.router.add_post(base + "/oauth2/v2.0/devicecode", self._device_code)
        app.router.add_get("/msi/token", self._managed_identity)
        return app

    @web.middleware
    async def _noted(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.asked.append(request.path)
        return await handler(request)

    async def _configuration(self, request: web.Request) -> web.Response:
        directory_id = request.match_info["directory"]
        base = f"{self.url}/{directory_id}"
        return await self._document(
            {
                "issuer": self.issuer("2.0", directory_id),
                "jwks_uri": f"{base}/discovery/v2.0/keys",
                "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                "token_endpoint": f"{base}/oauth2/v2.0/token",
                "device_authorization_endpoint": f"{base}/oauth2/v2.0/devicecode",
                "id_token_signing_alg_values_supported": ["RS256"],
                "response_types_supported": ["code", "id_token"],
                "subject_types_supported": ["pairwise"],
            }
        )

    async def _key_set(self, _: web.Request) -> web.Response:
        issuer = f"{self.url}/{{tenantid}}/v2.0"
        return await self._document({"keys": [key.jwk(issuer) for key in self.keys]})

    async def _document(self, document: dict[str, Any]) -> web.Response:
        if self.fault.hangs:
            await asyncio.Event().wait()
        if self.fault.location:
            raise web.HTTPFound(self.fault.location)
        if self.fault.body is not None:
            return web.Response(status=self.fault.status, body=self.fault.body, content_type="application/json")
        return web.json_response(document, status=self.fault.status)

    async def _token(self, request: web.Request) -> web.Response:
        form = {name: str(text) for name, text in (await request.post()).items()}
        caller: Application | Person
        client: Application | None = None
        match form.get("grant_type"):
            case "client_credentials":
                caller = self._client(form, needs_secret=True)
            case "password":
                caller, client = self._signed_in(form), self._client(form, needs_secret=False)
            case grant if grant == _DEVICE_CODE:
                caller, client = self.people[0], self._client(form, needs_secret=False)
                form["scope"] = self._device_scopes.pop(form["device_code"])
            case _:
                raise _refusal("unsupported_grant_type")
        return web.json_response(self._answer(form, caller, client))

    def _answer(self, form: dict[str, str], caller: Application | Person, client: Application | None) -> dict[str, Any]:
        resource = next((each for each in form["scope"].split() if "://" in each), "").rpartition("/")[0]
        is_ours = resource in (f"api://{self.gateway_id}", self.gateway_id)
        token = self.signed(self.claims_of(caller, client, "" if is_ours else resource))
        answer = {"token_type": "Bearer", "expires_in": LIFETIME_SECONDS, "access_token": token, "scope": form["scope"]}
        if isinstance(caller, Person):
            info = {"uid": caller.object_id, "utid": self.directory_id}
            answer |= {"id_token": self.id_token_of(caller, form["client_id"]), "client_info": encoded(info)}
        return answer

    def id_token_of(self, person: Person, client_id: str) -> str:
        """Issue the token that tells a client who has signed in. It must not serve for access to anything."""
        now = int(time.time())
        claims = {
            "aud": client_id, "iss": self.issuer("2.0"), "iat": now, "nbf": now, "exp": now + 3600, "ver": "2.0",
            "oid": person.object_id, "sub": _pairwise(person), "tid": self.directory_id,
            "preferred_username": person.name, "roles": list(person.roles),
        }  # fmt: skip
        return self.signed(claims)

    async def _device_code(self, request: web.Request) -> web.Response:
        """Begin a sign-in, in which the first person of the directory has entered the code at once."""
        code = secrets.token_urlsafe(16)
        self._device_scopes[code] = str((await request.post())["scope"])
        return web.json_response(
            {
                "device_code": code, "user_code": "ABC123", "expires_in": 900, "interval": 1,
                "verification_uri": f"{self.url}/device", "message": "Enter the code ABC123.",
            }
        )  # fmt: skip

    async def _managed_identity(self, request: web.Request) -> web.Response:
        """https://learn.microsoft.com/azure/app-service/overview-managed-identity"""
        if request.headers.get("X-IDENTITY-HEADER") != self.identity_header:
            return web.json_response({"statusCode": 401, "message": "The header is wrong."}, status=401)
        identity, resource = next(each for each in self.applications if each.resource_id), request.query["resource"]
        token = self._answer({"scope": f"{resource}/.default"}, identity, None)["access_token"]
        expires_on = str(int(time.time()) + LIFETIME_SECONDS)
        return web.json_response(
            {"access_token": token, "expires_on": expires_on, "resource": resource, "token_type": "Bearer"}
        )

    def _client(self, form: dict[str, str], *, needs_secret: bool) -> Application:
        for each in self.applications:
            if each.client_id == form.get("client_id") and (
                each.secret == form.get("client_secret") or not needs_secret or _is_federated(each, form)
            ):
                return each
        raise _refusal("invalid_client")

    def _signed_in(self, form: dict[str, str]) -> Person:
        for each in self.people:
            if (each.name, each.password) == (form.get("username"), form.get("password")):
                return each
        raise _refusal("invalid_grant")

    def _person(self, person: Person) -> dict[str, Any]:
        claims: dict[str, Any] = {"sub": _pairwise(person), "scp": " ".join(person.scopes), "name": person.name}
        if person.roles:
            claims["roles"] = list(person.roles)
        if len(person.groups) > MOST_GROUPS:
            members = f"https://graph.example/v1.0/users/{person.object_id}/getMemberObjects"
            claims |= {"_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {"endpoint": members}}}
        elif person.groups:
            claims["groups"] = list(person.groups)
        return claims


def _is_federated(application: Application, form: dict[str, str]) -> bool:
    """Tell whether a token of a service account that the application trusts stands in for its secret."""
    is_assertion = form.get("client_assertion_type") == _ASSERTION
    return is_assertion and any(each.has_issued(form.get("client_assertion", "")) for each in application.trusts)


def _application(application: Application) -> dict[str, Any]:
    claims: dict[str, Any] = {"sub": application.object_id}
    if application.roles:
        claims["roles"] = list(application.roles)
    if application.resource_id:
        claims["xms_mirid"] = application.resource_id
    return claims


def _pairwise(person: Person) -> str:
    """Return the subject of a person's tokens, which is not the object id."""
    return f"pairwise-{person.object_id}"


def _refusal(error: str) -> web.HTTPBadRequest:
    text = f'{{"error": "{error}", "error_description": "AADSTS70000: The emulator refuses this."}}'
    return web.HTTPBadRequest(text=text, content_type="application/json")
